"""Turning drafts into the next entries of this node's own feed: numbers, stamps, salts, operations, the signed tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agent_core.clock import Hlc, HybridClock
from agent_core.errors import Conflict, TooLarge, VerificationFailed
from agent_core.feeds import checkpoint as checkpoints
from agent_core.feeds.epochs import Place
from agent_core.feeds.heads import FEED_EPOCH, EpochData
from agent_core.feeds.merkle import Frontier
from agent_core.feeds.model import SALT_BYTES, Body, Draft, Entry, Head, new_header
from agent_core.feeds.ranges import Extension
from agent_core.feeds.store import Store
from agent_core.identity.signing import Signer


@dataclass(slots=True, eq=False)
class Pending:
    """One caller's drafts on their way into a commit."""

    drafts: Sequence[Draft]
    entries: list[Entry] = field(default_factory=list)
    error: Exception | None = None
    done: bool = False


class Writer:
    """Prepares commits; one at a time, since each builds on the one stored before."""

    def __init__(self, store: Store, signer: Signer, clock: HybridClock, place: Place) -> None:
        self._store, self._signer, self._clock, self._place = store, signer, clock, place

    def prepare(self, batch: Sequence[Pending]) -> Extension | None:
        """Make the entries of a commit and sign the tree they lead to.

        A caller whose drafts can't be placed gets its error and has no part in it. A draft whose operation made an entry
        before gets that entry.

        Returns:
            What to store; nothing when there is nothing new.
        """
        epoch = self._place.epoch
        frontier = self._store.frontier(self._signer.peer_id, epoch)
        start = frontier.size
        entries: list[Entry] = []
        bodies: list[Body | None] = []
        if self._place.opening:
            entries, bodies = self._make([Draft(FEED_EPOCH, self._epoch_data())], epoch, start)
        least = len(entries)
        ops: dict[str, Entry] = {}
        for pending in batch:
            try:
                fresh, result = self._fresh(pending.drafts, ops)
                made, with_bodies = self._make(fresh, epoch, start + len(entries))
            except Exception as exc:  # whatever is wrong with one caller's drafts is that caller's
                pending.error = exc
                continue
            entries += made
            bodies += with_bodies
            pending.entries = [made[found] if isinstance(found, int) else found for found in result]
            ops |= {draft.op: entry for draft, entry in zip(fresh, made, strict=True) if draft.op}
        self._clock.settle()
        if len(entries) == least:
            return None
        nodes = [frontier.append(entry.hash) for entry in entries]
        signed = checkpoints.sign(self._signer, epoch, frontier.size, frontier.root())
        return Extension(self._signer.peer_id, epoch, start, entries, bodies, nodes, frontier, signed)

    def open_epoch(self, make: Callable[[Head | None], Draft]) -> Extension:
        """Make the first entry of the next epoch, whose clock starts at the wall.

        Args:
            make: gives the entry, told the last head known.
        """
        me = self._signer.peer_id
        epoch = self._place.epoch + (0 if self._place.opening else 1)
        draft = make(self._last_head())
        self._clock.settle()
        entries, bodies = self._make([draft], epoch, 0)
        frontier = Frontier()
        nodes = [frontier.append(entries[0].hash)]
        signed = checkpoints.sign(self._signer, epoch, 1, frontier.root())
        return Extension(me, epoch, 0, entries, bodies, nodes, frontier, signed)

    def _fresh(
        self, drafts: Sequence[Draft], ops: Mapping[str, Entry]
    ) -> tuple[Sequence[Draft], Sequence[Entry | int]]:
        """One caller's drafts that are to become entries; and for each of its drafts the place among them, or an older entry."""
        if not any(draft.op for draft in drafts):
            return drafts, range(len(drafts))
        fresh: list[Draft] = []
        places: dict[str, int] = {}  # where in ``fresh`` an operation is
        result: list[Entry | int] = []
        for draft in drafts:
            found = self._first_of(draft, ops, fresh, places) if draft.op else None
            if found is None:
                found = places[draft.op] = len(fresh)
                fresh.append(draft)
            result.append(found)
        return fresh, result

    def _first_of(
        self, draft: Draft, ops: Mapping[str, Entry], fresh: Sequence[Draft], places: Mapping[str, int]
    ) -> Entry | int | None:
        """The entry that the draft's operation made already, in this commit or before, or the place of its draft."""
        place = places.get(draft.op)
        found = ops.get(draft.op) or self._store.op(draft.op) if place is None else None
        type_ = found.header.type if found else draft.type if place is None else fresh[place].type
        if type_ != draft.type:
            raise Conflict(
                f"The operation id {draft.op} was used for {type_} before, not for {draft.type}.",
                "Use a new operation id for another operation.",
            )
        return found if place is None else place

    def _make(self, drafts: Sequence[Draft], epoch: int, seq: int) -> tuple[list[Entry], list[Body | None]]:
        me, salts = self._signer.peer_id, os.urandom(SALT_BYTES * len(drafts))
        entries: list[Entry] = []
        bodies: list[Body | None] = []
        try:
            for n, (draft, hlc) in enumerate(zip(drafts, self._stamps(epoch, len(drafts)), strict=True)):
                salt = salts[n * SALT_BYTES : (n + 1) * SALT_BYTES]
                entry, body = new_header(draft, author=me, epoch=epoch, seq=seq + n, hlc=hlc, salt=salt)
                entries.append(entry)
                bodies.append(body)
        except VerificationFailed as exc:
            raise TooLarge(exc.message, "Use fewer or shorter citations, mentions or options.") from exc
        return entries, bodies

    def _stamps(self, epoch: int, count: int) -> list[Hlc]:
        """The next stamps of an epoch: above its last one, however far ahead of the wall that is."""
        return self._clock.take(count, self._store.stamp(self._signer.peer_id, epoch))

    def _epoch_data(self) -> EpochData:
        return EpochData(reason=self._place.restored or "the epoch before is closed", last=self._last_head())

    def _last_head(self) -> Head | None:
        me = self._signer.peer_id
        last = self._store.last_epoch(me)
        return None if last is None else self._store.head(me, last)
