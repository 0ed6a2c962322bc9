"""The folds' state on disk: a cache of what the feeds say, thrown away whenever it doesn't agree with them or can't be read.

It lies in a database of its own beside the store. What is folded goes to memory first and is put away in one transaction, bit
by bit; until that is done, and beneath what comes meanwhile, it is read from memory. Every value carries a checksum.
Nothing is synced on the way: a killed process loses nothing that the kernel has, and after a power failure (another boot)
what wasn't closed cleanly isn't believed.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from agent_core.databases import open_database
from agent_core.decisions import fold as decisions
from agent_core.decisions import model as decisions_model
from agent_core.errors import StoreDamaged, StoreError
from agent_core.feeds import model as feeds_model
from agent_core.feeds.schema import explained
from agent_core.folds import FOLDS
from agent_core.hmmm import fold as rooms
from agent_core.hmmm import model as rooms_model
from agent_core.kept import Kept, Overlay, after
from agent_core.ucxl import address, graph
from agent_core.ucxl import fold as ucxl
from agent_core.ucxl import model as ucxl_model

log = logging.getLogger(__name__)

#: Grows when the tables or the keys mean something else.
FORMAT = 1
#: So many values waiting in memory are worth being put away.
PUT_AWAY = 20_000
_PIECE = 500
_PAGE = 128
#: Pages of the file in memory; the operating system keeps the others, and a larger share fills for half an hour before it is full.
_CACHE_KIB = 2 * 1024


class SnapshotFile:
    """Implements :class:`agent_core.kept.Snapshots` in one file.

    Args:
        path: the file; made anew if it is another version's, or can't be read.
        code: what names the code that folds: what other code folded isn't taken.
        names: the folds.
        read_only: change nothing on disk: what is folded on top stays in memory.
    """

    def __init__(self, path: Path, code: str, names: Sequence[str], *, read_only: bool = False) -> None:
        self.path = path
        self._names = tuple(names)
        self._mark = f"{FORMAT}/{code}"
        self._read_only = read_only
        self._wipe = self.damaged = self._under_way = False
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        try:
            self._open()
        except (sqlite3.Error, StoreError, OSError) as exc:
            self._discard(str(exc))
        self._tables = {name: _Table(self, name) for name in self._names}

    # --- Snapshots ----------------------------------------------------------------------------------------------------

    def kept(self, name: str) -> Kept:
        return self._tables[name]

    def read(self) -> bytes | None:
        return None if self._wipe else self._meta("state")

    def clear(self) -> None:
        self._wipe, self.damaged, self._under_way = True, False, False
        for table in self._tables.values():
            table.clear()

    # --- putting away -------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many values wait to be put away."""
        return sum(table.waiting for table in self._tables.values())

    def put_away(self, state: bytes) -> Iterator[None]:
        """Put away what was folded up to now, a piece at a time; with :meth:`commit` after the last one it is done.

        SQLite gives up the interpreter's lock at each row, so that a thread which writes thousands starves beside a busy
        loop: the rows are written in the loop, some milliseconds at a time, and only the commit needs a thread.

        Args:
            state: what went in, as :meth:`read` is to give it back.

        Raises:
            StoreError: it couldn't be written; nothing changes on disk.
        """
        if self._writer is None:
            raise StoreError(f"{self.path} can't be written.", "It is a cache: the node goes on without it.")
        for table in self._tables.values():
            table.seal()
        changes = {name: table.sealed() for name, table in self._tables.items()}
        wipe, self._under_way, db = self._wipe, True, self._writer
        with explained(self.path):
            if db.in_transaction:  # one that failed before its end
                db.execute("ROLLBACK")
            db.execute("BEGIN")
            for name in self._names:
                if wipe:
                    db.execute(f"DELETE FROM {name}")
                put = f"INSERT OR REPLACE INTO {name} (key, value) VALUES (?, ?)"
                gone = f"DELETE FROM {name} WHERE key = ?"
                # In the order of the keys, so that neighbours are written together.
                rows = iter(sorted(changes[name]()))
                while piece := list(islice(rows, _PIECE)):
                    db.executemany(put, ((key, _sum(key, value) + value) for key, value in piece if value is not None))
                    db.executemany(gone, ((key,) for key, value in piece if value is None))
                    yield
            _set_meta(db, "state", state)

    def commit(self) -> None:
        """The end of :meth:`put_away`, for a worker thread; call :meth:`put_down` after it.

        Raises:
            StoreError: the disk refuses.
        """
        assert self._writer is not None
        with explained(self.path):
            self._writer.execute("COMMIT")

    def put_down(self) -> None:
        """The work was done: what it wrote is read from disk from now on, unless all was cleared meanwhile."""
        if self._under_way:
            for table in self._tables.values():
                table.forget_sealed()
            self._wipe = self._under_way = False

    def close(self) -> None:
        """Close the file; what was put away is on the disk and may be believed after a power failure too."""
        if self._writer is not None and not self.damaged:
            with suppress(sqlite3.Error):
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                self._writer.execute("PRAGMA synchronous = FULL")
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                _set_meta(self._writer, "boot", b"")
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None

    # --- inside -------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._read_only:
            if not self.path.exists():
                return
            self._reader = _connect(self.path, read_only=True)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = _connect(self.path, read_only=False)
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA synchronous = OFF")
            self._reader = _connect(self.path, read_only=True)
        version = self._reader.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, FORMAT) or (version == 0 and self._read_only):
            raise StoreError("it is of another version")
        if version == 0 and self._writer is not None:
            tables = "".join(
                f"CREATE TABLE {name} (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;"
                for name in (*self._names, "meta")
            )
            self._writer.executescript(f"BEGIN; {tables} PRAGMA user_version = {FORMAT}; COMMIT")
            _set_meta(self._writer, "mark", self._mark.encode())
        mark, boot = self._meta("mark"), self._meta("boot")
        if mark != self._mark.encode():
            raise StoreError("it was written by other code")
        if boot not in (None, b"", _boot_id()):
            raise StoreError("the machine went down while it was written")
        if self._writer is not None:
            _set_meta(self._writer, "boot", _boot_id())

    def _discard(self, why: str) -> None:
        log.warning("the folds' snapshot is thrown away, since %s: the feeds are folded anew", why)
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None
        if self._read_only:
            return
        try:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            self._open()
        except (sqlite3.Error, StoreError, OSError) as exc:
            log.error("the folds have no snapshot, and stay in memory: %s", exc)
            self._reader = self._writer = None

    def _meta(self, key: str) -> bytes | None:
        rows = self._checked("SELECT key, value FROM meta WHERE key = ?", key.encode())
        return rows[0][1] if rows else None

    def rows(self, sql: str, *args: Any) -> list[tuple[bytes, bytes]]:
        """What a question finds in the folds' tables.

        Raises:
            StoreError: as below.
        """
        return [] if self._wipe else self._checked(sql, *args)

    def _checked(self, sql: str, *args: Any) -> list[tuple[bytes, bytes]]:
        """Rows whose checksums hold.

        Raises:
            StoreError: one doesn't, or the file can't be read; :attr:`damaged` says so from then on.
        """
        if self._reader is None:
            return []
        try:
            found = self._reader.execute(sql, args).fetchall()
        except sqlite3.Error as exc:
            raise self._damage() from exc
        for key, value in found:
            if value[:4] != _sum(key, value[4:]):
                raise self._damage()
        return [(key, value[4:]) for key, value in found]

    def _damage(self) -> StoreError:
        self.damaged = True
        error = StoreDamaged(
            "The folds' snapshot is damaged.", "Nothing is lost: they are folded anew from the feeds at the next start."
        )
        error.path = str(self.path)
        return error


class _Table:
    """One fold's map: the file, on it what is being put away, on that what came since."""

    def __init__(self, file: SnapshotFile, name: str) -> None:
        self._below = Overlay(_OnDisk(file, name))
        self._top = Overlay(self._below)
        self.get, self.put, self.delete, self.scan = (
            self._top.get,
            self._top.put,
            self._top.delete,
            self._top.scan,
        )

    @property
    def waiting(self) -> int:
        return len(self._top) + len(self._below)

    def seal(self) -> None:
        self._top.hand_down(self._below)

    def sealed(self) -> Callable[[], Iterator[tuple[bytes, bytes | None]]]:
        return self._below.changes()

    def forget_sealed(self) -> None:
        self._below.clear()

    def clear(self) -> None:
        self._top.clear()
        self._below.clear()


class _OnDisk:
    """A table of the file; only read."""

    def __init__(self, file: SnapshotFile, name: str) -> None:
        self._file = file
        self._get = f"SELECT key, value FROM {name} WHERE key = ?"
        self._up = f"SELECT key, value FROM {name} WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
        self._down = f"SELECT key, value FROM {name} WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT ?"

    def get(self, key: bytes) -> bytes | None:
        rows = self._file.rows(self._get, key)
        return rows[0][1] if rows else None

    def put(self, key: bytes, value: bytes = b"") -> None:
        raise NotImplementedError("what is on disk is written in one transaction")

    delete = put

    def scan(self, prefix: bytes, *, newest: bool = False) -> Iterator[tuple[bytes, bytes]]:
        low, high, page = prefix, after(prefix), 4
        while rows := self._file.rows(self._down if newest else self._up, low, high, page):
            yield from rows
            if len(rows) < page:
                return
            page = min(4 * page, _PAGE)
            if newest:
                high = rows[-1][0]
            else:
                low = rows[-1][0] + b"\0"


def open_snapshots(path: Path, *, read_only: bool = False) -> SnapshotFile:
    """The snapshot of all folds of a home; what other code folded isn't taken."""
    code = hashlib.sha256()
    for module in (feeds_model, decisions, decisions_model, rooms, rooms_model, ucxl, ucxl_model, address, graph):
        code.update(Path(str(module.__file__)).read_bytes())
    return SnapshotFile(path, code.hexdigest()[:32], FOLDS, read_only=read_only)


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    connection = open_database(path, read_only=read_only)
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


def _set_meta(db: sqlite3.Connection, key: str, value: bytes) -> None:
    name = key.encode()
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (name, _sum(name, value) + value))


def _sum(key: bytes, value: bytes) -> bytes:
    return zlib.crc32(value, zlib.crc32(key)).to_bytes(4, "big")


def _boot_id() -> bytes:
    """Names this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return b"unknown"
