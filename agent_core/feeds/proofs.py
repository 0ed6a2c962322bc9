"""What of a feed can be checked elsewhere: C2SP tlog-proofs of single entries, C2SP tlog-tiles of whole feeds.

Pure, but for the reads of a store. Formats: c2sp.org/tlog-proof, c2sp.org/tlog-tiles, c2sp.org/signed-note (the verifier key).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent_core.errors import InvalidInput, NotFound, Unavailable
from agent_core.feeds import checkpoint
from agent_core.feeds.heads import Item
from agent_core.feeds.merkle import HASH_BYTES, Frontier, inclusion_proof
from agent_core.feeds.model import Entry, EntryKey, leaf_hash

PROOF_HEADING = "c2sp.org/tlog-proof@v1"
TILE_HEIGHT = 8
#: Leaves or hashes of a full tile.
TILE_WIDTH = 1 << TILE_HEIGHT


class Proven(Protocol):
    """What proofs are made from; implemented by :class:`agent_core.feeds.store.Store`."""

    def entry(self, key: EntryKey) -> Entry | None:
        """One entry."""
        ...

    def items(self, author: str, epoch: int, start: int, end: int, max_bytes: int) -> list[Item]:
        """Entries with their bodies, as many as fit, at least one if there is one."""
        ...

    def checkpoints(self, author: str, epoch: int) -> list[tuple[int, int, str, tuple[bytes, ...]]]:
        """The checkpoints kept, newest first: base, size, note, consistency proof."""
        ...

    def node(self, author: str, epoch: int, level: int, index: int) -> bytes:
        """The hash of a perfect subtree."""
        ...


@dataclass(frozen=True, slots=True)
class SignedHead:
    """The newest checkpoint whose entries are all held."""

    size: int
    note: str


def signed_head(store: Proven, author: str, epoch: int) -> SignedHead:
    """The checkpoint that proves most of a feed by what is held here.

    Raises:
        NotFound: nothing of that feed is held.
        Unavailable: what is held is still being fetched, and no whole checkpoint is there yet.
    """
    kept = store.checkpoints(author, epoch)
    whole = next((SignedHead(size, note) for base, size, note, _ in kept if base == size), None)
    if whole is None and not kept:
        raise NotFound(f"Nothing of feed {author}/{epoch} is held here.", "`chorus-hap members` lists the authors.")
    if whole is None:
        raise Unavailable(f"Feed {author}/{epoch} is still being fetched.", "Try again when it is here.")
    return whole


def inclusion(store: Proven, key: EntryKey) -> tuple[SignedHead, tuple[bytes, ...]]:
    """A signed head, and the path that proves an entry under it.

    Raises:
        NotFound: the entry isn't held.
        Unavailable: it is, but its author's checkpoint covers entries that aren't here yet.
    """
    head = signed_head(store, key.author, key.epoch)
    if key.seq >= head.size:
        if store.entry(key) is None:
            raise NotFound(f"There is no entry {key} here.", f"The newest of that feed is {head.size - 1}.")
        raise Unavailable(f"Entry {key} can't be proven until the rest of its commit is here.", "Try again then.")
    path = inclusion_proof(key.seq, head.size, lambda level, index: store.node(key.author, key.epoch, level, index))
    return head, path


def tlog_proof(index: int, path: Sequence[bytes], note: str) -> str:
    """A C2SP tlog-proof; the leaf it proves, the header's bytes, travels beside it."""
    hashes = "".join(f"{base64.b64encode(step).decode()}\n" for step in path)
    return f"{PROOF_HEADING}\nindex {index}\n{hashes}\n{note}"


class Tiles:
    """The files of a feed as C2SP tlog-tiles, made while its headers pass: ``checkpoint`` apart, nothing else is needed to check it.

    In memory is one unfinished tile a level; feed every header in order to :meth:`add`, then take what :meth:`rest` has.
    """

    def __init__(self) -> None:
        self.frontier = Frontier()
        self._entries = _Row("entries")
        self._levels: list[_Row] = []

    def add(self, header: bytes) -> Iterator[tuple[str, bytes]]:
        """Take the next header's bytes; gives the tiles that it fills, as relative path and content."""
        completed = self.frontier.append(leaf_hash(header))
        yield from self._entries.add(len(header).to_bytes(2, "big") + header)
        for level in range(0, len(completed) // HASH_BYTES, TILE_HEIGHT):
            row = level // TILE_HEIGHT
            if row == len(self._levels):
                self._levels.append(_Row(str(row)))
            yield from self._levels[row].add(completed[level * HASH_BYTES : (level + 1) * HASH_BYTES])

    def rest(self) -> Iterator[tuple[str, bytes]]:
        """The partial tiles at the feed's end."""
        for row in (self._entries, *self._levels):
            yield from row.rest()


class _Row:
    """One level of tiles, or the entry bundles beside them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._full = 0
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> Iterator[tuple[str, bytes]]:
        self._parts.append(part)
        if len(self._parts) == TILE_WIDTH:
            yield self._path(), b"".join(self._parts)
            self._full, self._parts = self._full + 1, []

    def rest(self) -> Iterator[tuple[str, bytes]]:
        if self._parts:
            yield f"{self._path()}.p/{len(self._parts)}", b"".join(self._parts)

    def _path(self) -> str:
        return f"tile/{self._name}/{tile_number(self._full)}"


def tile_number(number: int) -> str:
    """A tile's number as its path has it: groups of three digits, all but the last marked (``x001/x234/067``)."""
    groups = [f"{number % 1000:03}"]
    while number := number // 1000:
        groups.append(f"x{number % 1000:03}")
    return "/".join(reversed(groups))


def verifier_key(author: str, epoch: int) -> str:
    """The key that checks a feed's checkpoints, as C2SP signed-note and Go's ``note.NewVerifier`` write it.

    Raises:
        InvalidInput: not a peer id of an Ed25519 key.
    """
    try:
        return checkpoint.verifier_key(author, epoch)
    except ValueError as exc:
        raise InvalidInput(f"{author[:60]!r} is not a peer id.", "`chorus-hap members --json` lists them.") from exc
