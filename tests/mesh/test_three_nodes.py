"""The spine on real parts: daemon processes on loopback that lead, talk, decide, remember, die and come back."""

from __future__ import annotations

import base64
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chorus_hap.tour import TIMINGS, Daemon, mesh
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    with mesh(tmp_path_factory.mktemp("mesh")) as running:
        yield running


def call(daemon: Daemon, method: str, **params: Any) -> Any:
    return daemon.call(method, **params)


def agreed(daemons: list[Daemon]) -> tuple[str, int] | None:
    """Leader and term, when all of them say the same with certainty."""
    said = set()
    for daemon in daemons:
        leader = call(daemon, "election.show")["leader"]
        if leader is None or not leader["certain"]:
            return None
        said.add((leader["peer_id"], leader["term"]))
    return said.pop() if len(said) == 1 else None


def texts(daemon: Daemon, room: str) -> list[str]:
    if room not in {r["id"] for r in call(daemon, "hmmm.rooms")}:
        return []
    return [m["text"] for m in call(daemon, "hmmm.show", room=room)["messages"]]


def held(daemon: Daemon) -> int:
    return int(call(daemon, "status")["entries"])


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_all_agree_on_one_leader_and_all_become_voters(daemons: list[Daemon]) -> None:
    until(lambda: agreed(daemons), 20, "one leader and term everywhere")
    until(
        lambda: all(call(d, "status")["voters"]["total"] == 3 for d in daemons), 20, "the founder promoted both daemons"
    )


def test_a_post_is_on_the_others_within_a_second(daemons: list[Daemon]) -> None:
    posted = call(daemons[0], "hmmm.post", room="build-7", text="the cache is cold", intent="update")
    began = time.monotonic()
    for daemon in daemons[1:]:
        until(
            lambda daemon=daemon: texts(daemon, "build-7") == ["the cache is cold"], 1.0, f"{posted} on {daemon.name}"
        )
    assert time.monotonic() - began < 1.0


def test_a_decision_closes_with_the_same_tally_everywhere(daemons: list[Daemon]) -> None:
    until(lambda: all(call(d, "status")["voters"]["total"] == 3 for d in daemons), 20, "three voters")
    proposed = call(daemons[0], "decisions.propose", title="Adopt the new cache", rule="majority", deadline="10m")
    until(
        lambda: all(any(x["id"] == proposed["id"] for x in call(d, "decisions.list")) for d in daemons),
        5,
        "the proposal everywhere",
    )
    call(daemons[1], "decisions.vote", id=proposed["id"], choice="approve", reason="measured, it holds")
    call(daemons[2], "decisions.vote", id=proposed["id"][:6], choice="approve", reason="agreed")

    def closed() -> list[Any]:
        views = [call(d, "decisions.show", id=proposed["id"]) for d in daemons]
        return views if all(v["state"] == "approved" for v in views) else []

    views = until(closed, 15, "approved on all three")
    assert all(v["tally"] == views[0]["tally"] and not v["provisional"] for v in views)
    assert views[0]["tally"]["approve"] == 2
    with pytest.raises(Exception, match="closed"):
        call(daemons[1], "decisions.vote", id=proposed["id"], choice="reject", reason="too late")


def test_versions_can_be_walked_on_another_node(daemons: list[Daemon]) -> None:
    address = "ucxl://any-agent:dev@chorus:cache/design.md"
    first = call(daemons[0], "ucxl.put", address=address, data=b64("one"))
    second = call(daemons[0], "ucxl.put", address=address, data=b64("two"))
    assert first["version"] != second["version"]
    other = daemons[1]
    until(lambda: len(call(other, "ucxl.ls", pattern=address)) == 1, 5, "the address on the other node")
    until(lambda: len(call(other, "ucxl.log", address=address)) == 2, 5, "both versions on the other node")
    back = call(other, "ucxl.get", address="ucxl://any-agent:dev@chorus:cache/~~1/design.md")
    assert base64.b64decode(back["data"]) == b"one"
    assert base64.b64decode(call(other, "ucxl.get", address=address)["data"]) == b"two"


def test_repeating_an_operation_changes_nothing(daemons: list[Daemon]) -> None:
    op = "01a2043c-c42a-75eb-8d38-c5be48e18054"
    first = call(daemons[0], "hmmm.post", room="ops", text="once", op_id=op)
    again = call(daemons[0], "hmmm.post", room="ops", text="once", op_id=op)
    assert first["key"] == again["key"]
    assert texts(daemons[0], "ops") == ["once"]


def test_a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost(daemons: list[Daemon]) -> None:
    leader_id, term = until(lambda: agreed(daemons), 20, "a leader before the kill")
    leader = next(d for d in daemons if call(d, "status")["peer_id"] == leader_id)
    others = [d for d in daemons if d is not leader]
    acknowledged = [f"before the kill {n}" for n in range(20)]
    for text in acknowledged:
        call(leader, "hmmm.post", room="kill", text=text)
    leader.end(signal.SIGKILL)

    def replaced() -> tuple[str, int] | None:
        said = agreed(others)
        return said if said is not None and said[0] != leader_id else None

    assert until(replaced, 20, "a new leader")[1] > term

    index = daemons.index(leader)
    back = Daemon(leader.home, leader.name, TIMINGS, bootstrap=call(others[0], "status")["addresses"][0])
    daemons[index] = back
    back.wait("peers")
    assert call(back, "status")["peer_id"] == leader_id
    for daemon in daemons:
        until(
            lambda daemon=daemon: set(texts(daemon, "kill")) == set(acknowledged), 15, f"every entry on {daemon.name}"
        )
    until(lambda: agreed(daemons), 20, "one view at the end")
    for daemon in daemons:
        assert call(daemon, "log.verify")["ok"]


def test_a_fourth_that_joins_later_has_every_entry(daemons: list[Daemon], tmp_path: Path) -> None:
    address = call(daemons[0], "status")["addresses"][0]
    fourth = Daemon(tmp_path / "agent-d", "agent-d", TIMINGS, bootstrap=address)
    try:
        fourth.wait("peers")
        until(lambda: held(fourth) >= held(daemons[0]) > 0, 5, "every entry on the newcomer")
        until(lambda: call(fourth, "status")["stage"] == "ready", 10, "the newcomer is a member")
        until(lambda: texts(fourth, "build-7") == ["the cache is cold"], 5, "all of it is folded")
        call(fourth, "hmmm.post", room="build-7", text="hello from the fourth")
        until(lambda: "hello from the fourth" in texts(daemons[1], "build-7"), 3, "its word on the others")
    finally:
        fourth.end()
