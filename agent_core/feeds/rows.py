"""The rows in which entries lie: their keys, what they say of a body, and how many are written at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from functools import cache

from agent_core.feeds.heads import LOG_PURGE, MAX_SIZE, SETTLING, PurgeData
from agent_core.feeds.model import Entry, EntryKey
from agent_core.feeds.ranges import Extension
from agent_core.feeds.schema import SEQ_BITS

# What ``entries.body`` says.
NO_BODY, WANTED, PRESENT, PURGED = range(4)

#: Rows that one statement inserts: one for each row takes twice as long.
_AT_ONCE = 16


def key_of(feed_id: int, seq: int) -> int:
    """The row of an entry, and of its body."""
    return (feed_id << SEQ_BITS) + seq


def insert_entries(
    db: sqlite3.Connection, feed_id: int, new: Extension, *, index_ops: bool, purged: Collection[int]
) -> list[EntryKey]:
    """Write entries with their bodies, and list those that are looked for by something else than their number.

    Args:
        db: within a transaction.
        feed_id: their feed's row.
        new: believed already.
        index_ops: remember the operation ids.
        purged: numbers of entries whose body must not be kept.

    Returns:
        Entries whose bodies the author asks to go.
    """
    rows: list[int | bytearray] = []
    bodies: list[int | bytearray] = []
    ops, claims, settling = [], list[EntryKey](), []
    for key, entry, body, nodes in zip(
        range(key_of(feed_id, new.start), key_of(feed_id, new.end)), new.entries, new.bodies, new.nodes, strict=True
    ):
        header = entry.header
        state = NO_BODY if header.body is None else WANTED
        if state == WANTED and header.seq in purged:
            state = PURGED
        elif body is not None:
            state = PRESENT
            bodies += (key, bytearray(body.salt), bytearray(body.data))
        rows += (key, bytearray(entry.raw), bytearray(nodes), state)
        if index_ops and header.op:
            ops.append((header.op, key))
        if header.type == LOG_PURGE and (target := _purge_target(entry)):
            claims.append(target)
        if header.type in SETTLING:
            settling.append((key,))
    _insert(db, "entries (key, raw, nodes, body)", rows, 4)
    _insert(db, "bodies (key, salt, data)", bodies, 3)
    if settling:
        db.executemany("INSERT INTO settling (key) VALUES (?)", settling)
    if ops:
        db.executemany("INSERT OR IGNORE INTO ops (op, key) VALUES (?, ?)", ops)
    if claims:
        wanted = "INSERT OR IGNORE INTO purges (author, epoch, seq, purger) VALUES (?, ?, ?, ?)"
        db.executemany(wanted, [(*target, new.author) for target in claims])
    return claims


def _insert(db: sqlite3.Connection, table: str, values: list[int | bytearray], columns: int) -> None:
    """Write rows whose values lie one after the other; ``bytearray``, since ``sqlite3`` looks for adapters of every ``bytes``."""
    many = len(values) - len(values) % (columns * _AT_ONCE)
    for start, end, count in ((0, many, _AT_ONCE), (many, len(values), 1)):
        if start < end:
            step = columns * count
            db.executemany(
                _statement(table, columns, count), [values[at : at + step] for at in range(start, end, step)]
            )


@cache
def _statement(table: str, columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {', '.join([row] * rows)}"


def _purge_target(entry: Entry) -> EntryKey | None:
    data = entry.data(PurgeData)
    return data.target if data and 0 <= data.seq < MAX_SIZE and 0 <= data.epoch < MAX_SIZE else None
