"""Which entries have bodies of blocks, found by looking through the feeds once, and the reading of all bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from agent_core.blocks.model import MAX_CONTENT_BYTES, Manifest, parse
from agent_core.blocks.store import BlockStore
from agent_core.errors import VerificationFailed
from agent_core.feeds.model import BodyReader, Entry, EntryKey, Missing


class Entries(BodyReader, Protocol):
    """What is read of the feeds; implemented by :class:`agent_core.feeds.store.Store`."""

    def entry(self, key: EntryKey) -> Entry | None:
        """One entry."""
        ...


class Catalogue:
    """Reads bodies, from their blocks where they have such. Implements :class:`agent_core.feeds.model.BodyReader`.

    Args:
        blocks: the blocks held.
        entries: the feeds' store.
    """

    def __init__(self, blocks: BlockStore, entries: Entries) -> None:
        self._blocks, self._entries = blocks, entries
        self.sizes = blocks.bodies()  #: bytes of each body of blocks
        self.cursors = blocks.cursors()  #: how many entries of each feed were looked at
        self.why: Callable[[EntryKey], Missing] = lambda key: Missing.NOT_FETCHED

    def look(self, entries: Iterable[Entry]) -> dict[EntryKey, int]:
        """Look at entries of feeds, each feed in its order; those with bodies of blocks that weren't known."""
        found: dict[EntryKey, int] = {}
        for entry in entries:
            key, body = entry.key, entry.header.body
            feed = (key.author, key.epoch)
            if body is not None and body.content > 0 and key not in self.sizes:
                found[key] = self.sizes[key] = body.content
            if self.cursors.get(feed, 0) == key.seq:
                self.cursors[feed] = key.seq + 1
        return found

    def size(self, key: EntryKey) -> int:
        """How many bytes the blocks of an entry's body hold; 0 for a body that is shown itself."""
        size = self.sizes.get(key)
        if size is None and key.seq >= self.cursors.get((key.author, key.epoch), 0):
            entry = self._entries.entry(key)  # nobody looked at it yet
            size = entry.header.body.content if entry and entry.header.body else 0
        return size or 0

    def manifest(self, key: EntryKey) -> Manifest | Missing:
        """The manifest of a body of blocks, or why it can't be had."""
        raw = self._entries.body(key)
        if isinstance(raw, Missing):
            return raw
        try:
            return parse(raw, self.size(key))
        except VerificationFailed:
            return Missing.DAMAGED

    def is_whole(self, key: EntryKey) -> bool:
        """Whether all blocks of a body are here."""
        manifest = self.manifest(key)
        return not isinstance(manifest, Missing) and not self._blocks.missing(manifest)

    def named(self) -> set[bytes]:
        """Every block that a manifest held here names."""
        found: set[bytes] = set()
        for key in self.sizes:
            manifest = self.manifest(key)
            if not isinstance(manifest, Missing):
                found.update(manifest)
        return found

    # --- bodies -------------------------------------------------------------------------------------------------------

    def body(self, key: EntryKey) -> bytes | Missing:
        """The body of an entry, or why it is missing."""
        return self.part(key, 0, MAX_CONTENT_BYTES)

    def part(self, key: EntryKey, start: int, end: int) -> bytes | Missing:
        """Some bytes of a body, or why it is missing."""
        if not self.size(key):
            return self._entries.part(key, start, end)
        manifest = self.manifest(key)
        if isinstance(manifest, Missing):
            return manifest
        if self._blocks.missing(manifest):
            return self.why(key)
        found = self._blocks.read(manifest, start, end)
        return self.why(key) if found is None else found
