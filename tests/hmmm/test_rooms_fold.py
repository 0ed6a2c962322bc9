"""Rooms: order doesn't matter, threads hang together, hostile data changes nothing."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent_core.feeds.model import Entry
from agent_core.hmmm.fold import RoomsFold
from agent_core.hmmm.model import HMMM_MESSAGE, HMMM_PROCEED, MessageData, ProceedData, is_room_id, mentions_in
from tests.support.permute import assert_order_free
from tests.support.writing import START_MS, Feed


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """A few authors in two rooms: replies, stances, replies to what never came, proceeds, unreadable data."""
    feeds = [Feed(name) for name in "abc"]
    written: list[Entry] = []
    for step in range(draw(st.integers(0, 14))):
        feed = draw(st.sampled_from(feeds))
        ms = START_MS + draw(st.integers(0, 5)) * 1000 + step
        parents = st.sampled_from([e.hash.hex() for e in written]) if written else st.nothing()
        parent = draw(st.just("") | parents | st.just("f" * 64))
        room = draw(st.sampled_from(["one", "two"]))
        match draw(st.sampled_from(["message", "stance", "proceed", "junk"])):
            case "message":
                written.append(
                    feed.write(
                        HMMM_MESSAGE,
                        MessageData(room=room, intent="proposal", parent=parent),
                        ms,
                        b"x",
                        op=draw(st.sampled_from(["", "o1", "o2"])),
                    )
                )
            case "stance":
                stance = draw(st.sampled_from(["agree", "disagree"]))
                data = MessageData(room=room, intent="update", parent=parent, stance=stance, weight="blocking")
                written.append(feed.write(HMMM_MESSAGE, data, ms))
            case "proceed":
                data = ProceedData(room=room, plan=parent or "e" * 64, seen=tuple(f.head for f in feeds))
                written.append(feed.write(HMMM_PROCEED, data, ms))
            case _:
                junk = draw(
                    st.sampled_from(
                        [
                            b"[]",
                            b'{"room":7}',
                            b'{"room":"../x","intent":"update"}',
                            b'{"room":"a\\n","intent":"update"}',
                        ]
                    )
                )
                written.append(feed.write(HMMM_MESSAGE, msgspec.Raw(junk), ms))
    return written


@given(histories(), st.data())
def test_state_depends_on_the_set_of_entries_only(entries: list[Entry], data: st.DataObject) -> None:
    assert_order_free(RoomsFold, entries, data)


def test_different_sets_give_different_states() -> None:
    feed = Feed("a")
    one = feed.write(HMMM_MESSAGE, MessageData(room="r", intent="update"))
    two = feed.write(HMMM_MESSAGE, MessageData(room="r", intent="update"))
    folds = [RoomsFold(), RoomsFold()]
    folds[0].apply([one])
    folds[1].apply([one, two])
    assert folds[0].canonical() != folds[1].canonical()


def test_threads_hang_together_and_orphans_stand_at_the_root() -> None:
    feed = Feed("a")
    root = feed.write(HMMM_MESSAGE, MessageData(room="r", intent="question"))
    other = feed.write(HMMM_MESSAGE, MessageData(room="r", intent="update"))
    reply = feed.write(
        HMMM_MESSAGE, MessageData(room="r", intent="answer", parent=root.hash.hex(), thread=root.hash.hex())
    )
    # Its parent never came, but its thread is known; the last one's is not.
    cut_off = feed.write(HMMM_MESSAGE, MessageData(room="r", intent="answer", parent="a" * 64, thread=root.hash.hex()))
    orphan = feed.write(HMMM_MESSAGE, MessageData(room="r", intent="answer", parent="b" * 64, thread="c" * 64))
    fold = RoomsFold()
    fold.apply([orphan, cut_off, reply, other, root])
    room = fold.rooms["r"]
    assert list(room.roots) == [e.hash.hex() for e in (root, reply, cut_off, other, orphan)]
    assert [len(thread) for thread in room.threads.values()] == [3, 1, 1]


def test_links_in_a_circle_end() -> None:
    """No honest hash can name itself through others; a fabricated one mustn't hang the node."""
    feed = Feed("a")
    hashes = [bytes([n]) * 32 for n in range(3)]
    entries = [
        replace(
            feed.write(HMMM_MESSAGE, MessageData(room="r", intent="update", parent=hashes[(n + 1) % 3].hex())),
            hash=hashes[n],
        )
        for n in range(3)
    ]
    fold = RoomsFold()
    fold.apply(entries)
    assert len(fold.rooms["r"].roots) == 3
    assert list(fold.rooms["r"].threads) == [hashes[0].hex()]


def test_a_very_deep_thread_is_no_recursion() -> None:
    feed, parent = Feed("a"), ""
    for _ in range(3000):
        parent = feed.write(HMMM_MESSAGE, MessageData(room="r", intent="update", parent=parent)).hash.hex()
    fold = RoomsFold()
    fold.apply(feed.entries)
    assert list(fold.rooms["r"].threads) == [feed.entries[0].hash.hex()]


def test_room_names_are_bounded() -> None:
    assert all(map(is_room_id, ["build-7", "repo#12", "A", "x" * 64]))
    assert not any(map(is_room_id, ["", "-x", "a b", "a/b", "x" * 65, "a\n", "é"]))


def test_mentions_are_names_and_not_mail_addresses() -> None:
    text = "@ann, ask @role:reviewer or @expertise:sql. Not me@example.org, not a/@b; @ann again and @agent-1."
    assert mentions_in(text) == ("ann", "role:reviewer", "expertise:sql", "agent-1")
    assert len(mentions_in(" ".join(f"@a{n}" for n in range(100)))) == 32
