"""Believing what comes from others: ranges of entries and single bundles, checked against the author's checkpoint. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent_core.errors import VerificationFailed
from agent_core.feeds import checkpoint as checkpoints
from agent_core.feeds.checkpoint import Checkpoint
from agent_core.feeds.heads import MAX_SIZE, Item
from agent_core.feeds.merkle import Frontier, verify_consistency, verify_inclusion
from agent_core.feeds.model import MAX_BODY_BYTES, SALT_BYTES, Body, Bundle, Entry
from agent_core.identity.signing import Verifier


class Diverges(VerificationFailed):
    """The author signed the checkpoint, yet what is held doesn't lead to it: a fork, or a proof made up by the peer."""


@dataclass(frozen=True, slots=True)
class Extension:
    """Entries that follow what is held of a feed, believed, with what the tree gains by them.

    ``proof`` is empty when the checkpoint is of exactly the size after them; else it proves that size to be a prefix of
    the checkpoint's.
    """

    author: str
    epoch: int
    start: int
    entries: Sequence[Entry]
    bodies: Sequence[Body | None]
    nodes: Sequence[bytes]  #: per entry the hashes of the subtrees it completes (:meth:`Frontier.append`)
    frontier: Frontier
    checkpoint: Checkpoint
    proof: tuple[bytes, ...] = ()

    @property
    def end(self) -> int:
        return self.start + len(self.entries)


def read_item(item: Item, author: str, epoch: int, seq: int) -> tuple[Entry, Body | None]:
    """An item that claims to be at a place, its body checked against its header.

    Raises:
        VerificationFailed: it says another place, or has a body that isn't its own.
    """
    entry = Entry.parse(item.header)
    if entry.key != (author, epoch, seq):
        raise VerificationFailed("An entry isn't at the place it says.")
    if item.body is None:
        return entry, None
    body = Body(item.salt, item.body)
    ref = entry.header.body
    if ref is None or len(item.salt) != SALT_BYTES or len(item.body) > MAX_BODY_BYTES or not body.matches(ref):
        raise VerificationFailed("A body isn't the one its header names.")
    return entry, body


def verify_range(
    held: Frontier,
    author: str,
    epoch: int,
    items: Sequence[Item],
    note: str,
    proof: Sequence[bytes],
    verifier: Verifier,
) -> Extension:
    """Check the entries that follow what is held, by one signature for all of them.

    Args:
        held: the frontier at the first item's number.
        note: a checkpoint of at least the size after the items.
        proof: the consistency proof from that size to the checkpoint's; empty when they are equal.

    Raises:
        Diverges: the signature holds and the tree doesn't.
        VerificationFailed: anything else is wrong.
    """
    start, frontier = held.size, held.copy()
    entries: list[Entry] = []
    bodies: list[Body | None] = []
    nodes: list[bytes] = []
    for seq, item in enumerate(items, start):
        entry, body = read_item(item, author, epoch, seq)
        entries.append(entry)
        bodies.append(body)
        nodes.append(frontier.append(entry.hash))
    signed = checkpoints.verify(note, author, epoch, verifier)
    if not frontier.size <= signed.size <= MAX_SIZE or not items:
        raise VerificationFailed("A checkpoint doesn't cover the entries it came with.")
    try:
        verify_consistency(frontier.size, frontier.root(), signed.size, signed.root, proof)
    except VerificationFailed as exc:
        raise Diverges("A feed's entries don't lead to the checkpoint that its author signed.") from exc
    return Extension(author, epoch, start, entries, bodies, nodes, frontier, signed, tuple(proof))


def verify_bundle(bundle: Bundle, verifier: Verifier) -> tuple[Entry, Body | None]:
    """Check an entry that travels alone.

    Raises:
        VerificationFailed: the entry isn't proven.
    """
    entry = Entry.parse(bundle.header)
    key = entry.key
    _, body = read_item(Item(bundle.header, bundle.salt, bundle.body), *key)
    signed = checkpoints.verify(bundle.checkpoint, key.author, key.epoch, verifier)
    verify_inclusion(entry.hash, key.seq, signed.size, bundle.proof, signed.root)
    return entry, body
