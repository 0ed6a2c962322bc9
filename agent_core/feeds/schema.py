"""The database file of a home: its schema, how it is opened, and what its errors mean to a person."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent_core.databases import open_database
from agent_core.errors import ChorusError, NotFound, StoreDamaged, StoreError
from agent_core.feeds.heads import SETTLING

VERSION = 2

#: An entry's row id is its feed's id and its number, so that one tree holds a feed in order and no index is needed.
SEQ_BITS = 40

#: The rows that say which entries count, whatever their number: found without reading all others.
_SETTLING = """
CREATE TABLE settling (key INTEGER PRIMARY KEY) STRICT;
"""
_SCHEMA = f"""
CREATE TABLE feeds (
    id INTEGER PRIMARY KEY, author TEXT NOT NULL, epoch INTEGER NOT NULL,
    size INTEGER NOT NULL, root BLOB NOT NULL, hlc TEXT NOT NULL, UNIQUE (author, epoch)) STRICT;
CREATE TABLE entries (
    key INTEGER PRIMARY KEY, raw BLOB NOT NULL, nodes BLOB NOT NULL, body INTEGER NOT NULL) STRICT;
CREATE INDEX wanted ON entries (key) WHERE body = 1;
CREATE TABLE bodies (key INTEGER PRIMARY KEY, salt BLOB NOT NULL, data BLOB NOT NULL) STRICT;
CREATE TABLE checkpoints (
    feed INTEGER NOT NULL, base INTEGER NOT NULL, size INTEGER NOT NULL, note TEXT NOT NULL, proof BLOB NOT NULL,
    PRIMARY KEY (feed, base)) WITHOUT ROWID, STRICT;
CREATE TABLE ops (op TEXT PRIMARY KEY, key INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE purges (
    author TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, purger TEXT NOT NULL,
    PRIMARY KEY (author, epoch, seq, purger)) WITHOUT ROWID, STRICT;
CREATE TABLE forks (
    id TEXT PRIMARY KEY, author TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, proof BLOB NOT NULL
    ) WITHOUT ROWID, STRICT;
CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;
{_SETTLING}"""


def connect(path: Path | str, *, read_only: bool = False, max_pages: int | None = None) -> sqlite3.Connection:
    """Open the database, made and of this version.

    Args:
        path: the file, or ``:memory:``.
        read_only: change nothing, not even a lock beside a database nobody uses.
        max_pages: upper bound of the file in pages of 4 KiB.

    Raises:
        NotFound: opened read-only, and there is none.
        StoreError: of a newer version, damaged, or not to be opened.
    """
    if read_only and not Path(path).exists():
        raise NotFound(f"There is no store at {path}.", "Start a node on this home first, or name another home.")
    with explained(path):
        connection = open_database(path, read_only=read_only)
        version = _version(connection)
        if version > VERSION:
            connection.close()
            raise StoreError(
                f"The store {path} was written by a newer version of chorus-hap (format {version}, this one reads {VERSION}).",
                "Use that version, or name another home with --home.",
            )
        if read_only:
            if version == 0:
                connection.close()
                raise NotFound(f"The store {path} is empty.", "Start a node on this home first.")
            connection.execute("BEGIN")  # all that is read is of one instant, also while a node beside writes on
            return connection
        if max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {int(max_pages)}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # a purged body is overwritten, not only unlinked
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")
        elif version < VERSION:
            _upgrade(connection)
        return connection


def find_settling(connection: sqlite3.Connection) -> str:
    """The SQL that gives the rows of entries that may be settling ones: of this format, or of one before that has no list."""
    if _version(connection) >= VERSION:
        return "SELECT key FROM settling"
    words = " OR ".join(f'instr(raw, CAST(\'"type":"{type}"\' AS BLOB))' for type in SETTLING)
    return f"SELECT key FROM entries WHERE {words}"


def _upgrade(connection: sqlite3.Connection) -> None:
    found = find_settling(connection)
    with transaction(connection) as db:
        db.execute(_SETTLING)
        db.execute(f"INSERT INTO settling (key) {found}")
        db.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or nothing, on disk at the end."""
    with staged(connection):
        yield connection
    finish(connection)


@contextmanager
def staged(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A transaction that stays open at the end, for :func:`finish`; an exception takes it back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        _take_back(connection)
        raise


def finish(connection: sqlite3.Connection) -> None:
    """End an open transaction: on disk when this returns, or nothing of it when it raises."""
    try:
        connection.execute("COMMIT")
    except BaseException:
        _take_back(connection)
        raise


@contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Turn what SQLite raises into a sentence and what to do.

    Raises:
        StoreError: for every error of the database.
    """
    try:
        yield
    except sqlite3.Error as exc:
        raise _explain(path, exc) from exc


def damaged(path: Path | str, why: str) -> StoreDamaged:
    """The error of a database that isn't what was written, told to who watches it; to be raised.

    Args:
        path: the file.
        why: what is wrong, a clause.
    """
    error = StoreDamaged(
        f"The store {path} is damaged: {why.rstrip('.')}.",
        "Its node puts the file aside when it starts, takes over what can be read, and fetches the other members' copies back. "
        "Move it away by hand if that fails. Keep the identity folder.",
    )
    error.path = str(path)
    told = _watchers.get(error.path)
    if told is not None:
        told(error)
    return error


@contextmanager
def watching(paths: Iterable[Path], told: Callable[[StoreDamaged], None]) -> Iterator[None]:
    """Have somebody told of damage to databases wherever it is come upon, from whatever thread."""
    names = [str(path) for path in paths]
    _watchers.update(dict.fromkeys(names, told))
    try:
        yield
    finally:
        for name in names:
            _watchers.pop(name, None)


_watchers: dict[str, Callable[[StoreDamaged], None]] = {}


def _take_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # a full disk may have rolled back by itself
        connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _explain(path: Path | str, exc: sqlite3.Error) -> ChorusError:
    match getattr(exc, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return StoreError(f"The disk that holds {path} is full.", "Free some space; nothing acknowledged is lost.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return StoreError(
                f"The store {path} can't be opened or written: {exc}.",
                "Mend the permissions of the home, or name another one with --home.",
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(f"Another program holds the store {path} locked.", "Close it and try again.")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return damaged(path, str(exc))
        case sqlite3.SQLITE_IOERR:
            return StoreError(f"The disk that holds {path} fails: {exc}.", "Check the disk, then try again.")
    return StoreError(f"The store {path} can't be used: {exc}.", "Check the home's disk and permissions.")
