"""The Merkle tree against a naive reading of RFC 6962."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.errors import VerificationFailed
from agent_core.feeds.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    Frontier,
    NodeReader,
    completing_leaf,
    consistency_proof,
    inclusion_proof,
    root_at,
    verify_consistency,
    verify_inclusion,
)


def leaf(index: int) -> bytes:
    return hashlib.sha256(b"\x00" + str(index).encode()).digest()


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = naive_split(len(leaves))
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = naive_split(len(leaves))
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = naive_split(len(leaves))
    if m <= k:
        return [*naive_subproof(m, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], False), naive_root(leaves[:k])]


def grow(size: int) -> tuple[Frontier, NodeReader]:
    """A tree of ``size`` leaves, and the reader over what its appends yielded."""
    frontier, kept = Frontier(), [b""] * size
    for index in range(size):
        kept[index] = frontier.append(leaf(index))

    def node(level: int, index: int) -> bytes:
        return kept[completing_leaf(level, index)][level * HASH_BYTES :][:HASH_BYTES]

    return frontier, node


sizes = st.integers(0, 300)


@given(sizes)
def test_the_frontier_has_the_root_of_the_recursive_definition(size: int) -> None:
    frontier, _ = grow(size)
    assert frontier.root() == naive_root([leaf(i) for i in range(size)])
    assert frontier.size == size


@given(sizes, st.data())
def test_any_earlier_root_and_frontier_can_be_had(size: int, data: st.DataObject) -> None:
    _, node = grow(size)
    earlier = data.draw(st.integers(0, size))
    assert root_at(earlier, node) == naive_root([leaf(i) for i in range(earlier)])
    again = Frontier.at(earlier, node)
    for index in range(earlier, size):
        again.append(leaf(index))
    assert again.root() == root_at(size, node)


@given(st.integers(1, 300), st.data())
def test_inclusion_proofs_are_the_rfcs_and_hold(size: int, data: st.DataObject) -> None:
    frontier, node = grow(size)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, node)
    assert list(proof) == naive_path(index, [leaf(i) for i in range(size)])
    verify_inclusion(leaf(index), index, size, proof, frontier.root())


@given(st.integers(1, 300), st.data())
def test_consistency_proofs_are_the_rfcs_and_hold(size: int, data: st.DataObject) -> None:
    frontier, node = grow(size)
    old = data.draw(st.integers(1, size))
    proof = consistency_proof(old, size, node)
    assert list(proof) == naive_subproof(old, [leaf(i) for i in range(size)], True)
    verify_consistency(old, root_at(old, node), size, frontier.root(), proof)


def test_every_tree_is_consistent_with_the_empty_one() -> None:
    frontier, node = grow(5)
    assert consistency_proof(0, 5, node) == ()
    verify_consistency(0, EMPTY_ROOT, 5, frontier.root(), ())
    with pytest.raises(VerificationFailed):
        verify_consistency(0, leaf(0), 5, frontier.root(), ())


@given(st.integers(2, 64), st.data())
def test_no_altered_inclusion_proof_holds(size: int, data: st.DataObject) -> None:
    frontier, node = grow(size)
    index = data.draw(st.integers(0, size - 1))
    proof = list(inclusion_proof(index, size, node))
    change = data.draw(st.sampled_from(["leaf", "index", "step", "drop", "add", "short"]))
    held, at = leaf(index), index
    match change:
        case "leaf":
            held = leaf(size)
        case "index":
            at = data.draw(st.integers(-1, size).filter(lambda i: i != index))
        case "step":
            place = data.draw(st.integers(0, len(proof) - 1))
            proof[place] = hashlib.sha256(proof[place]).digest()
        case "drop":
            proof.pop(data.draw(st.integers(0, len(proof) - 1)))
        case "add":
            proof.insert(data.draw(st.integers(0, len(proof))), leaf(99))
        case "short":
            proof[0] = proof[0][:-1]
    with pytest.raises(VerificationFailed):
        verify_inclusion(held, at, size, proof, frontier.root())


@given(st.integers(2, 64), st.data())
def test_trees_that_differ_before_the_old_size_have_no_consistency_proof(size: int, data: st.DataObject) -> None:
    frontier, node = grow(size)
    old = data.draw(st.integers(1, size))
    changed = data.draw(st.integers(0, old - 1))
    other = [leaf(i) for i in range(old)]
    other[changed] = leaf(size + 1)
    for proof in (consistency_proof(old, size, node), (), tuple(leaf(i) for i in range(3))):
        with pytest.raises(VerificationFailed):
            verify_consistency(old, naive_root(other), size, frontier.root(), proof)


@given(st.lists(st.binary(max_size=40), max_size=80), st.integers(-2, 2**70), st.integers(-2, 2**70))
def test_hostile_proofs_only_ever_fail_verification(proof: list[bytes], one: int, two: int) -> None:
    with pytest.raises(VerificationFailed):
        verify_inclusion(leaf(0), one, two, [*proof, b"x"], leaf(1))
    with pytest.raises(VerificationFailed):
        verify_consistency(one, leaf(0), two, leaf(1), [*proof, b"x"])


def test_the_known_roots_of_the_reference_implementation() -> None:
    """Test vectors of Certificate Transparency's reference implementation (merkle_tree_test.cc)."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    frontier = Frontier()
    for count, text in enumerate(inputs, 1):
        frontier.append(hashlib.sha256(b"\x00" + bytes.fromhex(text)).digest())
        if count in roots:
            assert frontier.root().hex() == roots[count]


def test_a_frontier_refuses_peaks_that_do_not_fit_its_size() -> None:
    with pytest.raises(ValueError):
        Frontier(3, [leaf(0)])
