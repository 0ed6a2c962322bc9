"""Who comes in, who goes, and who votes, on real nodes: by command, with tickets, with a person's approval."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent_core.errors import ChorusError
from chorus_hap.tour import TIMINGS, Daemon, mesh
from tests.support.daemons import revived, status, texts
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


class Newcomers:
    """Nodes that come later, by name."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.of: dict[str, Daemon] = {}

    def start(self, name: str, *settings: str, bootstrap: str = "") -> Daemon:
        """Start one in a new home."""
        self.of[name] = Daemon(self._root / name, name, (*TIMINGS, *settings), bootstrap)
        return self.of[name]


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    """Three voters, the one with authority ``master`` first: who founded is whoever was quickest."""
    with mesh(tmp_path_factory.mktemp("mesh")) as running:
        until(lambda: all(status(d)["voters"]["total"] == 3 for d in running), 30, "three voters")
        yield sorted(running, key=lambda d: status(d)["authority"] != "master")


@pytest.fixture(scope="module")
def newcomers(daemons: list[Daemon], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomers]:
    """All are ended, however the tests end."""
    found = Newcomers(tmp_path_factory.mktemp("newcomers"))
    yield found
    for daemon in found.of.values():
        daemon.end()


def run(daemon: Daemon, *words: str) -> tuple[int, Any]:
    """A scripted command on a daemon's home: exit status and the JSON it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "chorus_hap", *words, "--home", str(daemon.home), "--json"],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else done.stderr


def member(daemon: Daemon, peer_id: str) -> dict[str, Any]:
    """A member as a daemon shows it; empty if it knows none."""
    found: Any = daemon.call("members")
    return next((m for m in found if m["peer_id"] == peer_id), {})


def notes(daemon: Daemon) -> str:
    """What a daemon has to tell its person."""
    with suppress(ChorusError):
        return " ".join(status(daemon)["notes"])
    return ""


def here(daemon: Daemon) -> bool:
    """Whether it is a member that takes part."""
    with suppress(ChorusError):
        return str(status(daemon)["stage"]) == "ready"
    return False


def _stage(daemon: Daemon) -> str:
    with suppress(ChorusError):
        return str(status(daemon)["stage"])
    return ""


def address(daemon: Daemon) -> str:
    return str(status(daemon)["addresses"][0])


@pytest.fixture(scope="module")
def invited(daemons: list[Daemon], newcomers: Newcomers) -> Daemon:
    """A node that came in by a ticket alone; the cluster admits by ticket from here on."""
    code, done = run(daemons[0], "cluster", "policy", "invite")
    assert code == 0, done
    assert done["text"] == "Admission is invite now."
    until(lambda: all(status(d)["policy"] == "invite" for d in daemons), 5, "the policy everywhere")
    code, ticket = run(daemons[0], "members", "invite", "--expires", "10m", "--for-role", "reviewer")
    assert code == 0
    newcomer = newcomers.start("agent-d", f"cluster.ticket={ticket['token']}")
    until(lambda: here(newcomer), 20, "it is a member")
    newcomers.start("agent-e", f"cluster.ticket={ticket['token']}")
    return newcomer


def test_a_ticket_admits_one_and_no_more_and_only_in_its_time(
    daemons: list[Daemon], newcomers: Newcomers, invited: Daemon
) -> None:
    assert status(invited)["role"] == "reviewer"
    assert status(invited)["cluster_id"] == status(daemons[0])["cluster_id"]
    assert json.loads((invited.home / "run" / "node.json").read_text())["pid"] == invited.process.pid
    _, ticket = run(daemons[0], "members", "invite", "--expires", "1s")
    late = newcomers.start("agent-f", f"cluster.ticket={ticket['token']}")
    second = newcomers.of["agent-e"]
    until(lambda: "used already" in notes(second), 20, "used twice")
    until(lambda: "The ticket expired" in notes(late), 20, "expired")
    assert status(late)["cluster_id"] == ""
    for daemon in (second, late):
        daemon.end()


def test_who_has_no_authority_is_told_who_has(daemons: list[Daemon], invited: Daemon) -> None:
    for words in (("invite",), ("revoke", daemons[1].name, "--yes"), ("demote", daemons[2].name)):
        code, said = run(invited, "members", *words)
        assert code == 1
        assert "takes authority decision; agent-d has coordination" in said["error"]["message"]
        assert daemons[0].name in said["error"]["next"]
    code, said = run(daemons[0], "members", "revoke", "agent-d")
    assert (code, said["error"]["next"]) == (1, "Say so with --yes.")


def test_a_newcomer_waits_until_a_person_approves_it(daemons: list[Daemon], newcomers: Newcomers) -> None:
    assert run(daemons[0], "cluster", "policy", "approve")[0] == 0
    newcomer = newcomers.start("agent-g", bootstrap=address(daemons[1]))
    until(lambda: all(d.call("members.pending") for d in daemons), 20, "it waits, on every node's list")
    (waiting,) = daemons[2].call("members.pending")  # type: ignore[misc]
    assert (waiting["agent_id"], waiting["role"]) == ("agent-g", "agent")
    until(lambda: "Waiting for approval by a person" in notes(newcomer), 10, "it says that it waits")
    assert status(newcomer)["stage"] == "waiting for approval"
    items: Any = daemons[0].call("attention")
    assert any(i["kind"] == "approval" and "agent-g" in i["text"] for i in items)
    code, done = run(daemons[0], "members", "approve", waiting["peer_id"][-6:])
    assert code == 0, done
    until(lambda: here(newcomer), 15, "it is a member")
    assert daemons[0].call("members.pending") == []


def test_a_newcomer_that_is_refused_is_told_so_and_stays_outside(daemons: list[Daemon], newcomers: Newcomers) -> None:
    assert run(daemons[0], "cluster", "policy", "approve")[0] == 0
    newcomer = newcomers.start("agent-h", bootstrap=address(daemons[1]))
    until(lambda: daemons[0].call("members.pending"), 20, "it waits")
    code, done = run(daemons[0], "members", "refuse", "agent-h", "--reason", "nobody knows it")
    assert code == 0, done
    until(lambda: "nobody knows it" in notes(newcomer), 15, "it is told why")
    assert daemons[0].call("members.pending") == []
    assert (status(newcomer)["cluster_id"], member(daemons[0], status(newcomer)["peer_id"])) == ("", {})
    newcomer.end()


def test_a_voter_is_demoted_for_good_and_promoted_by_hand(daemons: list[Daemon]) -> None:
    """The leader demotes nobody back: only a person undoes what a person did."""
    code, done = run(daemons[0], "members", "demote", daemons[2].name, "--reason", "moves to another rack")
    assert code == 0, done
    c = status(daemons[2])["peer_id"]
    assert not member(daemons[0], c)["voter"]
    until(lambda: not member(daemons[1], c)["voter"], 5, "seen by the others")
    assert run(daemons[0], "members", "promote", daemons[2].name)[0] == 0
    assert member(daemons[0], c)["voter"]
    code, said = run(daemons[0], "members", "revoke", daemons[0].name, "--yes")
    assert code == 1
    assert "only one with authority master" in said["error"]["message"]


def test_a_revoked_node_is_cut_off_everywhere_and_nothing_it_writes_counts(
    daemons: list[Daemon], invited: Daemon
) -> None:
    peer = status(invited)["peer_id"]
    invited.call("hmmm.post", room="cut", text="before the cut")
    until(lambda: all(texts(d, "cut") == {"before the cut"} for d in daemons), 5, "its word everywhere")
    held = member(daemons[1], peer)["entries"]
    invited.process.send_signal(signal.SIGSTOP)
    try:
        code, done = run(daemons[0], "members", "revoke", "agent-d", "--yes", "--reason", "its key was copied")
        assert code == 0, done
        until(lambda: not any(_connected(d, peer) for d in daemons), 8, "no connection to it anywhere")
    finally:
        invited.process.send_signal(signal.SIGCONT)
    with suppress(ChorusError):  # it may have heard by now
        invited.call("hmmm.post", room="cut", text="beyond the cut")
    until(lambda: status(invited)["stage"] == "revoked", 15, "it knows")
    assert status(invited)["notes"][0].startswith("This node was revoked"), "before what else there is to say"
    assert "doesn't speak CHORUS" not in notes(invited), "who hangs up on it isn't a stranger"
    assert "was revoked from its cluster" in run(invited, "election", "why")[1]["why"]
    assert "its key was copied" in notes(invited)
    with pytest.raises(ChorusError, match="not a member"):
        invited.call("hmmm.post", room="cut", text="beyond the cut, too")
    until(lambda: not any(_connected(d, peer) for d in daemons), 8, "cut off again")
    for daemon in daemons:
        assert texts(daemon, "cut") == {"before the cut"}
        assert member(daemon, peer)["revoked"]
        assert member(daemon, peer)["entries"] == held
    assert "revoked" not in notes(daemons[0])
    invited.end()
    again = revived(invited, TIMINGS, address(daemons[0]))
    try:
        until(lambda: _stage(again) == "revoked", 15, "it still knows after a restart")
        assert member(daemons[0], peer)["revoked"], "and nobody lets it in again"
    finally:
        again.end()


def test_an_evicted_member_comes_back_by_the_clusters_policy(daemons: list[Daemon], newcomers: Newcomers) -> None:
    away = newcomers.of["agent-g"]
    peer = status(away)["peer_id"]
    code, said = run(daemons[0], "members", "evict", "agent-g", "--yes")
    assert (code, "is here" in said["error"]["message"]) == (1, True)
    away.end()
    until(lambda: not _connected(daemons[0], peer), 10, "it is away")
    code, done = run(daemons[0], "members", "evict", "agent-g", "--yes", "--reason", "gone since May")
    assert code == 0, done
    assert member(daemons[0], peer)["evicted"]
    assert run(daemons[0], "cluster", "policy", "open")[0] == 0
    back = revived(away, TIMINGS, address(daemons[0]))
    try:
        until(lambda: not member(daemons[0], peer)["evicted"], 20, "a member again")
        until(lambda: here(back), 10, "and it knows")
        back.call("hmmm.post", room="cut", text="back again")
        until(lambda: "back again" in texts(daemons[1], "cut"), 5, "its word counts again")
    finally:
        back.end()


def _connected(daemon: Daemon, peer: str) -> bool:
    peers: Any = daemon.call("peers")
    return any(p["peer_id"] == peer for p in peers)
