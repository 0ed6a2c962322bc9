"""The store of one home: every feed it holds, in SQLite, believed before it comes in. Synchronous; knows no network."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from agent_core.clock import ZERO, Hlc
from agent_core.databases import MEMORY
from agent_core.errors import StoreDamaged, StoreError, VerificationFailed
from agent_core.feeds.audit import audit
from agent_core.feeds.forks import ForkProof, ForkTable
from agent_core.feeds.heads import MAX_SIZE, FeedInfo, Item
from agent_core.feeds.merkle import EMPTY_ROOT, HASH_BYTES, Frontier, completing_leaf, consistency_proof, root_at
from agent_core.feeds.model import Body, Entry, EntryKey, Head, Missing, Order
from agent_core.feeds.ranges import Extension
from agent_core.feeds.rows import NO_BODY, PRESENT, PURGED, WANTED, insert_entries, key_of
from agent_core.feeds.schema import connect, damaged, explained, find_settling, finish, staged, transaction
from agent_core.feeds.withdrawals import Withdrawal, Withdrawals, again_op
from agent_core.identity.signing import Ed25519Verifier, Verifier
from agent_core.shapes import Verification

FeedKey: TypeAlias = tuple[str, int]

_PAGE = 512


@dataclass(slots=True)
class _Feed:
    """A feed's row, and its frontier as of its size."""

    id: int
    size: int = 0
    root: bytes = EMPTY_ROOT
    hlc: Hlc = ZERO
    frontier: Frontier | None = None


class Store:
    """All feeds of a home. Open it with :meth:`open`.

    One connection writes, from whichever thread calls (the caller sees to it that writes don't overlap); another reads,
    so that a long commit in a worker thread keeps no reader waiting.
    """

    def __init__(
        self, path: Path | str, writer: sqlite3.Connection, reader: sqlite3.Connection, *, salvage: bool = False
    ) -> None:
        self.path = path
        self._writer, self._reader = writer, reader
        self._feeds: dict[FeedKey, _Feed] = {}
        self._forks = ForkTable()
        self._claims: dict[EntryKey, frozenset[str]] = {}
        self._withdrawals = Withdrawals()
        self._load(salvage)

    @classmethod
    def open(
        cls, path: Path | str, *, read_only: bool = False, max_pages: int | None = None, salvage: bool = False
    ) -> Store:
        """Open or make the store.

        Args:
            path: the database file; ``:memory:`` for one that is gone at the end.
            read_only: for offline commands; beside a running node too.
            max_pages: upper bound of the file in pages of 4 KiB.
            salvage: it is damaged, and read for what is left of it: what entries say again may be missing.

        Raises:
            NotFound: read-only, and there is none yet.
            StoreError: a newer version's, damaged, or not to be opened.
        """
        writer = connect(path, read_only=read_only, max_pages=max_pages)
        reader = writer if read_only or str(path) == MEMORY else connect(path)
        return cls(path, writer, reader, salvage=salvage)

    def close(self) -> None:
        """Close the files; idempotent."""
        self._reader.close()
        self._writer.close()

    @property
    def on_disk(self) -> bool:
        """Whether a commit waits for a disk."""
        return str(self.path) != MEMORY

    # --- reading ------------------------------------------------------------------------------------------------------

    def feeds(self) -> list[FeedInfo]:
        """Every epoch of every feed held, by author and epoch."""
        return [
            FeedInfo(
                head=Head(author=author, epoch=epoch, size=feed.size, root=feed.root.hex()),
                fork_limit=self._forks.limit(author, epoch),
                latest_hlc=feed.hlc,
            )
            for (author, epoch), feed in sorted(self._feeds.items())
        ]

    def heads(self) -> list[Head]:
        """How much is held of every epoch of every feed."""
        return [info.head for info in self.feeds()]

    def head(self, author: str, epoch: int) -> Head:
        """How much is held of one epoch; size 0 if nothing."""
        feed = self._feeds.get((author, epoch), _Feed(0))
        return Head(author=author, epoch=epoch, size=feed.size, root=feed.root.hex())

    def size(self, author: str, epoch: int) -> int:
        """How many entries of one epoch are held."""
        feed = self._feeds.get((author, epoch))
        return feed.size if feed else 0

    def last_epoch(self, author: str) -> int | None:
        """The latest epoch held of an author."""
        return max((epoch for name, epoch in self._feeds if name == author), default=None)

    def latest_hlc(self, author: str) -> Hlc:
        """The greatest stamp in an author's newest epoch; what an earlier one was stamped with may be withdrawn."""
        epoch = self.last_epoch(author)
        return ZERO if epoch is None else self._feeds[author, epoch].hlc

    def stamp(self, author: str, epoch: int) -> Hlc:
        """The greatest stamp among an epoch's entries."""
        feed = self._feeds.get((author, epoch))
        return feed.hlc if feed else ZERO

    @property
    def entry_count(self) -> int:
        """Entries held, all feeds."""
        return sum(feed.size for feed in self._feeds.values())

    def entry(self, key: EntryKey) -> Entry | None:
        """One entry."""
        return next(self.entries(key.author, key.epoch, key.seq, key.seq + 1), None)

    def entries(self, author: str, epoch: int, start: int = 0, end: int | None = None) -> Iterator[Entry]:
        """Entries by number, read a page at a time; those stored meanwhile are included unless ``end`` is given."""
        while (feed := self._feeds.get((author, epoch))) is not None:
            last = min(start + _PAGE, feed.size if end is None else min(end, feed.size))
            if not 0 <= start < last:
                return
            rows = self._read(
                "SELECT raw FROM entries WHERE key >= ? AND key < ?", key_of(feed.id, start), key_of(feed.id, last)
            )
            for (raw,) in rows:
                yield self._parse(raw)
            start = last

    def all_entries(self) -> Iterator[Entry]:
        """Every entry of every feed, feed by feed."""
        for author, epoch in sorted(self._feeds):
            yield from self.entries(author, epoch)

    def settling(self) -> Iterator[Entry]:
        """The entries that say which entries count, each feed's in its order: acts, their commits, moves."""
        with explained(self.path):
            keys = [key for (key,) in self._read(f"{find_settling(self._reader)} ORDER BY key")]
        for at in range(0, len(keys), _PAGE):
            chosen = ",".join(map(str, keys[at : at + _PAGE]))
            for (raw,) in self._read(f"SELECT raw FROM entries WHERE key IN ({chosen}) ORDER BY key"):
                yield self._parse(raw)

    def tail(self, limit: int, before: Entry | None = None) -> list[Entry]:
        """The newest entries of all feeds in the total order, oldest first.

        Args:
            limit: so many at most.
            before: only entries before this one.
        """
        found: list[Entry] = []
        place = None if before is None else self._place(before)
        for (author, epoch), feed in list(self._feeds.items()):
            end = feed.size if place is None else self._until(author, epoch, place, feed.size)
            found += self.entries(author, epoch, max(0, end - limit), end)
        return sorted(found, key=self._place)[max(0, len(found) - limit) :]

    def _place(self, entry: Entry) -> Order:
        """Where an entry stands in the total order; a withdrawn one, whose stamp is nothing to go by, before what withdrew it."""
        gone = self._withdrawals.first(entry.key)
        return entry.order if gone is None else (min(entry.header.hlc, gone.at), *entry.order[1:])

    def _until(self, author: str, epoch: int, before: Order, size: int) -> int:
        """How many of a feed's entries are before a place in the total order: in a feed, that order is the entries' own."""

        def order(seq: int) -> Order:
            entry = self.entry(EntryKey(author, epoch, seq))
            assert entry is not None  # seq is below the feed's size
            return self._place(entry)

        return bisect_left(range(size), before, key=order)

    def items(self, author: str, epoch: int, start: int, end: int, max_bytes: int) -> list[Item]:
        """Entries with their bodies as they travel: as many as fit, at least one if there is one."""
        feed = self._feeds.get((author, epoch))
        found: list[Item] = []
        room = max_bytes
        end = min(end, feed.size if feed else 0)
        while feed is not None and start < end:
            last = min(start + 64, end)
            rows = self._read(
                "SELECT raw, salt, data FROM entries LEFT JOIN bodies USING (key) WHERE key >= ? AND key < ? ORDER BY key",
                key_of(feed.id, start),
                key_of(feed.id, last),
            )
            for raw, salt, data in rows:
                item = Item(raw, salt or b"", data)
                room -= item.size
                if room < 0 and found:
                    return found
                found.append(item)
            if len(rows) < last - start:
                return found
            start = last
        return found

    def body(self, key: EntryKey) -> bytes | Missing:
        """The body of an entry, or why it is missing."""
        found = self.stored_body(key)
        return found if isinstance(found, Missing) else found.data

    def part(self, key: EntryKey, start: int, end: int) -> bytes | Missing:
        """Some bytes of a body, or why it is missing."""
        found = self.body(key)
        return found if isinstance(found, Missing) else found[start:end]

    def stored_body(self, key: EntryKey) -> Body | Missing:
        """The body of an entry with its salt, or why it is missing."""
        feed = self._feeds.get((key.author, key.epoch))
        rows = (
            self._read(
                "SELECT body, salt, data FROM entries LEFT JOIN bodies USING (key) WHERE key = ?",
                key_of(feed.id, key.seq),
            )
            if feed and 0 <= key.seq < MAX_SIZE
            else []
        )
        if not rows:
            return Missing.NOT_FETCHED
        state, salt, data = rows[0]
        if data is not None:
            return Body(salt, data)
        return {NO_BODY: Missing.NONE, PURGED: Missing.PURGED}.get(state, Missing.NOT_FETCHED)

    def wanted_bodies(self, author: str, epoch: int, limit: int) -> list[int]:
        """Numbers of the newest entries whose body isn't held and was never purged."""
        feed = self._feeds.get((author, epoch))
        if feed is None:
            return []
        rows = self._read(
            "SELECT key FROM entries WHERE body = 1 AND key >= ? AND key < ? ORDER BY key DESC LIMIT ?",
            key_of(feed.id, 0),
            key_of(feed.id, MAX_SIZE),
            limit,
        )
        return [key & MAX_SIZE - 1 for (key,) in rows]

    # --- proofs -------------------------------------------------------------------------------------------------------

    def node(self, author: str, epoch: int, level: int, index: int) -> bytes:
        """The hash of a perfect subtree (a :data:`~agent_core.feeds.merkle.NodeReader` once the feed is bound)."""
        feed = self._feeds[author, epoch]
        rows = self._read("SELECT nodes FROM entries WHERE key = ?", key_of(feed.id, completing_leaf(level, index)))
        node: bytes = rows[0][0][level * HASH_BYTES : (level + 1) * HASH_BYTES] if rows else b""
        if len(node) != HASH_BYTES:
            raise damaged(self.path, "a tree hash is missing")
        return node

    def root_at(self, author: str, epoch: int, size: int) -> bytes | None:
        """The root of an earlier size; nothing if that much isn't held."""
        feed = self._feeds.get((author, epoch))
        if feed is None or not 0 <= size <= feed.size:
            return EMPTY_ROOT if size == 0 else None
        if size == feed.size:
            return feed.root
        return root_at(size, lambda level, index: self.node(author, epoch, level, index))

    def frontier(self, author: str, epoch: int) -> Frontier:
        """A copy of a feed's frontier as held."""
        feed = self._feeds.get((author, epoch))
        if feed is None:
            return Frontier()
        if feed.frontier is None:
            feed.frontier = Frontier.at(feed.size, lambda level, index: self.node(author, epoch, level, index))
        return feed.frontier.copy()

    def checkpoints(self, author: str, epoch: int) -> list[tuple[int, int, str, tuple[bytes, ...]]]:
        """The checkpoints kept, newest first: base, size, note, and the proof that the base is a prefix.

        The newest of a size that is held whole (base = size), and while a feed is being fetched also the one that covers
        what is held so far.
        """
        feed = self._feeds.get((author, epoch))
        if feed is None:
            return []
        rows = self._read("SELECT base, size, note, proof FROM checkpoints WHERE feed = ? ORDER BY base DESC", feed.id)
        return [(base, size, note, _split(proof)) for base, size, note, proof in rows]

    def certificate(self, author: str, epoch: int, end: int) -> tuple[int, str, tuple[bytes, ...]] | None:
        """What proves the first entries of a feed to others, at most ``end`` of them.

        Returns:
            How many entries (the most that can be proven, up to ``end``), a checkpoint's note, and the consistency proof
            from that size to the checkpoint's; nothing if none can be proven.
        """
        for base, size, note, proof in self.checkpoints(author, epoch):
            if base < size:
                if end >= base:
                    return base, note, proof
                continue
            proven = min(end, size)
            return proven, note, consistency_proof(proven, size, lambda lv, ix: self.node(author, epoch, lv, ix))
        return None

    def verify(self, verifier: Verifier | None = None) -> Verification:
        """Check every hash, root, signature, body and fork proof anew; names the first bad entry."""
        return audit(self, verifier or Ed25519Verifier())

    # --- writing ------------------------------------------------------------------------------------------------------

    def extend(self, new: Extension, *, index_ops: bool = False, purged: Collection[int] = ()) -> bool:
        """Store entries that follow what is held, in one transaction, on disk when this returns.

        Args:
            new: believed already.
            index_ops: remember the operation ids: it is this node's own feed.
            purged: numbers of entries whose body must not be kept.

        Returns:
            Whether they were stored; false if the feed has grown meanwhile.

        Raises:
            StoreError: nothing was stored.
        """
        settle = self.stage(new, index_ops=index_ops, purged=purged)
        if settle is not None:
            self.sync()
            settle()
        return settle is not None

    def stage(
        self, new: Extension, *, index_ops: bool = False, purged: Collection[int] = ()
    ) -> Callable[[], None] | None:
        """The first part of :meth:`extend`; :meth:`sync` is the second, and next of all writing.

        Returns:
            The third part: shows what is on disk then as held. Nothing if the feed has grown meanwhile.

        Raises:
            StoreError: nothing was stored.
        """
        old = self._feeds.get((new.author, new.epoch))
        if (old.size if old else 0) != new.start:
            return None
        if new.end > MAX_SIZE:
            raise StoreError("A feed has reached the greatest size there is.", "Start a new home.")
        whole = new.end == new.checkpoint.size
        root = new.checkpoint.root if whole else new.frontier.root()
        hlc = max([old.hlc if old else ZERO, *(e.header.hlc for e in new.entries)])
        with explained(self.path), staged(self._writer) as db:
            if old is None:
                db.execute(
                    "INSERT INTO feeds (author, epoch, size, root, hlc) VALUES (?, ?, 0, ?, ?)",
                    (new.author, new.epoch, EMPTY_ROOT, ZERO),
                )
                feed = _Feed(int(db.execute("SELECT last_insert_rowid()").fetchone()[0]))
            else:
                feed = _Feed(old.id)
            claims = insert_entries(db, feed.id, new, index_ops=index_ops, purged=frozenset(purged))
            db.execute("UPDATE feeds SET size = ?, root = ?, hlc = ? WHERE id = ?", (new.end, root, hlc, feed.id))
            db.execute("DELETE FROM checkpoints WHERE feed = ? AND (base < size OR ?)", (feed.id, whole))
            db.execute(
                "INSERT INTO checkpoints (feed, base, size, note, proof) VALUES (?, ?, ?, ?, ?)",
                (feed.id, new.end, new.checkpoint.size, new.checkpoint.note, b"".join(new.proof)),
            )
        feed.size, feed.root, feed.hlc, feed.frontier = new.end, root, hlc, new.frontier.copy()

        def settle() -> None:
            self._feeds[new.author, new.epoch] = feed
            if new.epoch > 0 and new.start == 0 and new.entries:
                self._withdrawals.take(new.entries[0])
            for target in claims:
                self._claim(target, new.author)

        return settle

    def sync(self) -> None:
        """Put what was staged on disk; touches nothing that is read, so it may wait in another thread.

        Raises:
            StoreError: nothing of it was stored.
        """
        with explained(self.path):
            finish(self._writer)

    def add_bodies(self, bodies: Sequence[tuple[EntryKey, Body]]) -> int:
        """Keep bodies that were missing, checked against their headers already; purged ones stay away.

        Returns:
            How many were kept.
        """
        kept = 0
        with explained(self.path), transaction(self._writer) as db:
            for key, body in bodies:
                row = key_of(self._feeds[key.author, key.epoch].id, key.seq)
                if db.execute(
                    "UPDATE entries SET body = ? WHERE key = ? AND body = ?", (PRESENT, row, WANTED)
                ).rowcount:
                    db.execute("INSERT INTO bodies (key, salt, data) VALUES (?, ?, ?)", (row, body.salt, body.data))
                    kept += 1
        return kept

    def op(self, op: str) -> Entry | None:
        """The first entry that an operation of this node made; if it was withdrawn and said again, the one that counts."""
        entry = self._op(op)
        while entry is not None and (gone := self._withdrawals.withdrew(entry)) is not None:
            again = self._op(again_op(entry, gone.at))
            if again is None:
                break
            entry = again
        return entry

    def _op(self, op: str) -> Entry | None:
        rows = self._read("SELECT raw FROM ops JOIN entries USING (key) WHERE op = ?", op)
        return self._parse(rows[0][0]) if rows else None

    def purge_claims(self) -> dict[EntryKey, frozenset[str]]:
        """Whose bodies were asked to go, and by whom; whether they may ask isn't decided here."""
        return self._claims

    def purge(self, keys: Collection[EntryKey]) -> list[EntryKey]:
        """Drop bodies and salts for good; returns those that went or will never come."""
        gone: list[EntryKey] = []
        with explained(self.path), transaction(self._writer) as db:
            for key in keys:
                feed = self._feeds.get((key.author, key.epoch))
                if feed is None or not 0 <= key.seq < feed.size:
                    continue
                row = key_of(feed.id, key.seq)
                changed = db.execute("UPDATE entries SET body = ? WHERE key = ? AND body IN (1, 2)", (PURGED, row))
                if changed.rowcount:
                    db.execute("DELETE FROM bodies WHERE key = ?", (row,))
                    gone.append(key)
        if gone:
            with explained(self.path):  # or the body would live on in the write-ahead log
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def lacks_fork(self, proof: ForkProof) -> bool:
        """Whether a fork proof says more than those kept."""
        return self._forks.lacks(proof.author, proof.epoch, proof.seq, proof.id)

    def add_fork(self, proof: ForkProof) -> list[int]:
        """Keep a checked fork proof; returns the epochs that may end elsewhere now, none if it said nothing new."""
        if not self.lacks_fork(proof):
            return []
        author = proof.author
        going = self._forks.going(author, proof.epoch)
        before = {epoch: self.fork_limit(author, epoch) for name, epoch in self._feeds if name == author}
        with explained(self.path), transaction(self._writer) as db:
            if going is not None:
                db.execute("DELETE FROM forks WHERE id = ?", (going[1],))
            db.execute(
                "INSERT OR REPLACE INTO forks (id, author, epoch, seq, proof) VALUES (?, ?, ?, ?, ?)",
                (proof.id, author, proof.epoch, proof.seq, msgspec.msgpack.encode(proof)),
            )
        self._forks.add(author, proof.epoch, proof.seq, proof.id)
        return sorted({proof.epoch} | {e for e, limit in before.items() if self.fork_limit(author, e) != limit})

    def fork_limit(self, author: str, epoch: int) -> int | None:
        """How many entries of an epoch precede its first proven divergence, or count at all; nothing if no fork is known."""
        return self._forks.limit(author, epoch)

    def withdrawals(self, author: str, epoch: int) -> Sequence[Withdrawal]:
        """What later epochs of the author withdraw of an epoch."""
        return self._withdrawals.of(author, epoch)

    def withdrawn_from(self, author: str, epoch: int) -> int | None:
        """From which number on an epoch is withdrawn by its author; nothing if nothing is."""
        return self._withdrawals.limit(author, epoch)

    def withdrew(self, entry: Entry) -> Withdrawal | None:
        """What withdrew an entry; nothing if it stands."""
        return self._withdrawals.withdrew(entry)

    def forks(self) -> list[str]:
        """Ids of the fork proofs kept."""
        return self._forks.ids()

    def fork(self, id: str) -> ForkProof | None:
        """One fork proof."""
        rows = self._read("SELECT proof FROM forks WHERE id = ?", id)
        return msgspec.msgpack.decode(rows[0][0], type=ForkProof) if rows else None

    def read(self, key: str) -> bytes | None:
        """A small durable value."""
        rows = self._read("SELECT value FROM kv WHERE key = ?", key)
        return bytes(rows[0][0]) if rows else None

    def write(self, key: str, value: bytes) -> None:
        """Keep a small value, on disk when this returns."""
        self.write_all({key: value})

    def write_all(self, values: Mapping[str, bytes | None]) -> None:
        """Keep small values, all or none of them, on disk when this returns; nothing for a value removes it."""
        with explained(self.path), transaction(self._writer) as db:
            for key, value in values.items():
                if value is None:
                    db.execute("DELETE FROM kv WHERE key = ?", (key,))
                else:
                    db.execute("INSERT OR REPLACE INTO kv (key, value) VALUES (?, ?)", (key, value))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _load(self, salvage: bool) -> None:
        for id_, author, epoch, size, root, hlc in self._read("SELECT id, author, epoch, size, root, hlc FROM feeds"):
            self._feeds[author, epoch] = _Feed(id_, size, root, hlc)
        with suppress(StoreDamaged) if salvage else nullcontext():
            for author, epoch, seq, id_ in self._read("SELECT author, epoch, seq, id FROM forks"):
                self._forks.add(author, epoch, seq, id_)
        for author, epoch in [feed for feed, known in self._feeds.items() if feed[1] > 0 and known.size > 0]:
            with suppress(StoreDamaged) if salvage else nullcontext():
                first = self.entry(EntryKey(author, epoch, 0))
                if first is not None:
                    self._withdrawals.take(first)
        with suppress(StoreDamaged) if salvage else nullcontext():
            for author, epoch, seq, purger in self._read("SELECT author, epoch, seq, purger FROM purges"):
                self._claim(EntryKey(author, epoch, seq), purger)

    def _claim(self, target: EntryKey, purger: str) -> None:
        self._claims[target] = self._claims.get(target, frozenset()) | {purger}

    def _read(self, sql: str, *args: Any) -> list[Any]:
        with explained(self.path):
            return self._reader.execute(sql, args).fetchall()

    def _parse(self, raw: bytes) -> Entry:
        try:
            return Entry.parse(raw)
        except VerificationFailed as exc:
            raise damaged(self.path, exc.message) from exc


def _split(proof: bytes) -> tuple[bytes, ...]:
    return tuple(proof[a:b] for a, b in pairwise(range(0, len(proof) + 1, HASH_BYTES)))
