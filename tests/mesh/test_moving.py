"""Homes that move, on real nodes: lone founders that merge, a member that joins another cluster, a lost majority recovered."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent_core.errors import Refused
from chorus_hap.tour import TIMINGS, Daemon, mesh
from tests.support.daemons import agreed, revived, status, texts, voters
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture
def ending() -> Iterator[ExitStack]:
    """Ends what is put in, whatever happens."""
    with ExitStack() as stack:
        yield stack


def say(daemon: Daemon, text: str) -> None:
    daemon.call("hmmm.post", room="r", text=text)


def heard(daemon: Daemon, *expected: str) -> None:
    until(lambda: texts(daemon, "r") == set(expected), 15, f"{set(expected)} on {daemon.name}")


def evicted(daemon: Daemon) -> set[str]:
    members: Any = daemon.call("members")
    return {m["agent_id"] for m in members if m["evicted"]}


def cluster(daemon: Daemon) -> str:
    return str(status(daemon)["cluster_id"])


def address(daemon: Daemon) -> str:
    return str(status(daemon)["addresses"][0])


def command(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chorus_hap", *words, "--home", str(daemon.home), "--timeout", "60"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_lone_founders_that_meet_become_one_and_show_their_past_when_told(
    tmp_path: Path, ending: ExitStack
) -> None:
    founders = [Daemon(tmp_path / name, name, TIMINGS) for name in ("agent-a", "agent-b")]
    for daemon in founders:
        ending.callback(daemon.end)
        daemon.wait("leader")
        say(daemon, f"alone, {daemon.name}")
    was = {d.name: cluster(d) for d in founders}
    assert len(set(was.values())) == 2
    founders[1].end()
    founders[1] = revived(founders[1], bootstrap=address(founders[0]))
    ending.callback(founders[1].end)
    until(lambda: len({cluster(d) for d in founders}) == 1, 20, "one cluster")
    assert cluster(founders[0]) == min(was.values()), "the greater id yields"
    until(lambda: all(voters(d) == 2 for d in founders), 15, "both vote")
    other, moved = sorted(founders, key=lambda d: was[d.name])
    heard(other, f"alone, {other.name}")
    say(moved, "together")
    heard(other, f"alone, {other.name}", "together")
    shared = command(moved, "cluster", "share")
    assert shared.returncode == 0, shared.stderr
    for daemon in founders:
        heard(daemon, f"alone, {moved.name}", f"alone, {other.name}", "together")


def test_a_member_joins_another_cluster_alone(tmp_path: Path, ending: ExitStack) -> None:
    here = ending.enter_context(mesh(tmp_path, ("agent-a", "agent-b")))
    there = ending.enter_context(mesh(tmp_path, ("agent-c", "agent-d")))
    until(lambda: all(voters(d) == 2 for d in (*here, *there)), 20, "voters")
    mover, left = here[1], here[0]
    say(mover, "from the old one")
    heard(left, "from the old one")
    old, new = cluster(mover), cluster(there[0])
    unknown = command(mover, "cluster", "join", "abcdef00")
    assert unknown.returncode == 1
    assert "No connected peer is of a cluster" in unknown.stderr
    joined = command(mover, "cluster", "join", address(there[0]), "--json")
    assert joined.returncode == 0, joined.stderr
    assert json.loads(joined.stdout)["cluster_id"] == new
    assert json.loads(joined.stdout)["left"] == old
    say(mover, "from the new one")
    for daemon in there:
        heard(daemon, "from the new one")
    until(lambda: voters(left) == 1, 10, "the old one went on without it")
    say(left, "still here")
    assert texts(left, "r") == {"from the old one", "still here"}
    assert cluster(left) == old
    until(lambda: all(voters(d) == 3 for d in (*there, mover)), 15, "it votes where it is")
    until(lambda: mover.name in evicted(left), 15, "the old one holds it for gone")
    acts: Any = left.call("members.log")
    assert any(f"moved to cluster {new[:8]}" in str(act) for act in acts)
    back = command(mover, "cluster", "join", address(left), "--json")
    assert back.returncode == 0, back.stderr
    until(lambda: all(mover.name in evicted(d) for d in there), 20, "gone from there, then")
    until(lambda: voters(left) == 2 and not evicted(left), 20, "admitted anew, and it votes")
    say(mover, "back")
    for daemon in here:
        heard(daemon, "from the old one", "still here", "back")
    refused = command(left, "cluster", "join", address(there[0]))
    assert "the only one of cluster" in refused.stderr, "the founder can't leave the others without a master"
    assert (refused.returncode, cluster(left)) == (1, old)


def test_a_lost_majority_is_recovered_and_what_was_before_stays(tmp_path: Path) -> None:
    with mesh(tmp_path, ("agent-a", "agent-b", "agent-c", "agent-d")) as daemons:
        until(lambda: all(voters(d) == 4 for d in daemons), 30, "four voters")
        survivor, other = daemons[2:]
        say(survivor, "before")
        decision: Any = daemons[0].call("decisions.propose", title="Keep it", deadline_s=3600)
        for daemon in daemons:
            until(lambda daemon=daemon: voted(daemon, decision["id"]), 10, f"vote of {daemon.name}")
        for daemon in daemons:
            heard(daemon, "before")
            until(lambda daemon=daemon: state(daemon, decision["id"]) == "approved", 20, "closed")
        refused = command(survivor, "cluster", "recover", "--force-new")
        assert "nothing to recover" in refused.stderr
        for lost in daemons[:2]:
            lost.end(signal.SIGKILL)
        until(lambda: agreed([survivor]) is None and status(survivor)["voters"]["reachable"] == 2, 20, "no majority")
        with pytest.raises(Refused, match=r"2 of 4 voters are out of reach \(agent-[ab], agent-[ab]\)"):
            survivor.call("cluster.recover")
        recovered = command(survivor, "cluster", "recover", "--force-new", "--json")
        assert recovered.returncode == 0, recovered.stderr
        new = json.loads(recovered.stdout)["cluster_id"]
        until(lambda: any("in place of this one" in n for n in status(other)["notes"]), 15, "the other one is told")
        assert cluster(other) != new, "and moves by its person's word only"
        joined = command(other, "cluster", "join", new[:8])
        assert joined.returncode == 0, joined.stderr
        until(lambda: all(cluster(d) == new and voters(d) == 2 for d in (survivor, other)), 20, "two voters again")
        say(other, "after")
        for daemon in (survivor, other):
            heard(daemon, "before", "after")
            assert state(daemon, decision["id"]) == "approved"
            members: Any = daemon.call("members")
            assert {m["agent_id"] for m in members} == {d.name for d in daemons}
        back = revived(daemons[0], bootstrap=address(survivor))
        try:
            joined = command(back, "cluster", "join", new[:8])
            assert joined.returncode == 0, joined.stderr
            heard(back, "before", "after")
        finally:
            back.end()


def voted(daemon: Daemon, decision: str) -> bool:
    """Vote as soon as the daemon knows the proposal."""
    found: Any = daemon.call("decisions.list")
    if decision not in {d["id"] for d in found}:
        return False
    daemon.call("decisions.vote", id=decision, choice="approve", reason="yes")
    return True


def state(daemon: Daemon, decision: str) -> str:
    found: Any = daemon.call("decisions.list")
    return str(next((d["state"] for d in found if d["id"] == decision), ""))
