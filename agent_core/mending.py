"""What is done about a damaged database: it is put aside, what can be read of it is taken over, and the rest is fetched back.

Nothing is deleted. What is taken over is believed by the authors' checkpoints, as if a peer had sent it. A database of which every
header could be read goes on as it was, its memory of votes too; after any other the home goes on in a new epoch (SPEC section 2).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from agent_core.errors import ChorusError, StoreDamaged, StoreError
from agent_core.feeds.epochs import INSTANCE_KEY
from agent_core.feeds.heads import Item
from agent_core.feeds.model import EntryKey, Head
from agent_core.feeds.ranges import verify_range
from agent_core.feeds.store import Store
from agent_core.grammar import plural
from agent_core.home import Home, HomeLock
from agent_core.identity.signing import Ed25519Verifier, Verifier
from agent_core.lost import ASIDE

log = logging.getLogger("chorus.node")

#: Entries taken over at once; fewer where they can't be read together.
_AT_ONCE = 256
_SUFFIXES = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of a damaged database."""

    name: str  #: the file's
    aside: Path
    entries: int = 0  #: taken over
    lost: int = 0  #: entries known to have been there that couldn't be read
    bodies: int = 0  #: bodies that couldn't be read, of entries that could
    whole: bool = False  #: every header was read, and what the node keeps beside them

    def __str__(self) -> str:
        said = f"The database {self.name} was damaged and is kept as {self.aside}."
        if self.name == "folds.db":
            return f"{said} Nothing is lost: it is made anew from the feeds."
        if self.name != "store.db":
            return f"{said} A new one was begun; what the others hold is fetched back."
        if self.whole:
            bodies = (
                f", {self.bodies} of them without their text, which is fetched back from the others"
                if self.bodies
                else ""
            )
            return f"{said} All that was in it was taken over, {plural(self.entries, 'entry', 'entries')}{bodies}."
        taken = (
            f"{plural(self.entries, 'entry', 'entries')} taken over"
            + (f", {self.lost} could not be read" if self.lost else "")
            if self.entries
            else "None of its entries could be read"
        )
        return f"{said} {taken}. What the others hold is fetched back; what only this home held is in that file alone."


def mend(home: Home, damage: StoreDamaged) -> Mended:
    """Put a damaged database of a home aside and begin a new one with what can be read of it.

    Args:
        home: which no node has open.
        damage: names the file.

    Raises:
        HomeInUse: another node runs on it meanwhile.
        StoreError: it can't be moved, or the new one can't be written.
    """
    path = Path(damage.path)
    with HomeLock(home):
        aside = _put_aside(home, path)
        return _salvaged(aside, path) if path == home.store else Mended(path.name, aside)


def _put_aside(home: Home, path: Path) -> Path:
    directory = home.root / ASIDE
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside, number = directory / f"{path.name}.{stamp}", 1
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        while aside.exists():
            number += 1
            aside = directory / f"{path.name}.{stamp}.{number}"
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    except OSError as exc:
        raise StoreError(
            f"The damaged database {path} can't be put aside: {exc.strerror or exc}.",
            f"Move it to {directory} by hand, and start again.",
        ) from exc
    return aside


def _salvaged(aside: Path, path: Path) -> Mended:
    verifier = Ed25519Verifier()
    try:
        old = Store.open(aside, read_only=True, salvage=True)
    except ChorusError as exc:
        log.warning("nothing of %s can be read: %s", aside, exc.message)
        return Mended(path.name, aside)
    taken = lost = bodies = 0
    with closing(old), closing(Store.open(path)) as new:
        for head in old.heads():
            bodies += _take_feed(old, new, head, verifier)
            held = new.size(head.author, head.epoch)
            taken, lost = taken + held, lost + head.size - held
        for id in old.forks():
            with suppress(ChorusError):
                if (proof := old.fork(id)) is not None:
                    new.add_fork(proof)
        values, complete = _values(aside)
        whole = complete and not lost
        if not whole:
            values.pop(INSTANCE_KEY, None)  # so that the home is known to have forgotten something
        new.write_all({**values})
    return Mended(path.name, aside, taken, lost, bodies, whole)


def _take_feed(old: Store, new: Store, head: Head, verifier: Verifier) -> int:
    """Take over a feed up to the first entry that can't be read or proven; how many bodies couldn't be read."""
    step, unread = _AT_ONCE, 0
    author, epoch = head.author, head.epoch
    while (start := new.size(author, epoch)) < head.size:
        try:
            items, missing = _items(old, head, start, min(start + step, head.size))
            covered = old.certificate(author, epoch, start + len(items))
            if covered is None or covered[0] <= start:
                return unread
            end, note, proof = covered
            found = verify_range(
                new.frontier(author, epoch), author, epoch, items[: end - start], note, proof, verifier
            )
            new.extend(found, index_ops=True)
            unread += missing
        except ChorusError as exc:
            if step == 1:
                log.warning("%s can't be read: %s", EntryKey(author, epoch, start), exc.message)
                return unread
            step = max(1, step // 4)
    return unread


def _items(old: Store, head: Head, start: int, end: int) -> tuple[list[Item], int]:
    """Entries with their bodies, or without where only those are damaged; and how many are without."""
    try:
        found = old.items(head.author, head.epoch, start, end, 1 << 22)
        if found:
            return found, 0
    except StoreError:
        if end - start > 1:
            raise
    entry = old.entry(EntryKey(head.author, head.epoch, start))
    if entry is None:
        raise StoreError(f"Entry {start} is missing.")
    return [Item(entry.raw, b"", None)], 1


def _values(path: Path) -> tuple[dict[str, bytes], bool]:
    """The small values a node keeps, and whether all of them could be read."""
    found: dict[str, bytes] = {}
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            for key, value in connection.execute("SELECT key, value FROM kv"):
                found[key] = bytes(value)
    except sqlite3.Error:
        return found, False
    return found, True
