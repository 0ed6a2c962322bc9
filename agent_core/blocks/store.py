"""The blocks of one home, in a database of their own beside the feeds. Synchronous; knows no network.

A block is there for the manifests that name it, and goes with the last of them. What a crash left without one goes at the next start.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent_core.blocks.model import BLOCK_BYTES, Manifest, address
from agent_core.databases import MEMORY, open_database
from agent_core.errors import StoreError
from agent_core.feeds.model import EntryKey
from agent_core.feeds.schema import explained, transaction

_VERSION = 1
_SCHEMA = """
CREATE TABLE blocks (hash BLOB PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE bodies (
    author TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (author, epoch, seq)) WITHOUT ROWID, STRICT;
CREATE TABLE cursors (
    author TEXT NOT NULL, epoch INTEGER NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (author, epoch)
    ) WITHOUT ROWID, STRICT;
"""


class BlockStore:
    """Blocks by address, which entries have bodies of blocks, and how far each feed was looked through for them.

    One call at a time writes, from whichever thread; another connection reads.
    """

    def __init__(self, path: Path | str, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self.path = path
        self._writer, self._reader = writer, reader
        self._sizes: dict[bytes, int] = {
            bytes(hash): size for hash, size in self._read("SELECT hash, length(data) FROM blocks")
        }

    @classmethod
    def open(cls, path: Path | str, *, read_only: bool = False, max_pages: int | None = None) -> BlockStore:
        """Open or make the store.

        Args:
            path: the database file; ``:memory:`` for one that is gone at the end. Read-only, one that isn't there is empty.
            read_only: for offline commands.
            max_pages: upper bound of the file in pages of 4 KiB.

        Raises:
            StoreError: a newer version's, damaged, or not to be opened.
        """
        memory = str(path) == MEMORY or (read_only and not Path(path).exists())
        with explained(path):
            writer = open_database(MEMORY if memory else path, read_only=read_only and not memory)
            version = int(writer.execute("PRAGMA user_version").fetchone()[0])
            if version > _VERSION:
                raise StoreError(
                    f"The blocks in {path} were written by a newer version of chorus-hap.",
                    "Use that version, or name another home with --home.",
                )
            if not read_only or memory:
                if max_pages is not None:
                    writer.execute(f"PRAGMA max_page_count = {int(max_pages)}")
                writer.execute("PRAGMA journal_mode = WAL")
                writer.execute("PRAGMA synchronous = FULL")
                writer.execute("PRAGMA secure_delete = ON")  # a purged block is overwritten, not only unlinked
                if version == 0:
                    writer.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT")
            reader = writer if memory or read_only else open_database(path, read_only=False)
        return cls(path, writer, reader)

    def close(self) -> None:
        """Close the files; idempotent."""
        self._reader.close()
        self._writer.close()

    @property
    def on_disk(self) -> bool:
        """Whether a commit waits for a disk."""
        return str(self.path) != MEMORY

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Blocks held."""
        return len(self._sizes)

    @property
    def octets(self) -> int:
        """Bytes held."""
        return sum(self._sizes.values())

    def has(self, hash: bytes) -> bool:
        """Whether a block is held."""
        return hash in self._sizes

    def missing(self, manifest: Manifest) -> list[bytes]:
        """The blocks of a body that aren't held, in order, each once."""
        return [hash for hash in dict.fromkeys(manifest) if hash not in self._sizes]

    def block(self, hash: bytes) -> bytes | None:
        """A block; one that the disk gives back changed counts as missing from then on."""
        data = self.stored(hash) if hash in self._sizes else None
        if data is None or address(data) != hash:
            self._sizes.pop(hash, None)
            return None
        return data

    def stored(self, hash: bytes) -> bytes | None:
        """What the disk gives back under an address, unchecked."""
        rows = self._read("SELECT data FROM blocks WHERE hash = ?", hash)
        return bytes(rows[0][0]) if rows else None

    def read(self, manifest: Manifest, start: int, end: int) -> bytes | None:
        """Bytes of a body; nothing if a block that holds some of them is missing."""
        start, end = max(0, start), min(end, manifest.size)
        found = []
        for index in range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            block = self.block(manifest.block(index))
            if block is None:
                return None
            base = index * BLOCK_BYTES
            found.append(block[max(0, start - base) : end - base])
        return b"".join(found)

    def bodies(self) -> dict[EntryKey, int]:
        """The entries known to have bodies of blocks, and how many bytes each."""
        return {EntryKey(*key): size for *key, size in self._read("SELECT author, epoch, seq, size FROM bodies")}

    def cursors(self) -> dict[tuple[str, int], int]:
        """How many entries of each feed were looked at."""
        return {(author, epoch): size for author, epoch, size in self._read("SELECT author, epoch, size FROM cursors")}

    # --- writing ------------------------------------------------------------------------------------------------------

    def add(self, blocks: Mapping[bytes, bytes]) -> None:
        """Keep blocks, on disk when this returns. Raises ``StoreError``."""
        new = {hash: data for hash, data in blocks.items() if hash not in self._sizes}
        if new:
            with explained(self.path), transaction(self._writer) as db:
                db.executemany("INSERT OR REPLACE INTO blocks (hash, data) VALUES (?, ?)", new.items())
            self._sizes |= {hash: len(data) for hash, data in new.items()}

    def probe(self) -> bool:
        """Put a block, get it and drop it again; whether it came back as it was. Raises ``StoreError``."""
        data = os.urandom(64)
        hash = address(data)
        self.add({hash: data})
        found = self.block(hash)
        with explained(self.path), transaction(self._writer) as db:
            db.execute("DELETE FROM blocks WHERE hash = ?", (hash,))
        self._sizes.pop(hash, None)
        return found == data

    def note(self, bodies: Mapping[EntryKey, int], cursors: Mapping[tuple[str, int], int]) -> None:
        """Keep which entries have bodies of blocks, and how far was looked. Raises ``StoreError``."""
        with explained(self.path), transaction(self._writer) as db:
            db.executemany("INSERT OR REPLACE INTO bodies VALUES (?, ?, ?, ?)", [(*k, n) for k, n in bodies.items()])
            db.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", [(*f, n) for f, n in cursors.items()])

    def forget(self, keys: Iterable[EntryKey], keep: Collection[bytes]) -> int:
        """Drop bodies, and every block that isn't to be kept, overwritten on disk; returns how many blocks went.

        Raises:
            StoreError: the disk refuses; nothing was dropped.
        """
        gone = [hash for hash in self._sizes if hash not in keep]
        rows: Sequence[EntryKey] = list(keys)
        if gone or rows:
            with explained(self.path), transaction(self._writer) as db:
                db.executemany("DELETE FROM bodies WHERE author = ? AND epoch = ? AND seq = ?", rows)
                db.executemany("DELETE FROM blocks WHERE hash = ?", [(hash,) for hash in gone])
            if gone and self.on_disk:
                with explained(self.path):  # or they would live on in the write-ahead log
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for hash in gone:
            self._sizes.pop(hash, None)
        return len(gone)

    def _read(self, sql: str, *args: Any) -> list[Any]:
        with explained(self.path):
            return self._reader.execute(sql, args).fetchall()
