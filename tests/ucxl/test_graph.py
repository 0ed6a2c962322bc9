"""Versions: order doesn't matter, heads and latest, steps through time, and hostile parents."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent_core.feeds.model import Entry
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData
from agent_core.ucxl.address import Moment, Temporal
from agent_core.ucxl.fold import UcxlFold
from agent_core.ucxl.graph import Graph
from agent_core.ucxl.model import UCXL_PUT, Cited, PutData
from tests.support.permute import assert_order_free
from tests.support.writing import START_MS, Feed

ADDRESS = "ucxl://a:b@c:d/x"
OTHER = "ucxl://a:b@c:d/y"


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """A few authors at two addresses: any parents, unknown ones too, tombstones, citations, spellings that don't count."""
    feeds = [Feed(name) for name in "abc"]
    written: list[Entry] = []
    for step in range(draw(st.integers(0, 14))):
        feed = draw(st.sampled_from(feeds))
        ms = START_MS + draw(st.integers(0, 5)) * 1000 + step
        known = st.sampled_from([e.hash.hex() for e in written]) if written else st.nothing()
        parents = tuple(dict.fromkeys(draw(st.lists(known | st.just("f" * 64), max_size=3))))
        cites = (Cited(address=draw(st.sampled_from([ADDRESS, OTHER, "ucxl://", "ucxl://a:b@c:d/#/x"])), reason="r"),)
        match draw(st.sampled_from(["put", "put", "message", "junk"])):
            case "put":
                address = draw(
                    st.sampled_from([ADDRESS, ADDRESS, OTHER, "ucxl://any:b@c:d/x", "ucxl://a:b@c:d/#/x", "?"])
                )
                data = PutData(address=address, parents=parents, citations=cites, deleted=draw(st.booleans()))
                written.append(feed.write(UCXL_PUT, data, ms, b"x", op=draw(st.sampled_from(["", "o"]))))
            case "message":
                written.append(feed.write(HMMM_MESSAGE, MessageData(room="r", intent="update", citations=cites), ms))
            case _:
                junk = draw(
                    st.sampled_from([b"0", b'{"address":[]}', b'{"address":"ucxl://a:b@c:d/x","parents":["z"]}'])
                )
                written.append(feed.write(UCXL_PUT, msgspec.Raw(junk), ms))
    return written


@given(histories(), st.data())
def test_state_depends_on_the_set_of_entries_only(entries: list[Entry], data: st.DataObject) -> None:
    assert_order_free(UcxlFold, entries, data)


class Shelf:
    """One address, and who writes what to it when."""

    def __init__(self) -> None:
        self.feeds = {name: Feed(name) for name in "abc"}
        self.ms = START_MS

    def put(self, who: str, *parents: Entry, ms: int = 0, deleted: bool = False) -> Entry:
        self.ms = ms or self.ms + 1000
        named = tuple(p.hash.hex() for p in parents)
        return self.feeds[who].write(UCXL_PUT, PutData(address=ADDRESS, parents=named, deleted=deleted), self.ms, b"x")

    def graph(self) -> Graph:
        fold = UcxlFold()
        for feed in self.feeds.values():
            fold.apply(feed.entries)
        return fold.graphs[ADDRESS]

    def at(self, moment: Moment, value: int = 0, hand: Entry | None = None) -> str | None:
        graph = self.graph()
        found = graph.at(Temporal(moment, value), graph.versions[hand.hash.hex()] if hand else None)
        return found.hash if found else None


def test_steps_along_a_line() -> None:
    shelf = Shelf()
    one = shelf.put("a")
    two = shelf.put("b", one)
    three = shelf.put("a", two)
    h1, h2, h3 = (e.hash.hex() for e in (one, two, three))
    assert shelf.at(Moment.LATEST) == h3
    assert shelf.at(Moment.FIRST) == h1
    assert [shelf.at(Moment.BACK, n) for n in range(4)] == [h3, h2, h1, None]
    assert [shelf.at(Moment.FORWARD, n) for n in range(4)] == [h1, h2, h3, None]
    assert shelf.at(Moment.FORWARD, 1, hand=two) == h3
    assert shelf.at(Moment.BACK, 1, hand=two) == h1
    assert [shelf.at(Moment.AT, START_MS + n * 1000) for n in range(4)] == [None, h1, h2, h3]


def test_siblings_stand_beside_the_latest_and_a_write_that_names_both_merges() -> None:
    shelf = Shelf()
    base = shelf.put("a")
    left = shelf.put("b", base, ms=START_MS + 5000)
    right = shelf.put("c", base, ms=START_MS + 5000)
    heads = [v.hash for v in shelf.graph().heads()]
    assert set(heads) == {left.hash.hex(), right.hash.hex()}
    assert heads[0] == right.hash.hex(), "of equal stamps the greater author is latest"
    merged = shelf.put("a", left, right)
    assert [v.hash for v in shelf.graph().heads()] == [merged.hash.hex()]
    assert shelf.at(Moment.BACK, 1) == right.hash.hex()
    assert shelf.at(Moment.FIRST) == base.hash.hex()


@given(st.integers(0, 2), st.integers(-4000, -1))
def test_what_arrives_late_beside_the_chain_shifts_nothing(parent: int, offset_ms: int) -> None:
    """A version of an old parent, stamped before the latest one: a sibling, and every step leads where it led."""
    shelf = Shelf()
    line = [shelf.put("a")]
    for _ in range(3):
        line.append(shelf.put("b", line[-1]))

    def steps() -> list[str | None]:
        return [
            *(shelf.at(Moment.BACK, n) for n in range(5)),
            *(shelf.at(Moment.FORWARD, n) for n in range(5)),
            shelf.at(Moment.FIRST),
        ]

    before = steps()
    shelf.put("c", *line[parent : parent + 1], ms=START_MS + 4000 + offset_ms)
    assert steps() == before
    assert len(shelf.graph().heads()) == 2


def test_parents_that_come_later_take_their_place() -> None:
    shelf = Shelf()
    one = shelf.put("a")
    two = shelf.put("b", one)
    fold = UcxlFold()
    fold.apply([two])
    assert [v.hash for v in fold.graphs[ADDRESS].chain()] == [two.hash.hex()]
    fold.apply([one])
    assert [v.hash for v in fold.graphs[ADDRESS].chain()] == [two.hash.hex(), one.hash.hex()]
    assert [v.hash for v in fold.graphs[ADDRESS].heads()] == [two.hash.hex()]


def test_parents_in_a_circle_end() -> None:
    """No honest hash can name itself through others; a fabricated one mustn't hang the node."""
    feed = Feed("a")
    hashes = [bytes([n]) * 32 for n in range(3)]
    fold = UcxlFold()
    for n in range(3):
        data = PutData(address=ADDRESS, parents=(hashes[(n + 1) % 3].hex(), hashes[n].hex()))
        fold.apply([replace(feed.write(UCXL_PUT, data), hash=hashes[n])])
    graph = fold.graphs[ADDRESS]
    assert graph.heads() == []
    latest = graph.latest()
    assert latest is not None
    assert latest.hash == hashes[2].hex()
    assert len(graph.chain()) <= 3
    assert graph.at(Temporal(Moment.BACK, 10)) is None


def test_only_the_canonical_spelling_is_an_address() -> None:
    feed, fold = Feed("a"), UcxlFold()
    for address in ("ucxl://any:b@c:d/x", "ucxl://a:b@c:d/#/x", "ucxl://a:b@c:d/~~1/x", "UCXL://a:b@c:d/x", "nonsense"):
        feed.write(UCXL_PUT, PutData(address=address))
    fold.apply(feed.entries)
    assert fold.graphs == {}


def test_citations_run_both_ways() -> None:
    feed, fold = Feed("a"), UcxlFold()
    cites = (Cited(address=OTHER, reason="why"), Cited(address=OTHER, reason="twice"), Cited(address="junk", reason=""))
    message = feed.write(HMMM_MESSAGE, MessageData(room="r", intent="update", citations=cites), START_MS + 2)
    feed.write(UCXL_PUT, PutData(address=ADDRESS, citations=cites), START_MS + 1, b"x")
    fold.apply(feed.entries)
    assert fold.cited_by(OTHER) == (ADDRESS, f"room:r/{message.id}")
    assert fold.cited_by(ADDRESS) == ()
