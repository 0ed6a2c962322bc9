"""What operations check first: prefixes, operation ids, and which entry an operation made."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.errors import Conflict, InvalidInput, NotFound
from agent_core.ids import uuid7
from agent_core.requests import OperationIndex, by_prefix, derived_operation_id, one_of, operation_id
from agent_core.roster.model import Authority
from tests.support.writing import START_MS, Feed


def test_any_unique_beginning_names_a_thing() -> None:
    ids = ["abcd2345", "abce2345", "zz"]
    assert by_prefix("abcd", ids, "room") == "abcd2345"
    assert by_prefix(" ABCD2345 ", ids, "room") == "abcd2345"
    assert by_prefix("zz", [*ids, "zzz"], "room") == "zz", "an exact match wins"
    with pytest.raises(InvalidInput, match="several rooms: abcd2345, abce2345"):
        by_prefix("abc", ids, "room")
    with pytest.raises(NotFound, match="no room 'q'"):
        by_prefix("q", ids, "room")
    with pytest.raises(InvalidInput):
        by_prefix(" ", ids, "room")


def test_operation_ids() -> None:
    given_id = uuid7(START_MS)
    assert operation_id(given_id.upper(), 0) == given_id
    assert operation_id("", START_MS) != operation_id("", START_MS)
    with pytest.raises(InvalidInput):
        operation_id("x" * 100_000, 0)
    assert derived_operation_id(1, "a", "b") == derived_operation_id(1, "a", "b") != derived_operation_id(1, "ab")


def test_words_are_checked_against_the_list() -> None:
    assert one_of(Authority, " Master ", "authority") is Authority.MASTER
    with pytest.raises(InvalidInput) as refused:
        one_of(Authority, "boss", "authority")
    assert "master, decision, coordination" in refused.value.next


@given(st.data())
def test_the_first_entry_of_an_operation_is_found_in_any_order(data: st.DataObject) -> None:
    feeds = [Feed("a"), Feed("a", epoch=1), Feed("b")]
    entries = [
        feed.write("t", msgspec.Raw(b"{}"), START_MS + data.draw(st.integers(0, 3)), op=op)
        for feed in feeds
        for op in ("one", "two", "one", "")
    ]
    index = OperationIndex()
    for entry in data.draw(st.permutations(entries)):
        index.add(entry)
    for author in "ab":
        for op in ("one", "two"):
            first = min((e for e in entries if (e.header.author, e.header.op) == (author, op)), key=lambda e: e.order)
            made = index.find(author, op, "t")
            assert made is not None
            assert made.key == first.key
    assert index.find("a", "", "t") is None
    assert index.find("c", "one", "t") is None
    with pytest.raises(Conflict):
        index.find("a", "one", "other")
