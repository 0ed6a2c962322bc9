"""A home whose clock ran ahead goes on: it opens an epoch whose clock starts at the wall, and says again what waits in the old ones.

The first entry of that epoch names from which numbers on the old ones are withdrawn, in a commit of its own; from then on
the withdrawn entries count nowhere (:mod:`agent_core.feeds.withdrawals`). Then each is said again, under an operation id
derived from its place, so that whoever ends in between goes on after its next start and says nothing twice. References to
withdrawn entries are turned to those that say them again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec
import trio

from agent_core.clock import Ahead, HybridClock, ahead_of, pack, rfc3339, unpack
from agent_core.errors import ClockAhead, Refused, TooLarge
from agent_core.feeds.appending import MAX_BATCH, Appending
from agent_core.feeds.heads import FEED_EPOCH, STANDING, EpochData, Withdrawn
from agent_core.feeds.model import MAX_BODY_BYTES, Again, Draft, Entry, EntryKey, Head, Missing
from agent_core.feeds.store import Store
from agent_core.feeds.withdrawals import MAX_WITHDRAWN, again_op
from agent_core.grammar import plural

log = logging.getLogger(__name__)

_DONE = "feeds.renewed"
_HASH = re.compile(rb'"([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a renewal came to."""

    entry: Entry  #: the first one of the new epoch
    said_again: int


class Renewal:
    """Renews this node's own feed.

    Args:
        store: the open store.
        me: this node's peer id.
        clock: stamps entries.
        appending: writes them; what was admitted once isn't judged by SHHH again.
        write: keeps a small value.
    """

    def __init__(
        self,
        store: Store,
        me: str,
        clock: HybridClock,
        appending: Appending,
        write: Callable[[str, bytes], Awaitable[None]],
    ) -> None:
        self._store, self._me, self._clock, self._appending, self._write = store, me, clock, appending, write
        #: How many of an own epoch's first entries are left alone: a committed cut names them, or they count elsewhere only;
        #: nothing for all of them.
        self.leave: Callable[[int], int | None] = lambda epoch: 0
        #: Whether an own entry counts in this home's cluster, so that it is to be said again.
        self.counts: Callable[[Entry], bool] = lambda entry: True
        self._one_at_a_time = trio.Lock()
        self._complete = self._opened() is None or int(store.read(_DONE) or b"-1") >= (store.last_epoch(me) or 0)

    # --- how it stands ------------------------------------------------------------------------------------------------

    @property
    def ahead(self) -> Ahead | None:
        """Whether this home's last entries are stamped ahead of its clock, so that new ones would be held."""
        return ahead_of(self._store.latest_hlc(self._me), self._clock.wall_ms())

    def check(self) -> None:
        """See that what is written now counts now.

        Raises:
            ClockAhead: it wouldn't.
        """
        ahead = self.ahead
        if ahead is not None:
            raise ClockAhead(ahead.sentence, ahead.next)

    def check_wanted(self, confirmed: bool) -> None:
        """See that there is something to renew, and that the person means it.

        Raises:
            Refused: one of the two isn't so; the message says what would be done.
        """
        if self.ahead is None:
            raise Refused(
                "This home's log isn't ahead of its clock, so there is nothing to renew.",
                "`chorus-hap log tail` shows it.",
            )
        if not confirmed:
            found = sum(1 for w in self._plan() for e in self._entries(w) if self._to_say(e))
            entries = plural(found, "entry that is", "entries that are")
            now = rfc3339(self._clock.wall_ms())
            raise Refused(
                f"By this machine's clock it is {now[:19]}Z. If that is right, renewing withdraws {entries} stamped later "
                "and says them again now; their ids change, and nobody else's entries are touched.",
                "If the clock is right, say so with --yes; if it is wrong, set it first.",
            )

    # --- doing it -----------------------------------------------------------------------------------------------------

    async def renew(self, *, op: str = "", via: str = "service", login: str = "") -> Renewed:
        """Open the next epoch and say again there what is withdrawn.

        Raises:
            Refused: this home isn't ahead of its clock.
            StoreError: the disk refuses; what is left is said again later by :meth:`finish`.
        """
        async with self._one_at_a_time:
            await self._finish()
            self.check_wanted(True)

            def first(last: Head | None) -> Draft:
                withdrawn = self._plan()
                data = EpochData(reason="the clock ran ahead", last=last, withdrawn=withdrawn)
                return Draft(FEED_EPOCH, data, self._listed(withdrawn), via, login, op)

            entry = await self._appending.open_epoch(first)
            self._complete = False
            log.warning("feeds: the clock ran ahead: epoch %d is opened", entry.header.epoch)
            return Renewed(entry, await self._finish())

    async def finish(self) -> None:
        """Say again what a renewal left unsaid, as after a crash; at once done when there is nothing.

        Raises:
            StoreError: the disk refuses.
        """
        if not self._complete:
            async with self._one_at_a_time:
                await self._finish()

    async def _finish(self) -> int:
        first = self._opened()
        if self._complete or first is None:
            return 0
        names, said = self._others(), 0
        group: list[Draft] = []
        pending: dict[str, str] = {}  # by operation id, the hash of what it says again
        for old in self._withdrawn_by(first):
            op = again_op(old, first.header.hlc)
            done = self._store.op(op)
            if done is not None:
                names[old.hash.hex()] = done.hash.hex()
                continue
            refers = {found.decode() for found in _HASH.findall(old.header.data)}
            if len(group) >= MAX_BATCH or not refers.isdisjoint(pending.values()):
                said += await self._say(group, pending, names)
            group.append(self._draft(old, op, names))
            pending[op] = old.hash.hex()
        said += await self._say(group, pending, names)
        await self._write(_DONE, str(first.header.epoch).encode())
        self._complete = True
        return said

    async def _say(self, group: list[Draft], pending: dict[str, str], names: dict[str, str]) -> int:
        """Append a group, and know its hashes; the one that doesn't fit any more is left out, and that is said."""
        made: list[Entry] = []
        if group:
            try:
                made += await self._appending.append(group)
            except TooLarge:
                for draft in group:
                    try:
                        made += await self._appending.append([draft])
                    except TooLarge as exc:
                        log.error("feeds: %s could not be said again: %s", draft.again, exc.message)
        for entry in made:
            names[pending[entry.header.op]] = entry.hash.hex()
        group.clear()
        pending.clear()
        return len(made)

    # --- what is withdrawn and said again -----------------------------------------------------------------------------

    def _plan(self) -> tuple[Withdrawn, ...]:
        """What of the own epochs is stamped later than now, without what stays all the same."""
        now, found = pack(self._clock.wall_ms()), []
        for head in self._store.heads():
            leave = self.leave(head.epoch) if head.author == self._me else None
            if leave is None:
                continue
            known = self._store.withdrawn_from(self._me, head.epoch)
            end = head.size if known is None else min(known, head.size)
            seq = max(self._first_after(now, head.epoch, end), leave, min(head.epoch, 1))
            if seq < end:
                found.append(Withdrawn(epoch=head.epoch, seq=seq, size=head.size))
        return tuple(found[-MAX_WITHDRAWN:])

    def _first_after(self, now: str, epoch: int, end: int) -> int:
        """The number of an epoch's first entry that isn't stamped before now; stamps grow within a feed."""
        low = 0
        while low < end:
            middle = (low + end) // 2
            entry = self._store.entry(EntryKey(self._me, epoch, middle))
            if entry is None or entry.header.hlc >= now:
                end = middle
            else:
                low = middle + 1
        return low

    def _opened(self) -> Entry | None:
        """The first entry of the own newest epoch, if it withdraws something."""
        epoch = self._store.last_epoch(self._me)
        first = self._store.entry(EntryKey(self._me, epoch, 0)) if epoch else None
        data = first.data(EpochData) if first is not None and first.header.type == FEED_EPOCH else None
        return first if data is not None and data.withdrawn else None

    def _entries(self, of: Withdrawn) -> Iterator[Entry]:
        return self._store.entries(self._me, of.epoch, of.seq, of.size)

    def _to_say(self, entry: Entry) -> bool:
        return entry.header.type not in STANDING and self.counts(entry)

    def _withdrawn_by(self, first: Entry) -> Iterator[Entry]:
        """The entries to be said again: those that nothing withdrew before."""
        data = first.data(EpochData)
        for of in data.withdrawn if data is not None else ():
            for entry in self._entries(of):
                gone = self._store.withdrew(entry)
                if gone is not None and gone.by == first.header.epoch and self._to_say(entry):
                    yield entry

    def _draft(self, old: Entry, op: str, names: Mapping[str, str]) -> Draft:
        header, body = old.header, self._store.stored_body(old.key)
        kept = None if isinstance(body, Missing) else body.data
        return Draft(
            header.type,
            msgspec.Raw(_HASH.sub(lambda m: f'"{names.get(m[1].decode(), m[1].decode())}"'.encode(), header.data)),
            kept,
            header.via,
            header.login,
            op,
            header.body.content if header.body is not None and kept is not None else 0,
            Again(header.epoch, header.seq),
        )

    def _others(self) -> dict[str, str]:
        """By hash, the withdrawn entries of all authors that are said again, and the hash of what says them again."""
        names: dict[str, str] = {}
        for head in self._store.heads():
            if head.epoch and self._is_renewal(head.author, head.epoch):
                for entry in self._store.entries(head.author, head.epoch, 1):
                    old = self._original(entry)
                    if old is not None:
                        names[old.hash.hex()] = entry.hash.hex()
        return {old: _last(names, new) for old, new in names.items()}

    def _is_renewal(self, author: str, epoch: int) -> bool:
        first = self._store.entry(EntryKey(author, epoch, 0))
        data = first.data(EpochData) if first is not None else None
        return data is not None and bool(data.withdrawn)

    def _original(self, entry: Entry) -> Entry | None:
        """The withdrawn entry that another one says again, if it is held and withdrawn."""
        again = entry.header.again
        if again is None or not 0 <= again.epoch < entry.header.epoch:
            return None
        old = self._store.entry(EntryKey(entry.header.author, again.epoch, again.seq))
        return old if old is not None and self._store.withdrew(old) is not None else None

    def twins(self, key: EntryKey) -> list[EntryKey]:
        """The places of an entry and of all that says it again, or that it says again: purging one purges all."""
        found = [key]
        entry = self._store.entry(key)
        while entry is not None and (entry := self._original(entry)) is not None:
            found.insert(0, entry.key)
        for head in self._store.heads():
            if head.author == key.author and head.epoch > key.epoch and self._is_renewal(head.author, head.epoch):
                for later in self._store.entries(head.author, head.epoch, 1):
                    again = later.header.again
                    if again is not None and EntryKey(key.author, again.epoch, again.seq) in found:
                        found.append(later.key)
        return found

    def _listed(self, withdrawn: tuple[Withdrawn, ...]) -> bytes:
        """The list of what is withdrawn, for people: place, time and type, one a line, as many as a body holds."""
        lines: list[str] = []
        room = MAX_BODY_BYTES - 200
        for of in withdrawn:
            for entry in self._entries(of):
                if entry.header.type in STANDING:
                    continue
                at = rfc3339(unpack(entry.header.hlc)[0])
                line = f"{entry.header.epoch}/{entry.header.seq} {at} {entry.header.type} {entry.id}"
                room -= len(line) + 1
                if room < 0:
                    return "\n".join([*lines, "… and more"]).encode()
                lines.append(line)
        return "\n".join(lines).encode()


def _last(names: Mapping[str, str], hash: str) -> str:
    """Where a chain of entries that say one another again ends."""
    for _ in range(len(names)):
        if hash not in names:
            break
        hash = names[hash]
    return hash
