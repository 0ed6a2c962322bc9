"""Which range is asked of whom: everything offered comes, once, within bounds, whatever peers do."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.feeds.heads import Item
from agent_core.feeds.protocol import MAX_FRAME_BYTES, Range
from agent_core.feeds.schedule import MAX_ASKS, MAX_BYTES, Ask, Schedule

FEED, OWN = ("author", 0), ("me", 0)
ITEM = Item(b"header")


def answer(schedule: Schedule, ask: Ask, now: float, items: int | None = None, octets: int = 1000) -> None:
    count = ask.end - ask.start if items is None else min(items, ask.end - ask.start)
    schedule.land(ask, Range(items=(ITEM,) * count), octets, now)


def store(schedule: Schedule) -> int:
    """Take in what can be taken in, as far as it goes; returns how much is held."""
    held = 0
    while (one := schedule.due()) is not None:
        held = one.end
        schedule.drop(one)
        schedule.grew(one.ask.feed, held, None)
    return held


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 3000))
def test_all_that_peers_offer_comes_once_and_in_order(seed: int, peers: int, size: int) -> None:
    """Peers have different parts, answer in any order, short or with nothing, and some go away."""
    rng = random.Random(seed)
    schedule = Schedule("me")
    sizes = {f"p{n}": rng.randint(0, size) for n in range(peers)}
    sizes["p0"] = size
    for peer, has in sizes.items():
        schedule.offer(peer, FEED, 0, has)
    out: list[Ask] = []
    held, now = 0, 0.0
    for _ in range(20_000):
        now += 0.01
        for peer in rng.sample(sorted(sizes), len(sizes)):
            while rng.random() < 0.9 and (ask := schedule.take(peer, now)) is not None:
                assert held <= ask.start < ask.end <= sizes[peer]
                out.append(ask)
        assert schedule.octets <= MAX_BYTES + MAX_FRAME_BYTES * len(sizes)
        assert all(sum(ask.peer == peer for ask in out) <= MAX_ASKS for peer in sizes)
        if held == size:
            break
        if not out:
            continue
        ask = out.pop(rng.randrange(len(out)))
        if ask.peer != "p0" and rng.random() < 0.1:
            answer(schedule, ask, now, items=0)
        elif ask.peer != "p0" and rng.random() < 0.05:
            schedule.withdraw(ask.peer)
            del sizes[ask.peer]
            out = [a for a in out if a.peer != ask.peer]
        else:
            answer(schedule, ask, now, items=rng.choice((1000, 30)))
        held = max(held, store(schedule))
    assert held == size
    assert not schedule.behind


def test_ranges_are_spread_and_the_own_feed_goes_first() -> None:
    schedule = Schedule("me")
    for peer in ("a", "b"):
        schedule.offer(peer, FEED, 10, 2000)
        schedule.offer(peer, OWN, 0, 5)
    first, second, third = schedule.take("a", 0), schedule.take("a", 0), schedule.take("b", 0)
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.feed, first.start, first.end) == (OWN, 0, 5)
    assert (second.feed, second.start) == (FEED, 10)
    assert (third.feed, third.start) == (FEED, second.end)
    assert schedule.behind == {FEED: 1990, OWN: 5}


def test_what_a_late_peer_was_asked_for_is_asked_of_another_and_it_is_asked_less() -> None:
    schedule = Schedule("me")
    for peer in ("slow", "quick"):
        schedule.offer(peer, FEED, 0, 100)
    late = schedule.take("slow", 0)
    assert late is not None
    assert schedule.take("quick", 0.1) is None, "it isn't late yet"
    again = schedule.take("quick", 2.1)
    assert again is not None
    assert (again.start, again.end) == (late.start, late.end)
    assert schedule.asked_twice == 1
    answer(schedule, again, 2.2)
    assert store(schedule) == 100
    answer(schedule, late, 9.0)
    assert schedule.due() is None, "what came twice is dropped"
    schedule.offer("slow", FEED, 100, 5000)
    assert schedule.take("slow", 9.0) is not None
    assert schedule.take("slow", 9.0) is None, "one at a time until it keeps up again"


def test_a_slow_store_stops_the_asking() -> None:
    """Nothing is taken in: what was asked for and came stays within the bound, and goes on when there is room."""
    schedule = Schedule("me")
    schedule.offer("a", FEED, 0, 1_000_000)
    asked = 0
    while (ask := schedule.take("a", 0)) is not None:
        asked += 1
        answer(schedule, ask, 0, octets=MAX_FRAME_BYTES)
        assert schedule.octets <= MAX_BYTES
    assert asked == MAX_BYTES // MAX_FRAME_BYTES
    assert store(schedule) > 0
    assert schedule.take("a", 0) is not None


def test_nothing_from_a_fork_on_is_asked_for() -> None:
    schedule = Schedule("me")
    schedule.offer("a", FEED, 0, 1000)
    schedule.grew(FEED, 0, 40)
    ask = schedule.take("a", 0)
    assert ask is not None
    assert ask.end == 40
    schedule.grew(FEED, 50, 40)
    assert not schedule.behind


@pytest.mark.parametrize("items", [0, 5])
def test_an_answer_to_a_question_taken_back_changes_nothing(items: int) -> None:
    schedule = Schedule("me")
    schedule.offer("a", FEED, 0, 10)
    ask = schedule.take("a", 0)
    assert ask is not None
    schedule.refuse("a", FEED)
    schedule.grew(FEED, 10, None)
    answer(schedule, ask, 1, items=items)
    assert schedule.due() is None
    assert schedule.octets == 0
