"""All folds of a node, fed with exactly the entries that count: of members, within cuts, before forks, in their time.

What counts depends on the roster, which comes from the chain of acts, so the chain is fed first and with everything; the
domains get, feed by feed, the prefix that is visible under the roster in force. A prefix that grows is read on from the
store; one that shrinks (a revocation, a fork) rebuilds the domains' folds, since a fold can't forget. What a lone founder
wrote before it moved into this cluster stays out too: its first entry of yielding is where its feed begins to count.

What the cut of a committed close names counts for good: neither a fork nor a revocation nor a yield that comes to light
later takes it back, or who lost a vote could undo it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import msgspec

from agent_core.decisions.fold import DecisionsFold
from agent_core.decisions.model import ClosePayload
from agent_core.election.acts import ACT, ACT_COMMIT, ActKind
from agent_core.election.chain import ActChain
from agent_core.feeds.model import Entry, Fold, Head
from agent_core.hmmm.fold import RoomsFold
from agent_core.identity.signing import Verifier
from agent_core.roster.model import ROSTER_SHARE, ROSTER_YIELD, Roster, ShareData, YieldData
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
        #: By author, its moves from cluster to cluster, by epoch and number.
        self._moves: dict[str, dict[tuple[int, int], YieldData]] = defaultdict(dict)
        #: Authors that show here what they wrote before they came.
        self._shared: set[str] = set()
        #: By feed, the sizes that committed closes' cuts name, with their roots (hex).
        self._named: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
        self._acts_read = 0
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
        self._from: dict[tuple[str, int], int] = {}

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
        if not self._note_cuts() and self.chain.roster is self._roster:
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
        return max(min(limits), self._final(author, epoch)) if limits else None

    def _final(self, author: str, epoch: int) -> int:
        """How much of an epoch committed cuts name, of the history that is held here."""
        named = self._named.get((author, epoch), {})
        for size in sorted(named, reverse=True):
            root = self._source.root_at(author, epoch, size)
            if root is not None and root.hex() == named[size]:
                return size
        return 0

    def forked(self, author: str, epoch: int) -> None:
        """A fork was proven: what was folded beyond the divergence must go."""
        limit = self.visible(author, epoch)
        if limit is not None and self._applied.get((author, epoch), 0) > limit:
            self._read_on()

    def _take_acts(self, entries: Sequence[Entry]) -> bool:
        """Feed the chain and note who moved; returns whether a feed begins or ends to count elsewhere than was known."""
        acts = [e for e in entries if e.header.type in (ACT, ACT_COMMIT)]
        if acts:
            self.chain.apply(acts)
        found = False
        for entry in entries:
            author, epoch, seq = entry.key
            if entry.header.type == ROSTER_YIELD and (moved := entry.data(YieldData)) is not None:
                found |= (epoch, seq) not in self._moves[author]
                self._moves[author][epoch, seq] = moved
            elif entry.header.type == ROSTER_SHARE and (shared := entry.data(ShareData)) is not None:
                found |= shared.cluster == self.cluster_id and author not in self._shared
                if shared.cluster == self.cluster_id:
                    self._shared.add(author)
        return found

    def _note_cuts(self) -> bool:
        """Take in the cuts of closes committed since; whether there were any."""
        acts = self.chain.acts
        closes = [a for a in acts[self._acts_read :] if a.kind == ActKind.DECISION_CLOSE]
        self._acts_read = len(acts)
        for act in closes:
            try:
                payload = msgspec.json.decode(act.payload, type=ClosePayload)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
            for head in payload.cut:
                self._named[head.author, head.epoch][head.size] = head.root
        return bool(closes)

    def _begin(self, author: str, epoch: int) -> int | None:
        """The number from which an epoch counts; nothing for one that lies wholly before the author came here."""
        moved_epoch, moved_seq = min(self._moves.get(author) or [(0, 0)])
        if self._was_here(author) or any(
            a == author and (e < moved_epoch or (e == moved_epoch and min(sizes) <= moved_seq))
            for (a, e), sizes in self._named.items()
        ):
            return 0  # what lies before has decided something already
        if epoch < moved_epoch:
            return None
        return moved_seq if epoch == moved_epoch else 0

    def _was_here(self, author: str) -> bool:
        """Whether what an author wrote before its first move counts: it was of this cluster, or of one that this one replaces."""
        moves = self._moves.get(author)
        return not moves or author in self._shared or moves[min(moves)].old in self.chain.lineage

    def _here(self, entry: Entry) -> bool:
        """Whether its author was of this cluster when it wrote an entry, or the entry has decided something here."""
        author, epoch, seq = entry.key
        moves = self._moves.get(author)
        if not moves:
            return True
        before = [place for place in moves if place <= (epoch, seq)]
        if not before:
            return True  # see :meth:`_begin`
        return moves[max(before)].new in self.chain.lineage or seq < self._final(author, epoch)

    def _read_on(self) -> None:
        """Bring every feed's folded prefix to what is visible now."""
        self._note_cuts()
        self._roster = self.chain.roster
        heads = self._source.heads()
        for head in heads:
            limit, feed = self.visible(head.author, head.epoch), (head.author, head.epoch)
            begins_elsewhere = feed in self._from and self._from[feed] != self._begin(*feed)
            if begins_elsewhere or (limit is not None and self._applied[feed] > limit):
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
            counted = [e for e in ready if self._here(e)] if author in self._moves else ready
            for fold in self._domains:
                fold.apply(counted)
            applied += len(ready)
            self._applied[author, epoch] = applied
            self._from[author, epoch] = begin
            if len(ready) < len(batch):
                return

    @property
    def roster(self) -> Roster | None:
        """The roster in force."""
        return self.chain.roster


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    while batch := list(islice(entries, _BATCH)):
        yield batch
