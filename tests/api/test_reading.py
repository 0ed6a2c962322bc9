from __future__ import annotations

import dataclasses

import msgspec
import pytest
import trio

from agent_core.api import views
from agent_core.api.dispatch import Dispatcher
from agent_core.api.live import Live, expect_slices
from agent_core.api.operations import OPERATIONS, Facade
from agent_core.api.registry import operation, operations_of
from agent_core.api.requests import Nothing, PurgeRequest, TailRequest
from agent_core.api.slices import SliceHub
from agent_core.caller import Caller
from agent_core.clock import pack
from agent_core.errors import ChorusError, ClockAhead, InvalidInput, NotFound
from agent_core.feeds.model import Draft, Entry, new_header
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData
from agent_core.network import Peer
from agent_core.shapes import KEYED_SLICES, STATE_SLICES, Underway, Voters
from tests.support.parts import ME, NOW_MS, OTHER, FakeNode, a_status


def an_entry(seq: int, author: str = ME, text: str = "hello") -> Entry:
    draft = Draft(HMMM_MESSAGE, MessageData(room="r", intent="update"), text.encode())
    return new_header(draft, author=author, epoch=0, seq=seq, hlc=pack(NOW_MS - 1000 + seq), salt=bytes(16))[0]


def test_every_operation_of_the_brief_is_there_once() -> None:
    assert set(OPERATIONS) == {
        *("status", "peers", "members", "attention", "shhh.check", "session.end_preview", "session.keep_running"),
        *("election.show", "election.verify", "election.trigger", "election.resign", "members.log"),
        *("hmmm.rooms", "hmmm.show", "hmmm.post"),
        *("decisions.list", "decisions.show", "decisions.propose", "decisions.vote", "decisions.withdraw"),
        *("ucxl.get", "ucxl.put", "ucxl.delete", "ucxl.ls", "ucxl.log", "ucxl.diff", "ucxl.stage", "ucxl.fetch"),
        *("log.tail", "log.verify", "log.purge", "log.prove", "log.export", "log.renew"),
        *("cluster.join", "cluster.recover", "cluster.share", "cluster.policy"),
        *("members.invite", "members.pending", "members.approve", "members.refuse"),
        *("members.revoke", "members.evict", "members.promote", "members.demote"),
    }
    changing = {name for name, found in OPERATIONS.items() if found.changes}
    assert changing == {
        *(
            "election.trigger",
            "election.resign",
            "hmmm.post",
            "ucxl.put",
            "ucxl.stage",
            "ucxl.delete",
            "log.purge",
            "log.renew",
        ),
        *("decisions.propose", "decisions.vote", "decisions.withdraw"),
        *("cluster.join", "cluster.recover", "cluster.share", "cluster.policy"),
        *("members.invite", "members.approve", "members.refuse"),
        *("members.revoke", "members.evict", "members.promote", "members.demote"),
    }
    assert all(found.doc for found in OPERATIONS.values())


def test_an_operation_needs_a_request_and_a_docstring() -> None:
    class Undocumented:
        @operation("x")
        def x(self, request: Nothing) -> int:
            return 1

    with pytest.raises(TypeError, match="docstring"):
        operations_of(Undocumented)


def test_members_and_connections() -> None:
    node = FakeNode()
    node.entries.stored = [an_entry(0), an_entry(1), an_entry(0, OTHER)]
    facade = Facade(node.parts())
    ann, bob = facade.members(Nothing())
    assert (ann.agent_id, ann.you, ann.leader, ann.entries, ann.online) == ("ann", True, False, 2, True)
    assert (bob.agent_id, bob.you, bob.leader, bob.entries, bob.online) == ("bob", False, True, 1, False)
    assert ann.last_seen.endswith("Z")
    context = node.parts().sources.context()
    stranger, known = views.connections(
        context, node.entries, [Peer(peer_id=OTHER, connected_at_ms=NOW_MS - 5000), Peer(peer_id="stranger")]
    )
    assert (known.agent_id, known.member, known.connected_s, known.entries) == ("bob", True, 5.0, 1)
    assert (stranger.agent_id, stranger.member) == ("", False)


def test_the_log_says_why_a_body_is_missing() -> None:
    node = FakeNode()
    node.entries.stored = [an_entry(0), an_entry(1)]
    lines = Facade(node.parts()).log_tail(TailRequest(limit=1))
    (line,) = lines
    assert (line.key, line.author, line.type, line.text) == (f"{ME}/0/1", "ann", HMMM_MESSAGE, "r")
    assert line.body == "not fetched yet"
    assert Facade(node.parts()).log_tail(TailRequest(limit=-5)) == ()


def test_entries_are_found_by_key_and_by_any_unique_prefix() -> None:
    node = FakeNode()
    entries = node.entries
    entries.stored = [an_entry(n, text=str(n)) for n in range(40)]
    wanted = entries.stored[7]
    assert views.find_entry(f"{ME}/0/7", entries) == wanted.key
    assert views.find_entry(wanted.id, entries) == wanted.key
    for bad in (f"{ME}/0/99", "zzzzzzzzz", f"{ME}/0/{'9' * 4000}"):
        with pytest.raises(NotFound):
            views.find_entry(bad, entries)
    with pytest.raises(InvalidInput):
        views.find_entry("", entries)


def test_a_feed_is_named_by_its_author_in_any_way_but_an_ambiguous_one() -> None:
    node = FakeNode()
    later = msgspec.structs.replace(an_entry(0, OTHER).header, epoch=3)
    node.entries.stored = [an_entry(0), an_entry(0, OTHER), Entry.parse(msgspec.json.encode(later))]
    ctx = node.parts().sources.context()
    for named, epoch, found in (
        ("", None, (ME, 0)),
        (OTHER, None, (OTHER, 3)),
        ("bob", None, (OTHER, 3)),
        ("bob", 0, (OTHER, 0)),
    ):
        assert views.find_feed(named, epoch, node.entries, ctx) == found
    with pytest.raises(NotFound, match="carol"):
        views.find_feed("carol", None, node.entries, ctx)
    assert ctx.roster is not None
    both = {peer: msgspec.structs.replace(m, agent_id="ann") for peer, m in ctx.roster.members.items()}
    node.chain.roster = msgspec.structs.replace(ctx.roster, members=both)
    with pytest.raises(InvalidInput, match="Several"):
        views.find_feed("ann", None, node.entries, node.parts().sources.context())
    assert views.find_feed(f"ann~{OTHER[-6:]}", None, node.entries, ctx)[0] == OTHER


async def test_purging_names_an_entry_that_is_there() -> None:
    node = FakeNode()
    with pytest.raises(NotFound):
        await Facade(node.parts()).log_purge(PurgeRequest(key="abc"), Caller())
    node.entries.stored = [an_entry(0)]
    with pytest.raises(ChorusError, match="not in this test"):
        await Facade(node.parts()).log_purge(PurgeRequest(key=f"{ME}/0/0"), Caller())


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        (a_status(), []),
        (a_status(voters=Voters(total=3, reachable=1, quorum=2), leader=None), ["minority"]),
        (a_status(leader=None), ["minority"]),
        (a_status(leader=None, state="discovering"), []),
        (a_status(leader=None, cluster_id=""), []),
        (a_status(leader=None, offline=True), []),
        (a_status(notes=("feeds crashed.",), stage="degraded"), ["degraded"]),
        (a_status(notes=("It waits for approval.",)), ["note"]),
        (a_status(notes=("This node was revoked.", "Another."), stage="revoked"), ["revoked", "note"]),
        (a_status(underway=(Underway(kind="folding", text="Folding 34 %.", brief="folding 34 %"),)), []),
    ],
)
def test_attention_to_the_cluster(status: object, kinds: list[str]) -> None:
    node = FakeNode()
    node.now = status  # type: ignore[assignment]
    assert [item.kind for item in Facade(node.parts()).attention(Nothing())] == kinds


def test_attention_to_a_fork_comes_first() -> None:
    node = FakeNode()
    node.entries.stored = [an_entry(0, OTHER)]
    node.entries.limits = {(OTHER, 0): 1}
    node.now = a_status(notes=("feeds crashed.",))
    fork, _ = Facade(node.parts()).attention(Nothing())
    assert (fork.kind, fork.urgent, fork.target) == ("fork", True, "members:12D3KooWother")
    assert "bob" in fork.text


async def test_entries_reach_the_slices_they_touch(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    node = FakeNode()
    hub = SliceHub()
    expect_slices(hub)
    parts = node.parts()
    live = Live(hub, Facade(parts), parts.sources)
    await nursery.start(hub.run)
    reader = hub.reader()
    keyed = [f"{name}:r" for name in KEYED_SLICES]
    snapshots = reader.subscribe([*STATE_SLICES, *keyed, "log"])
    assert set(snapshots) == {*STATE_SLICES, *keyed, "log"}
    entry = an_entry(0)
    node.entries.stored.append(entry)
    node.folds.rooms.apply([entry])
    live.entries_stored([entry])
    events = {event.slice: event for event in await reader.receive()}
    assert {"rooms", "room:r", "log"} <= set(events)
    assert msgspec.json.decode(events["room:r"].value or b"")["messages"][0]["author"] == "ann"
    assert b'"ann"' in bytes(events["log"].items[0])


#: What no clock holds back: elections, acts, where the home belongs, and the way out itself.
ALWAYS = {
    *("election.trigger", "election.resign", "cluster.join", "cluster.recover", "cluster.policy", "log.renew"),
    *("members.invite", "members.approve", "members.refuse", "members.revoke"),
    *("members.evict", "members.promote", "members.demote"),
}


@pytest.mark.parametrize("name", sorted(name for name, found in OPERATIONS.items() if found.changes))
async def test_while_the_log_is_ahead_of_the_clock_a_change_is_refused_unless_no_clock_holds_it_back(name: str) -> None:
    asked: list[bool] = []

    def ahead() -> None:
        asked.append(True)
        raise ClockAhead("Writing waits.", "`chorus-hap log renew`")

    parts = FakeNode().parts()
    sources = dataclasses.replace(parts.sources, check_clock=ahead)
    dispatcher = Dispatcher(a_status)
    dispatcher.open(Facade(dataclasses.replace(parts, sources=sources)))
    fields = msgspec.structs.fields(OPERATIONS[name].request)
    params = {f.name: {"policy": "open", "upload": "abcdefgh"}.get(f.name, "x") for f in fields if f.required}
    try:
        await dispatcher.call(name, msgspec.json.encode(params), Caller())
    except ClockAhead:
        assert name not in ALWAYS
    except ChorusError:
        assert name in ALWAYS
    assert bool(asked) == (name not in ALWAYS)
