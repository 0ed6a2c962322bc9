"""The RFC 6962 Merkle tree of a feed: incremental frontier, roots of any earlier size, inclusion and consistency proofs.

Pure. A leaf that completes perfect subtrees yields their hashes (:meth:`Frontier.append`); a store that keeps them with
the leaf can read any perfect subtree in one look-up, so every root and proof costs O(log n) reads and no rehashing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from agent_core.errors import VerificationFailed

HASH_BYTES = 32
#: No proof over fewer than 2**64 leaves is longer.
MAX_PROOF = 64
EMPTY_ROOT = hashlib.sha256().digest()

#: Reads the hash of the perfect subtree of ``2**level`` leaves that starts at leaf ``index * 2**level``.
NodeReader: TypeAlias = Callable[[int, int], bytes]


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def completing_leaf(level: int, index: int) -> int:
    """The leaf whose append completes a perfect subtree: the one beside which the subtree's hash is kept."""
    return ((index + 1) << level) - 1


class Frontier:
    """The compact range [0, size): the roots of the perfect subtrees a tree of this size consists of, largest first."""

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if size.bit_count() != len(peaks):
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} peaks, not {len(peaks)}")
        self.size = size
        self._peaks = list(peaks)

    @classmethod
    def at(cls, size: int, node: NodeReader) -> Frontier:
        """The frontier a tree had at an earlier size."""
        peaks, start = [], 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                peaks.append(node(level, start >> level))
                start += 1 << level
        return cls(size, peaks)

    def copy(self) -> Frontier:
        """An independent copy."""
        return Frontier(self.size, self._peaks)

    def append(self, leaf: bytes) -> bytes:
        """Add a leaf hash.

        Returns:
            The hashes of all perfect subtrees this leaf completes, from level 0 (the leaf itself) up, 32 bytes each.
        """
        node = completed = leaf
        rest = self.size
        while rest & 1:
            node = node_hash(self._peaks.pop(), node)
            completed += node
            rest >>= 1
        self._peaks.append(node)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """The root hash over all leaves."""
        if not self._peaks:
            return EMPTY_ROOT
        *larger, root = self._peaks
        for peak in reversed(larger):
            root = node_hash(peak, root)
        return root


def root_at(size: int, node: NodeReader) -> bytes:
    """The root a tree had at an earlier size."""
    return Frontier.at(size, node).root()


def inclusion_proof(index: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """The path that proves leaf ``index`` in the tree of ``size`` leaves (RFC 6962 section 2.1.1).

    Raises:
        ValueError: no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_hash(middle, end, node))
            end = middle
        else:
            path.append(_range_hash(start, middle, node))
            start = middle
    return tuple(reversed(path))


def consistency_proof(old: int, new: int, node: NodeReader) -> tuple[bytes, ...]:
    """The proof that the tree of ``old`` leaves is a prefix of the one of ``new`` (RFC 6962 section 2.1.2).

    It is empty when the sizes are equal or ``old`` is 0: then there is nothing to prove.

    Raises:
        ValueError: ``old`` is greater than ``new``.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} is no prefix of one of {new}")
    if old in (0, new):
        return ()
    path: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range_hash(middle, end, node))
            end = middle
        else:
            path.append(_range_hash(start, middle, node))
            start, whole = middle, False
    if not whole:
        path.append(_range_hash(start, end, node))
    return tuple(reversed(path))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check an inclusion proof (RFC 9162 section 2.1.3.2).

    Raises:
        VerificationFailed: the leaf isn't proven to be at ``index`` under ``root``.
    """
    _check_hashes(proof)
    if not 0 <= index < size:
        raise VerificationFailed("An inclusion proof names a leaf outside the tree.")
    at, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise VerificationFailed("An inclusion proof is too long.")
        if at & 1 or at == last:
            found = node_hash(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    if last != 0 or found != root:
        raise VerificationFailed("An inclusion proof doesn't lead to the signed root.")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check a consistency proof (RFC 9162 section 2.1.4.2); the empty tree is a prefix of every tree.

    Raises:
        VerificationFailed: the old tree isn't proven to be a prefix of the new one.
    """
    _check_hashes(proof)
    if not 0 <= old <= new:
        raise VerificationFailed("A consistency proof leads to a smaller tree.")
    if old in (0, new):
        if proof or old_root != (EMPTY_ROOT if old == 0 else new_root):
            raise VerificationFailed("Two roots of one size differ, or a proof is there where none is needed.")
        return
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        raise VerificationFailed("A consistency proof is empty.")
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old_found = new_found = path[0]
    for step in path[1:]:
        if last == 0:
            raise VerificationFailed("A consistency proof is too long.")
        if at & 1 or at == last:
            old_found, new_found = node_hash(step, old_found), node_hash(step, new_found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new_found = node_hash(new_found, step)
        at, last = at >> 1, last >> 1
    if last != 0 or old_found != old_root or new_found != new_root:
        raise VerificationFailed("A consistency proof doesn't hold.")


def _split(size: int) -> int:
    """The largest power of two smaller than ``size`` (at least 2)."""
    return 1 << (size - 1).bit_length() - 1


def _range_hash(start: int, end: int, node: NodeReader) -> bytes:
    """The RFC 6962 hash of the leaves [start, end), a range that the tree's own splitting can give."""
    size = end - start
    if not size & (size - 1):
        level = size.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(size)
    return node_hash(_range_hash(start, middle, node), _range_hash(middle, end, node))


def _check_hashes(proof: Iterable[bytes]) -> None:
    steps = tuple(proof)
    if len(steps) > MAX_PROOF or any(len(step) != HASH_BYTES for step in steps):
        raise VerificationFailed("A Merkle proof is malformed.")
