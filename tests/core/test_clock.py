"""The hybrid logical clock: strictly growing, never far past the wall, order in text is order in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent_core.clock import (
    MAX_AHEAD_MS,
    HybridClock,
    is_hlc,
    off_median_s,
    pack,
    parse_rfc3339,
    rfc3339,
    unpack,
)

stamps = st.tuples(st.integers(0, 2**48 - 1), st.integers(0, 2**16 - 1))


@given(stamps, stamps)
def test_text_order_is_time_order(a: tuple[int, int], b: tuple[int, int]) -> None:
    assert (pack(*a) < pack(*b)) == (a < b)
    assert unpack(pack(*a)) == a


@given(st.lists(st.one_of(st.integers(1_000_000, 1_000_200), stamps.map(lambda s: pack(*s))), max_size=60))
def test_grows_strictly_and_stays_near_the_wall(steps: list[int | str]) -> None:
    wall = 1_000_000
    clock = HybridClock(lambda: wall)
    last = clock.now()
    for step in steps:
        if isinstance(step, int):
            wall = step
        else:
            clock.observe(step)
        stamp = clock.now()
        assert stamp > last
        assert unpack(stamp)[0] <= 1_000_200 + MAX_AHEAD_MS + len(steps)
        last = stamp


@given(st.tuples(st.integers(0, 2_000), st.integers(0xFFC0, 0xFFFF)), st.lists(st.integers(0, 80), max_size=4))
def test_stamps_taken_at_once_are_those_taken_one_by_one(last: tuple[int, int], counts: list[int]) -> None:
    at_once, one_by_one = (HybridClock(lambda: 1_000, pack(*last)) for _ in range(2))
    for count in counts:
        assert at_once.take(count) == [one_by_one.now() for _ in range(count)]


@given(st.lists(st.one_of(stamps.map(lambda s: pack(*s)), st.text(max_size=20)), max_size=8))
def test_many_stamps_are_observed_as_one_by_one(seen: list[str]) -> None:
    at_once, one_by_one = (HybridClock(lambda: 1 << 40) for _ in range(2))
    at_once.observe_all(seen)
    for stamp in seen:
        one_by_one.observe(stamp)
    assert at_once.now() == one_by_one.now()


@given(st.text(max_size=30))
def test_nonsense_is_ignored(text: str) -> None:
    clock = HybridClock(lambda: 5)
    clock.observe(text)
    assert is_hlc(clock.now())


@given(st.integers(0, 4_000_000_000_000))
def test_rfc3339_round_trip(ms: int) -> None:
    assert parse_rfc3339(rfc3339(ms)) == ms


def test_of_two_clocks_nobody_can_tell_which_is_wrong() -> None:
    assert off_median_s(()) == 0
    assert off_median_s((600,)) == 0
    assert off_median_s((600, 601)) == 600
    assert off_median_s((0.5, -600)) == 0
    assert off_median_s((600, -600)) == 0


@given(st.lists(st.floats(-1e6, 1e6), max_size=9), st.floats(-1e6, 1e6))
def test_a_minority_of_wrong_clocks_moves_nobody_and_its_own_wrong_clock_is_seen(
    wrong: list[float], off: float
) -> None:
    right = [0.0] * (len(wrong) + 1)
    assert off_median_s((*wrong, *right)) == 0
    assert off_median_s((*(off for _ in range(len(wrong) + 2)), *(off + w for w in wrong))) == off
