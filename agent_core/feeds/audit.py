"""``log verify``: every hash, root, signature, body and fork proof of a store, checked from the stored bytes anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_core.errors import ChorusError, VerificationFailed
from agent_core.feeds import checkpoint as checkpoints
from agent_core.feeds.forks import verify_fork
from agent_core.feeds.merkle import Frontier, verify_consistency
from agent_core.feeds.model import EntryKey, Head, leaf_hash
from agent_core.feeds.ranges import read_item
from agent_core.identity.signing import Verifier
from agent_core.shapes import Verification

if TYPE_CHECKING:
    from agent_core.feeds.store import Store


def audit(store: Store, verifier: Verifier) -> Verification:
    """Check a whole store, in bounded memory.

    Returns:
        What was found; ``bad`` names the first entry that doesn't hold, and why.
    """
    entries = bodies = 0
    bad = ""
    heads = store.heads()
    for head in heads:
        try:
            found = _audit_feed(store, head, verifier)
        except _Bad as exc:
            bad = bad or str(exc)
            continue
        entries += head.size
        bodies += found
    for id_ in store.forks():
        try:
            proof = store.fork(id_)
            if proof is not None:
                verify_fork(proof, verifier)
        except ChorusError as exc:
            bad = bad or f"fork {id_[:8]}: {exc.message}"
    forks = tuple(f"{i.head.author}/{i.head.epoch}/{i.fork_limit}" for i in store.feeds() if i.fork_limit is not None)
    return Verification(ok=not bad, feeds=len(heads), entries=entries, bodies=bodies, bad=bad, forks=forks)


class _Bad(Exception):
    """The first thing in a feed that doesn't hold."""


def _audit_feed(store: Store, head: Head, verifier: Verifier) -> int:
    """Check one feed; returns how many bodies it has."""
    kept = sorted(store.checkpoints(head.author, head.epoch))
    frontier, roots, bodies, seq = Frontier(), {}, 0, 0
    wanted = {base for base, *_ in kept}
    while seq < head.size:
        items = store.items(head.author, head.epoch, seq, head.size, 1 << 20)
        if not items:
            raise _Bad(f"{EntryKey(head.author, head.epoch, seq)}: missing")
        for item in items:
            key = EntryKey(head.author, head.epoch, seq)
            try:
                read_item(item, *key)
            except VerificationFailed as exc:
                raise _Bad(f"{key}: {exc.message}") from exc
            completed = frontier.append(leaf_hash(item.header))
            levels = len(completed) // 32
            if any(_node(store, key, level) != completed[level * 32 :][:32] for level in range(levels)):
                raise _Bad(f"{key}: its tree hashes aren't those of its bytes")
            bodies += item.body is not None
            seq += 1
            if seq in wanted:
                roots[seq] = frontier.root()
    key = EntryKey(head.author, head.epoch, max(0, head.size - 1))
    if frontier.root().hex() != head.root:
        raise _Bad(f"{key}: the root isn't that of the entries")
    if not kept or kept[-1][0] != head.size:
        raise _Bad(f"{key}: no signed checkpoint covers it")
    for base, size, note, proof in kept:
        try:
            signed = checkpoints.verify(note, head.author, head.epoch, verifier)
            if signed.size != size:
                raise VerificationFailed("A checkpoint is of another size.")
            verify_consistency(base, roots.get(base, b""), size, signed.root, proof)
        except VerificationFailed as exc:
            raise _Bad(f"{EntryKey(head.author, head.epoch, base - 1)}: {exc.message}") from exc
    return bodies


def _node(store: Store, key: EntryKey, level: int) -> bytes:
    try:
        return store.node(key.author, key.epoch, level, (key.seq + 1 >> level) - 1)
    except ChorusError:
        return b""
