"""The search for the place where two histories part, and frames that say anything."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.errors import VerificationFailed
from agent_core.feeds import protocol
from agent_core.feeds.forks import MAX_FORKED_EPOCHS, PROBES, Divergence, ForkTable


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_the_search_finds_the_first_difference_in_few_questions(seq: int, beyond: int) -> None:
    search = Divergence(0, seq + beyond)
    questions = 0
    while search.seq is None:
        sizes = search.ask()
        assert 0 < len(sizes) <= PROBES
        search.answer(sizes, [size <= seq for size in sizes])
        questions += 1
    assert search.seq == seq
    assert questions <= 9


@given(st.integers(2, 10**6), st.data())
def test_a_peer_that_contradicts_itself_is_found_out(differ: int, data: st.DataObject) -> None:
    search = Divergence(0, differ)
    sizes = search.ask()
    equal = data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    if equal == sorted(equal, reverse=True):
        search.answer(sizes, equal)
        return
    with pytest.raises(VerificationFailed):
        search.answer(sizes, equal)


def test_a_wrong_number_of_answers_is_refused() -> None:
    with pytest.raises(VerificationFailed):
        Divergence(0, 100).answer((1, 2), (True,))
    with pytest.raises(ValueError):
        Divergence(3, 3)


_PROOFS = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(0, 60), st.integers(0, 3), st.sampled_from("xyz")), max_size=200
)


@given(_PROOFS, st.randoms(use_true_random=False))
def test_who_knows_the_same_proofs_keeps_the_same_ones(proofs: list[tuple[str, int, int, str]], rng: Random) -> None:
    one, two = ForkTable(), ForkTable()
    for proof in proofs:
        one.add(*proof)
    for proof in rng.sample(proofs, len(proofs)):
        before = [two.limit("A", epoch) for epoch in range(70)]
        lacked = two.lacks(*proof)
        two.add(*proof)
        after = [two.limit("A", epoch) for epoch in range(70)]
        assert lacked or before == after
        assert all(b is None or (a is not None and a <= b) for a, b in zip(after, before, strict=True)), "it grew"
    assert one.ids() == two.ids()
    for author in "AB":
        epochs = sorted({epoch for name, epoch, *_ in proofs if name == author})
        for place, epoch in enumerate(epochs):
            least = min(seq for name, e, seq, _ in proofs if (name, e) == (author, epoch))
            assert one.limit(author, epoch) == (least if place < MAX_FORKED_EPOCHS else 0)
        assert one.limit(author, 70) == (0 if len(epochs) >= MAX_FORKED_EPOCHS else None)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_fail_verification(raw: bytes) -> None:
    try:
        frame = protocol.decode(raw)
    except VerificationFailed:
        return
    assert protocol.decode(protocol.encode(frame)) == frame
