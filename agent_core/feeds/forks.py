"""Forks: the proof that an author signed two histories of one epoch, and where they part. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from agent_core.errors import VerificationFailed
from agent_core.feeds import checkpoint as checkpoints
from agent_core.feeds.heads import MAX_EPOCH, MAX_SIZE
from agent_core.feeds.merkle import verify_consistency, verify_inclusion
from agent_core.identity.signing import Verifier

#: How many roots one question of the search for the divergence names: each answer divides the search by one more.
PROBES = 15
#: So many epochs of one author may fork; what it writes after the last of them doesn't count.
MAX_FORKED_EPOCHS = 32


class Side(msgspec.Struct, frozen=True, array_like=True):
    """One history at the divergence: its entry there, proven under its checkpoint, and what precedes it proven as prefix."""

    header: bytes
    inclusion: tuple[bytes, ...]
    prefix: tuple[bytes, ...]  #: consistency proof from ``seq`` to the checkpoint's size
    checkpoint: str


class ForkProof(msgspec.Struct, frozen=True, kw_only=True):
    """Two entries at one number after one common prefix, both signed for: anybody can check it.

    ``a`` has the lesser leaf hash, so that everybody makes the same proof of the same two entries.
    """

    author: str
    epoch: int
    seq: int  #: the first number at which the histories differ; that much of the epoch counts
    root: bytes  #: of the common prefix
    a: Side
    b: Side

    @property
    def id(self) -> str:
        """What names the fork: its place and its two entries, whichever checkpoints prove it."""
        sides = b"".join(hashlib.sha256(side.header).digest() for side in (self.a, self.b))
        return hashlib.sha256(f"{self.author}/{self.epoch}/{self.seq}/".encode() + sides).hexdigest()


def make_proof(author: str, epoch: int, seq: int, root: bytes, one: Side, two: Side) -> ForkProof:
    """Put two sides into the one order; not checked yet."""
    a, b = sorted((one, two), key=lambda side: hashlib.sha256(b"\x00" + side.header).digest())
    return ForkProof(author=author, epoch=epoch, seq=seq, root=root, a=a, b=b)


def verify_fork(proof: ForkProof, verifier: Verifier) -> None:
    """Check that the author signed both histories and that they part exactly at ``seq``.

    Raises:
        VerificationFailed: it proves nothing.
    """
    if not (0 <= proof.seq < MAX_SIZE and 0 <= proof.epoch < MAX_EPOCH):
        raise VerificationFailed("A fork proof names no place.")
    leaves = [_verify_side(proof, side, verifier) for side in (proof.a, proof.b)]
    if leaves[0] >= leaves[1]:
        raise VerificationFailed("A fork proof shows one entry twice, or its sides out of order.")


def _verify_side(proof: ForkProof, side: Side, verifier: Verifier) -> bytes:
    # The header is only a leaf here: even one that doesn't parse was signed for, and proves the fork.
    leaf = hashlib.sha256(b"\x00" + side.header).digest()
    signed = checkpoints.verify(side.checkpoint, proof.author, proof.epoch, verifier)
    verify_inclusion(leaf, proof.seq, signed.size, side.inclusion, signed.root)
    verify_consistency(proof.seq, proof.root, signed.size, signed.root, side.prefix)
    return leaf


class ForkTable:
    """Which fork proofs are kept: of an epoch the earliest divergence, of an author its first forked epochs.

    So what one author can make others keep is bounded, and it takes no other author's room. Who knows the same proofs keeps the
    same ones, whatever their order, and what counts of an author only ever shrinks.
    """

    def __init__(self) -> None:
        self._kept: dict[str, dict[int, tuple[int, str]]] = {}  # author, epoch: number of the divergence, id

    def lacks(self, author: str, epoch: int, seq: int, id: str) -> bool:
        """Whether a proof says more than those kept."""
        kept = self._kept.get(author, {})
        if epoch in kept:
            return (seq, id) < kept[epoch]
        return len(kept) < MAX_FORKED_EPOCHS or epoch < max(kept)

    def going(self, author: str, epoch: int) -> tuple[int, str] | None:
        """Epoch and id of the proof that goes when one of this epoch comes; nothing if there is room."""
        kept = self._kept.get(author, {})
        if epoch not in kept and len(kept) < MAX_FORKED_EPOCHS:
            return None
        gone = epoch if epoch in kept else max(kept)
        return gone, kept[gone][1]

    def add(self, author: str, epoch: int, seq: int, id: str) -> None:
        """Take in a proof, if it was lacking."""
        if self.lacks(author, epoch, seq, id):
            going = self.going(author, epoch)
            kept = self._kept.setdefault(author, {})
            if going is not None:
                del kept[going[0]]
            kept[epoch] = (seq, id)

    def limit(self, author: str, epoch: int) -> int | None:
        """How many entries of an epoch count; nothing if forks don't limit it."""
        kept = self._kept.get(author, {})
        if epoch in kept:
            return kept[epoch][0]
        return 0 if len(kept) >= MAX_FORKED_EPOCHS and epoch > max(kept) else None

    def ids(self) -> list[str]:
        """The proofs kept, by author and epoch."""
        return [kept[epoch][1] for _, kept in sorted(self._kept.items()) for epoch in sorted(kept)]


class Divergence:
    """The search for the first entry in which two histories differ: sizes to compare out, answers in.

    Args:
        same: a size up to which they are known to be the same.
        differ: a size by which they are known to differ.
    """

    def __init__(self, same: int, differ: int) -> None:
        if not 0 <= same < differ:
            raise ValueError("nothing to search")
        self._same, self._differ = same, differ

    @property
    def seq(self) -> int | None:
        """The number of the first entry that differs, once it is found."""
        return self._same if self._differ == self._same + 1 else None

    def ask(self) -> tuple[int, ...]:
        """The sizes whose roots to compare next, rising."""
        width = self._differ - self._same
        steps = {self._same + width * i // (PROBES + 1) for i in range(1, PROBES + 1)}
        return tuple(sorted(s for s in steps if self._same < s))

    def answer(self, sizes: Sequence[int], equal: Sequence[bool]) -> None:
        """Take the comparison of the roots that were asked for.

        Raises:
            VerificationFailed: the answers contradict one another, so the peer makes them up.
        """
        rises = any(later and not earlier for earlier, later in pairwise(equal))
        if len(sizes) != len(equal) or rises:
            raise VerificationFailed("A peer's roots contradict one another.")
        for size, same in zip(sizes, equal, strict=True):
            if same:
                self._same = max(self._same, size)
            else:
                self._differ = min(self._differ, size)
