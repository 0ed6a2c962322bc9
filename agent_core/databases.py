"""How the databases of a home are opened: to write, or to read them where nothing can be written beside them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path

from agent_core.errors import StoreError

MEMORY = ":memory:"


def open_database(path: Path | str, *, read_only: bool) -> sqlite3.Connection:
    """Open a SQLite database.

    On a read-only mount a database in WAL mode has no lock file to be made, so one that was left whole is read as it is, and one with a
    write-ahead log is read from a copy (https://sqlite.org/wal.html, "Read-Only Databases").

    Args:
        path: the file, or ``:memory:``; made if it is to be written and isn't there.
        read_only: change nothing.

    Raises:
        sqlite3.Error: as SQLite says.
        StoreError: it can't be read where it is, and there is no room for a copy.
    """
    if str(path) == MEMORY:
        return _connect(MEMORY)
    uri = Path(path).absolute().as_uri()
    if not read_only:
        _make_private(Path(path))
        return _connect(f"{uri}?mode=rwc")
    try:
        return _read(f"{uri}?mode=ro")
    except sqlite3.OperationalError as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        if not Path(path).exists():
            raise
    log = Path(f"{path}-wal")
    return _copied(Path(path), log) if log.exists() and log.stat().st_size else _read(f"{uri}?mode=ro&immutable=1")


def _make_private(path: Path) -> None:
    """Make the file for its user alone, whatever the umask: SQLite gives its mode to the log and the lock file beside it."""
    with suppress(OSError):  # there already, or SQLite says what is wrong
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.fchmod(fd, 0o600)
        os.close(fd)


def _copied(path: Path, log: Path) -> sqlite3.Connection:
    """A copy that has no name any more once it is open, and goes with its connection."""
    try:
        with tempfile.TemporaryDirectory(prefix="chorus-hap-", ignore_cleanup_errors=True) as directory:
            copy = Path(directory) / path.name
            shutil.copyfile(path, copy)
            shutil.copyfile(log, f"{copy}-wal")
            connection = _read(f"{copy.as_uri()}?mode=rw")
            connection.execute("PRAGMA query_only = ON")
            return connection
    except OSError as exc:
        raise StoreError(
            f"{path} can't be read where it is, for nothing can be written beside it, and it can't be copied: {exc.strerror or exc}.",
            "Set TMPDIR to a directory with room for it, or copy the home to where it can be written.",
        ) from exc


def _read(uri: str) -> sqlite3.Connection:
    connection = _connect(uri)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # only now its files are opened
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    # Every use is serialised by its store; the writer's connection moves between worker threads.
    return sqlite3.connect(uri, uri=uri != MEMORY, isolation_level=None, check_same_thread=False, timeout=5.0)
