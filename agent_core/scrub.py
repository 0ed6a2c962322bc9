"""Looking through the databases of a home for damage that nobody has come upon yet, a table at a time, beside the running node."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import trio

from agent_core.feeds.schema import damaged, explained

log = logging.getLogger(__name__)

#: After the start and between two rounds, seconds; a pause after each table lets others at the disk.
FIRST_S = 2.0
EVERY_S = 6 * 3600.0
_PAUSE_S = 0.05


class Scrub:
    """Checks every page of databases again and again; what it finds is told as any damage is (:func:`agent_core.feeds.schema.watching`).

    Args:
        paths: the databases; one that isn't there is left out.
        first_s: how long after the start it begins, seconds.
        every_s: how long it rests between two rounds, seconds.
    """

    def __init__(self, paths: Sequence[Path], first_s: float = FIRST_S, every_s: float = EVERY_S) -> None:
        self._paths, self._first_s, self._every_s = tuple(paths), first_s, every_s
        self.rounds = 0

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Look through them for ever."""
        task_status.started()
        await trio.sleep(self._first_s)
        while True:
            for path in self._paths:
                await self._look_through(path)
            self.rounds += 1
            await trio.sleep(self._every_s)

    async def _look_through(self, path: Path) -> None:
        for table in await trio.to_thread.run_sync(tables, path):
            found = await trio.to_thread.run_sync(check, path, table)
            if found:
                raise damaged(path, found)
            await trio.sleep(_PAUSE_S)


def tables(path: Path) -> list[str]:
    """The tables of a database.

    Raises:
        StoreError: it can't be read.
    """
    if not path.exists():
        return []
    with explained(path), closing(_open(path)) as connection:
        return [
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")
        ]


def check(path: Path, table: str) -> str:
    """What is wrong with a table or its indexes, in SQLite's words; empty if nothing is. In the time it takes to read it.

    Raises:
        StoreError: it can't be read.
    """
    with explained(path), closing(_open(path)) as connection:
        said: str = connection.execute(f"PRAGMA quick_check('{table}')").fetchone()[0]
        return "" if said == "ok" else said.splitlines()[0]


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0, check_same_thread=False)
