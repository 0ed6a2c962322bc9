"""Budgets and scores: pure, on a clock that is passed in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent_core.budget import Bucket
from agent_core.mesh.conduct import GRAYLIST_AT, HALF_LIFE_S, MAX_REMEMBERED, Conduct
from agent_core.network import Offence


@given(
    rate=st.floats(0.1, 1000),
    burst=st.floats(1, 1000),
    waits=st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_a_bucket_never_gives_more_than_burst_and_rate_allow(rate: float, burst: float, waits: list[float]) -> None:
    bucket, now, given_out = Bucket(rate, burst), 0.0, 0
    for wait in waits:
        now += wait
        given_out += bucket.take(1, now)
        assert given_out <= burst + rate * now + 1e-6


def conduct() -> Conduct:
    """A conduct with small budgets."""
    return Conduct(messages_per_s=10, message_burst=20, bytes_per_s=1000, byte_burst=2000, graylist_s=60)


def test_messages_and_bytes_are_both_rationed() -> None:
    c = conduct()
    assert [c.admit("p", 1, 0.0) for _ in range(21)] == [True] * 20 + [False]
    assert c.admit("p", 1, 0.1)
    assert not c.admit("q", 2001, 0.0)
    assert c.dropped == 2


def test_rejected_messages_end_in_the_graylist_and_time_heals() -> None:
    c = conduct()
    for _ in range(9):
        c.offended("p", Offence.MESSAGE, 0.0)
    assert not c.is_refused("p", 0.0)
    c.offended("p", Offence.MESSAGE, 0.0)
    assert c.is_refused("p", 0.0)
    assert not c.is_refused("q", 0.0)
    assert not c.is_refused("p", 61.0)
    assert c.score("p", 0.0) == GRAYLIST_AT / 2
    assert c.score("p", HALF_LIFE_S) == GRAYLIST_AT / 4


def test_strangers_dont_grow_memory() -> None:
    c = conduct()
    for n in range(MAX_REMEMBERED + 100):
        c.admit(f"peer {n}", 1, float(n))
    assert len(c._records) == MAX_REMEMBERED
