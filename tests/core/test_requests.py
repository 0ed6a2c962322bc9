"""What operations check first: prefixes, operation ids, and which entry an operation made."""

from __future__ import annotations

import msgspec
import pytest

from agent_core.errors import Conflict, InvalidInput, NotFound
from agent_core.feeds.model import Draft
from agent_core.ids import uuid7
from agent_core.requests import by_prefix, derived_operation_id, made_before, one_of, operation_id
from agent_core.roster.model import Authority
from tests.support.writing import START_MS, Cluster, member


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


async def test_an_operation_finds_what_it_made_and_makes_nothing_else() -> None:
    cluster = Cluster(member("ann"))
    feed = cluster.appender("ann")
    (first,) = await feed.append([Draft("t", msgspec.Raw(b"{}"), op="one")])  # type: ignore[arg-type]
    assert made_before(feed, "one", "t") == first
    assert made_before(feed, "two", "t") is None
    assert made_before(feed, "", "t") is None
    with pytest.raises(Conflict):
        made_before(feed, "one", "other")
