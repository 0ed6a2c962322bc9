"""A js-libp2p node, written from the protocol's pages only, is a member of a mesh of real daemons."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from chorus_hap import cli
from chorus_hap.link import connect
from chorus_hap.tour import Daemon, mesh
from tests.interop.js_node import JS, Failed, JsNode
from tests.interop.tools import Go
from tests.support.daemons import texts
from tests.support.meshes import config, connected, running
from tests.support.network_conformance import eventually
from tests.support.waiting import until

pytestmark = pytest.mark.real

COORDINATION = "CHORUS/coordination/v1"
FEEDS = "CHORUS/feeds/v1"


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    with mesh(tmp_path_factory.mktemp("mesh"), ("agent-a", "agent-b")) as running:
        yield running


@pytest.fixture(scope="module")
def js(daemons: list[Daemon], tmp_path_factory: pytest.TempPathFactory) -> Iterator[JsNode]:
    """The node, connected to both daemons and enrolled by the one that doesn't lead."""
    with JsNode(tmp_path_factory.mktemp("js") / "stderr") as node:
        for daemon in daemons:
            assert node.ask("connect", address=address(daemon))["hello"]["network"] == "chorus"
        reply = node.ask("enrol", peer=peer_id(daemons[1]), role="agent")
        assert reply["status"] == "admitted", reply
        assert reply["heads"]
        until(lambda: all(record(daemon, node.peer_id) for daemon in daemons), 30, "the member is known to both")
        yield node


def address(daemon: Daemon) -> str:
    said: Any = daemon.call("status")
    return str(said["addresses"][0])


def peer_id(daemon: Daemon) -> str:
    return address(daemon).rpartition("/")[2]


def saw(daemon: Daemon, **wanted: str) -> bool:
    """Whether a daemon's traffic has a message whose fields begin so."""
    with connect(daemon.home, start=False) as link, closing(link.subscribe("traffic")) as events:
        seen = [json.loads(bytes(item)) for item in next(events).items]
    return any(all(message[field].startswith(value) for field, value in wanted.items()) for message in seen)


def test_a_node_of_another_network_is_told_so_and_shown_out(daemons: list[Daemon], tmp_path: Path) -> None:
    with JsNode(tmp_path / "stderr", network="elsewhere") as stranger:
        met = stranger.ask("connect", address=address(daemons[0]))
        assert met["hello"]["network"] == "chorus"
        until(lambda: not stranger.ask("peers"), 30, "the daemon hangs up")


def record(daemon: Daemon, peer: str) -> Any:
    """A member as a daemon knows it."""
    members: Any = daemon.call("members")
    return next((m for m in members if m["peer_id"] == peer), None)


def test_it_is_enrolled(daemons: list[Daemon], js: JsNode) -> None:
    for daemon in daemons:
        member = record(daemon, js.peer_id)
        assert (member["agent_id"], member["role"], member["kind"]) == ("agent-js", "agent", "agent")
        assert (member["authority"], member["voter"], member["online"]) == ("coordination", False, True)


def test_its_envelopes_are_judged_as_anybodys(daemons: list[Daemon], js: JsNode) -> None:
    until(lambda: len(js.ask("followers", topic=COORDINATION)) == 2, 30, "both daemons follow the topic")
    data = {"available_for_work": True, "max_tasks": 3, "status": "working"}
    js.ask("publish", topic=COORDINATION, type="availability_broadcast", data=data)
    accepted = {"type": "availability_broadcast", "sender": "agent-js", "verdict": "accept"}
    until(lambda: all(saw(daemon, **accepted) for daemon in daemons), 30, "the message is accepted")
    # Data that isn't its type's, and somebody else's name, are refused by whoever sees them first.
    js.ask("publish", topic=COORDINATION, type="task_claim", data={"task_id": 7})
    js.ask("publish", topic=COORDINATION, type="availability_broadcast", data=data, more={"from": peer_id(daemons[0])})
    for reason in ("A message's data isn't a task_claim", "the envelope names another author"):
        refused = {"verdict": "reject", "reason": reason}
        until(lambda refused=refused: any(saw(daemon, **refused) for daemon in daemons), 30, reason)  # type: ignore[misc]


def test_our_envelopes_and_entries_hold_there(daemons: list[Daemon], js: JsNode) -> None:
    for daemon in daemons:
        posted: Any = daemon.call("hmmm.post", room="interop", text=f"from {daemon.name}", intent="update")
        assert posted["id"]

    def announced() -> bool:
        heard = js.ask("heard")
        assert not [h for h in heard if "failed" in h]
        said = {(h["from"], e["body"]) for h in heard if h["topic"] == FEEDS for e in h["entries"]}
        return {(peer_id(d), f"from {d.name}") for d in daemons} <= said

    until(announced, 30, "the announcements arrive with their entries")


def test_our_feeds_are_fetched_and_verified_there(daemons: list[Daemon], js: JsNode) -> None:
    source = peer_id(daemons[0])
    for number in range(20):
        daemons[0].call("hmmm.post", room="many", text=f"number {number}", intent="update")
    heads = js.ask("heads", peer=source)
    assert {peer_id(daemon) for daemon in daemons} <= {head["author"] for head in heads}
    for head in heads:
        feed = js.ask("fetch", peer=source, author=head["author"], epoch=head["epoch"])
        assert feed["size"] >= head["size"]
    feed = js.ask("fetch", peer=source, author=source, epoch=0)
    assert {f"number {n}" for n in range(20)} <= {entry["body"] for entry in feed["entries"]}
    # Ranges of at most 256 KiB: each but the last is proven by consistency with a checkpoint further on.
    for number in range(10):
        daemons[0].call("hmmm.post", room="long", text=f"{number} " + "long " * 6000, intent="update")
    long = js.ask("fetch", peer=source, author=source, epoch=0)
    assert (long["size"] - feed["size"] >= 10, long["ranges"] > 1) == (True, True)
    for meddle, why in (
        ("header", "another root"),
        ("body", "does not name"),
        ("checkpoint", "signature"),
        ("order", "another place"),
    ):
        with pytest.raises(Failed, match=why):
            js.ask("fetch", peer=source, author=source, epoch=0, meddle=meddle)


def test_a_large_body_is_fetched_by_its_blocks(daemons: list[Daemon], js: JsNode) -> None:
    content = random.Random(7).randbytes(300 * 1024)  # two blocks and a part of one
    put: Any = daemons[0].call(
        "ucxl.put", address="ucxl://agent-a:agent@interop:blocks/file.bin", data=base64.b64encode(content).decode()
    )
    author, epoch, seq = put["key"].split("/")
    for daemon in daemons:  # the one that wrote it, and the one that fetched it
        where = {"peer": peer_id(daemon), "author": author, "epoch": int(epoch), "seq": int(seq)}
        until(lambda where=where: holds(js, where, content), 30, "the blocks are there")  # type: ignore[misc]


def holds(js: JsNode, where: dict[str, Any], content: bytes) -> bool:
    """Whether the node gets this content, which it checks itself; not as long as its source lacks a part."""
    try:
        got = js.ask("content", **where)
    except Failed:
        return False
    return bool(got == {"size": len(content), "hash": hashlib.sha256(content).hexdigest()})


def test_its_entries_are_stored_shown_and_proven_here(
    daemons: list[Daemon], js: JsNode, go: Go, tmp_path: Path
) -> None:
    js.ask("say", room="interop", text="from node.js, announced")
    for daemon in daemons:
        until(lambda daemon=daemon: "from node.js, announced" in texts(daemon, "interop"), 30, "it is shown")  # type: ignore[misc]
    js.ask("write", room="interop", text="from node.js, to be asked for")
    for daemon in daemons:
        until(lambda daemon=daemon: "from node.js, to be asked for" in texts(daemon, "interop"), 30, "it is fetched")  # type: ignore[misc]
        verified: Any = daemon.call("log.verify")
        assert verified["ok"], verified
        # Written in JavaScript, exported by Python, judged by Go.
        place, home = tmp_path / daemon.name, ("--author", "agent-js", "--home", str(daemon.home))
        assert cli.main(["log", "export", str(place), "--bodies", *home]) == 0
        key = (place / "verifier").read_text().strip()
        assert go("feed", key, place) == (True, "verified\n")
        assert cli.main(["log", "prove", "1", "--out", str(place), *home]) == 0
        assert go("proof", key, f"{place}.tlog-proof", f"{place}.header") == (True, "verified\n")
        assert (place / "body/001").read_bytes()[16:] == b"from node.js, to be asked for"


async def test_records_are_put_and_got_both_ways(tmp_path: Path) -> None:
    async with running(config(1, dht=True)) as (first,), running(config(2, first.addresses[0], dht=True)) as (second,):
        await eventually(lambda: connected(first, second))
        with JsNode(tmp_path / "stderr", network="test") as js:

            async def ask(what: str, **params: Any) -> Any:
                return await trio.to_thread.run_sync(partial(js.ask, what, **params))

            for network in (first, second):
                await ask("connect", address=network.addresses[0])
            key = await second.dht_put(b"from Python")
            assert await ask("get", key=key) == "from Python"
            put = await ask("put", text="from node.js")
            # A key that isn't its value's, and a value over 8 KiB, are kept by nobody.
            for text, key in (("a lie", f"/chorus/{'0' * 64}"), ("x" * 8193, None)):
                lie = await ask("put", text=text, key=key)
                assert any(event.startswith("QUERY_ERROR") for event in lie["events"]), lie["events"]
                assert await first.dht_get(key or lie["key"]) is None
        # The node is gone, and what it put is here.
        assert [await network.dht_get(put["key"]) for network in (first, second)] == [b"from node.js"] * 2


def test_the_lock_names_no_place() -> None:
    assert "://" not in (JS / "package-lock.json").read_text()
