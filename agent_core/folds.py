"""All folds of a node, fed with exactly the entries that count: of members, within cuts, before forks, in their time.

What counts depends on the roster, which comes from the chain of acts, so the chain is fed first and with everything; the
domains get, feed by feed, the prefix that is visible under the roster in force. A prefix that grows is read on from the
store; one that shrinks (a revocation, a fork) rebuilds the domains' folds, since a fold can't forget. What a lone founder
wrote before it moved into this cluster stays out too: its entry of yielding is where its feed begins to count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from agent_core.decisions.fold import DecisionsFold
from agent_core.election.acts import ACT, ACT_COMMIT
from agent_core.election.chain import ActChain
from agent_core.feeds.model import Entry, Fold, Head
from agent_core.hmmm.fold import RoomsFold
from agent_core.identity.signing import Verifier
from agent_core.roster.model import ROSTER_YIELD, Roster, YieldData
from agent_core.ucxl.fold import UcxlFold

_BATCH = 1000


class EntrySource(Protocol):
    """Where stored entries are read: the store, live or read-only."""

    def heads(self) -> Sequence[Head]:
        """Every epoch of every feed held, with its size."""
        ...

    def entries(self, author: str, epoch: int, start: int = 0, end: int | None = None) -> Iterator[Entry]:
        """Entries by number, in bounded memory."""
        ...

    def fork_limit(self, author: str, epoch: int) -> int | None:
        """Where a proven fork diverges, if there is one."""
        ...

    def root_at(self, author: str, epoch: int, size: int) -> bytes | None:
        """The Merkle root over an epoch's first entries."""
        ...


class FoldSet:
    """The chain of acts and the domains' folds over one store.

    Args:
        cluster_id: whose acts count; empty while the home belongs to none: then nothing is folded.
        verifier: checks the acts' acknowledgements.
        source: the store.
        held: whether an entry's time hasn't come yet.
    """

    def __init__(
        self,
        cluster_id: str,
        verifier: Verifier,
        source: EntrySource,
        held: Callable[[Entry], bool] = lambda entry: False,
    ) -> None:
        self._source = source
        self._held = held
        self.chain = ActChain(cluster_id, verifier)
        self._floors: dict[str, tuple[int, int]] = {}
        self._roster: Roster | None = None
        self._clear_domains()
        if cluster_id:
            self._fold_all()

    @property
    def cluster_id(self) -> str:
        """Whose acts count; empty while the home belongs to none."""
        return self.chain.cluster_id

    def _clear_domains(self) -> None:
        self.rooms = RoomsFold()
        self.decisions = DecisionsFold()
        self.ucxl = UcxlFold()
        self._applied: dict[tuple[str, int], int] = defaultdict(int)

    @property
    def _domains(self) -> tuple[Fold, ...]:
        return (self.rooms, self.decisions, self.ucxl)

    def _fold_all(self) -> None:
        for head in self._source.heads():
            for batch in _batches(self._source.entries(head.author, head.epoch)):
                self._take_acts(batch)
        self._read_on()

    def apply(self, entries: Sequence[Entry]) -> None:
        """Take in entries that were just stored; ``entries`` may be of several feeds, each in its order."""
        if not self.cluster_id:
            return
        if self._take_acts(entries):
            self._clear_domains()
            self._read_on()
            return
        if self.refresh():
            return
        touched = {(e.header.author, e.header.epoch) for e in entries}
        for author, epoch in touched:
            fresh = [e for e in entries if (e.header.author, e.header.epoch) == (author, epoch)]
            self._extend(author, epoch, fresh)

    def refresh(self) -> bool:
        """Follow a roster that changed, by entries or by what the election's streams brought; whether it had."""
        if self.chain.roster is self._roster:
            return False
        self._read_on()
        return True

    def folded(self, author: str, epoch: int) -> int:
        """How many entries of a feed's epoch are in the domains' folds; what lies before the author came here counts."""
        return self._applied.get((author, epoch), 0)

    def heads(self) -> list[Head]:
        """What is folded of every feed, for a cut: it may name nothing else."""
        return [
            Head(author=author, epoch=epoch, size=size, root=root.hex())
            for (author, epoch), size in self._applied.items()
            if size and (root := self._source.root_at(author, epoch, size)) is not None
        ]

    def visible(self, author: str, epoch: int) -> int | None:
        """How many entries of a feed's epoch count: nothing for all of them, 0 for none."""
        roster = self.chain.roster
        member = roster.get(author) if roster else None
        if member is None:
            return 0
        limits = [limit for limit in (self._source.fork_limit(author, epoch),) if limit is not None]
        if member.revoked is not None:
            limits.append(next((h.size for h in member.revoked if h.epoch == epoch), 0))
        return min(limits) if limits else None

    def forked(self, author: str, epoch: int) -> None:
        """A fork was proven: what was folded beyond the divergence must go."""
        limit = self._source.fork_limit(author, epoch)
        if limit is not None and self._applied.get((author, epoch), 0) > limit:
            self._clear_domains()
            self._read_on()

    def _take_acts(self, entries: Sequence[Entry]) -> bool:
        """Feed the chain and note who moved here; returns whether what was folded already must go."""
        acts = [e for e in entries if e.header.type in (ACT, ACT_COMMIT)]
        if acts:
            self.chain.apply(acts)
        raised = False
        for entry in entries:
            moved = entry.data(YieldData) if entry.header.type == ROSTER_YIELD else None
            if moved is None or moved.new != self.cluster_id:
                continue
            author, epoch, seq = entry.key
            if (epoch, seq) > self._floors.get(author, (-1, -1)):
                self._floors[author] = (epoch, seq)
                raised |= any(n for (a, e), n in self._applied.items() if a == author and (e < epoch or n))
        return raised

    def _begin(self, author: str, epoch: int) -> int | None:
        """The number from which an epoch counts; nothing for one that lies wholly before the author came here."""
        floor_epoch, floor_seq = self._floors.get(author, (0, 0))
        if epoch < floor_epoch:
            return None
        return floor_seq if epoch == floor_epoch else 0

    def _read_on(self) -> None:
        """Bring every feed's folded prefix to what is visible now."""
        self._roster = self.chain.roster
        heads = self._source.heads()
        for head in heads:
            limit = self.visible(head.author, head.epoch)
            if limit is not None and self._applied[head.author, head.epoch] > limit:
                self._clear_domains()
                break
        for head in heads:
            self._extend(head.author, head.epoch, ())

    def _extend(self, author: str, epoch: int, fresh: Sequence[Entry]) -> None:
        limit, begin = self.visible(author, epoch), self._begin(author, epoch)
        if begin is None:
            return
        applied = max(begin, self._applied[author, epoch])
        if limit is not None and limit <= applied:
            return
        contiguous = bool(fresh) and fresh[0].header.seq == applied
        entries: Iterable[Entry] = fresh if contiguous else self._source.entries(author, epoch, applied, limit)
        for batch in _batches(iter(entries)):
            ready = []
            for entry in batch:
                if (limit is not None and entry.header.seq >= limit) or self._held(entry):
                    break
                ready.append(entry)
            for fold in self._domains:
                fold.apply(ready)
            applied += len(ready)
            self._applied[author, epoch] = applied
            if len(ready) < len(batch):
                return

    @property
    def roster(self) -> Roster | None:
        """The roster in force."""
        return self.chain.roster


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    while batch := list(islice(entries, _BATCH)):
        yield batch
