"""All folds of a node, fed with exactly the entries that count: of members, within cuts, before forks, in their time.

What counts depends on the roster, which comes from the chain of acts, so the chain is fed first and with everything; the
domains get, feed by feed, the prefix that is visible under the roster in force. A prefix that grows is read on from the
store; one that shrinks (a revocation, a fork) rebuilds the domains' folds, since a fold can't forget. What a lone founder
wrote before it moved into this cluster stays out too: its first entry of yielding is where its feed begins to count.

The domains' state is kept in maps that a node puts away on disk now and then (:mod:`agent_core.snapshot`), with the prefix of
every feed that went in. At a start it is taken back if it agrees with the store and with what is visible now; what came
since is read on. A node reads long stretches bit by bit (:meth:`FoldSet.step`), so that it answers meanwhile.

An author that renewed its log withdrew what a clock that ran ahead had stamped; from there on that epoch doesn't count.

What the cut of a committed close names counts for good: neither a fork nor a revocation nor a yield that comes to light
later takes it back, nor does a stamp ahead of the clock hold it back, or who lost a vote could undo it.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import msgspec

from agent_core.decisions.fold import DecisionsFold
from agent_core.decisions.model import ClosePayload
from agent_core.election.acts import ACT, ACT_COMMIT, ActKind
from agent_core.election.chain import ActChain
from agent_core.errors import ChorusError
from agent_core.feeds.heads import FEED_EPOCH
from agent_core.feeds.model import Entry, Fold, Head
from agent_core.feeds.withdrawals import Withdrawal
from agent_core.hmmm.fold import RoomsFold
from agent_core.identity.signing import Verifier
from agent_core.kept import NoSnapshots, Snapshots
from agent_core.roster.fold import RevokePayload, read
from agent_core.roster.model import ROSTER_SHARE, ROSTER_YIELD, Member, Roster, ShareData, YieldData
from agent_core.ucxl.fold import UcxlFold

log = logging.getLogger(__name__)

_BATCH = 1000


class EntrySource(Protocol):
    """Where stored entries are read: the store, live or read-only."""

    def heads(self) -> Sequence[Head]:
        """Every epoch of every feed held, with its size."""
        ...

    def entries(self, author: str, epoch: int, start: int = 0, end: int | None = None) -> Iterator[Entry]:
        """Entries by number, in bounded memory."""
        ...

    def size(self, author: str, epoch: int) -> int:
        """How many entries of an epoch are held."""
        ...

    def fork_limit(self, author: str, epoch: int) -> int | None:
        """Where a proven fork diverges, if there is one."""
        ...

    def withdrawals(self, author: str, epoch: int) -> Sequence[Withdrawal]:
        """What later epochs of the author withdraw of an epoch."""
        ...

    def root_at(self, author: str, epoch: int, size: int) -> bytes | None:
        """The Merkle root over an epoch's first entries."""
        ...

    def settling(self) -> Iterator[Entry]:
        """The entries that say which entries count, each feed's in its order: acts, their commits, moves."""
        ...


class _Folded(msgspec.Struct, frozen=True, array_like=True):
    """A feed's prefix that is folded: from where on, how much, and the root over it."""

    author: str
    epoch: int
    begin: int
    size: int
    root: bytes


class _Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """What went into the domains' folds."""

    cluster: str
    moves: bytes  #: a digest of who moved where
    feeds: tuple[_Folded, ...]


#: The names of the folds' maps.
FOLDS = ("rooms", "decisions", "ucxl")
#: A stretch that is longer is left to :meth:`FoldSet.step`, where there is somebody who calls it.
_AT_ONCE = 500


class FoldSet:
    """The chain of acts and the domains' folds over one store.

    Args:
        cluster_id: whose acts count; empty while the home belongs to none: then nothing is folded.
        verifier: checks the acts' acknowledgements.
        source: the store.
        held: whether an entry's time hasn't come yet.
        snapshots: where the domains' state is kept; in memory if not given.
        in_steps: leave what takes long to :meth:`step`.
    """

    def __init__(
        self,
        cluster_id: str,
        verifier: Verifier,
        source: EntrySource,
        held: Callable[[Entry], bool] = lambda entry: False,
        snapshots: Snapshots | None = None,
        *,
        in_steps: bool = False,
    ) -> None:
        self._source = source
        self._held = held
        self._snapshots: Snapshots = snapshots if snapshots is not None else NoSnapshots()
        self._in_steps = in_steps
        #: Feeds that are to be read on by :meth:`step`.
        self._behind: set[tuple[str, int]] = set()
        self.chain = ActChain(cluster_id, verifier)
        #: By author, its moves from cluster to cluster, by epoch and number.
        self._moves: dict[str, dict[tuple[int, int], YieldData]] = defaultdict(dict)
        #: Authors that show here what they wrote before they came.
        self._shared: set[str] = set()
        #: By feed, the sizes that committed closes' cuts name, with their roots (hex).
        self._named: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
        #: By author, the sizes by epoch that its newest eviction names.
        self._evicted: dict[str, dict[int, int]] = {}
        self._acts_read = 0
        self._roster: Roster | None = None
        self._empty_domains()
        if cluster_id:
            self._start()

    @property
    def cluster_id(self) -> str:
        """Whose acts count; empty while the home belongs to none."""
        return self.chain.cluster_id

    def _clear_domains(self) -> None:
        self._snapshots.clear()
        self._empty_domains()

    def _empty_domains(self) -> None:
        self._make_domains()
        self._applied: dict[tuple[str, int], int] = defaultdict(int)
        self._from: dict[tuple[str, int], int] = {}
        self._behind.clear()

    def _make_domains(self) -> None:
        rooms, decisions, ucxl = map(self._snapshots.kept, FOLDS)
        self.rooms = RoomsFold(rooms)
        self.decisions = DecisionsFold(decisions)
        self.ucxl = UcxlFold(ucxl)

    @property
    def _domains(self) -> tuple[Fold, ...]:
        return (self.rooms, self.decisions, self.ucxl)

    def _start(self) -> None:
        for batch in _batches(self._source.settling()):
            self._take_acts(batch)
        self._note_acts()
        self._take_back()
        self._read_on()

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """What is in the domains' folds now, to be kept with their maps."""
        feeds = tuple(
            _Folded(author, epoch, self._from[author, epoch], size, root)
            for (author, epoch), size in sorted(self._applied.items())
            if size and (root := self._source.root_at(author, epoch, size)) is not None
        )
        return msgspec.msgpack.encode(_Snapshot(self.cluster_id, self._moves_digest(), feeds))

    def _take_back(self) -> None:
        """Go on from the snapshot, unless it tells another story than the store."""
        try:
            raw = self._snapshots.read()
            why = "" if raw is None else self._agree(msgspec.msgpack.decode(raw, type=_Snapshot))
            if raw is not None and not why:
                self._make_domains()  # what is in memory whole is read here
        except (msgspec.MsgspecError, ChorusError) as exc:
            why = str(exc)
        if why:
            log.warning("the folds' snapshot is thrown away, since %s: the feeds are folded anew", why)
            self._clear_domains()

    def _agree(self, kept: _Snapshot) -> str:
        """Take the sizes that a snapshot names; returns why it can't be taken, if so."""
        if kept.cluster != self.cluster_id:
            return "it is another cluster's"
        if kept.moves != self._moves_digest():
            return "it was known otherwise who moved here"
        for feed in kept.feeds:
            limit = self.visible(feed.author, feed.epoch)
            if self._source.root_at(feed.author, feed.epoch, feed.size) != feed.root:
                return "the store holds another history"
            if (limit is not None and feed.size > limit) or feed.begin != self._begin(feed.author, feed.epoch):
                return "less counts now"
            if self._waits_again(feed.author, feed.epoch, feed.size):
                return "the clock was put back, and some of it waits for its time again"
        for feed in kept.feeds:
            self._applied[feed.author, feed.epoch] = feed.size
            self._from[feed.author, feed.epoch] = feed.begin
        return ""

    def _moves_digest(self) -> bytes:
        moves = sorted((author, sorted((p, m.old, m.new) for p, m in by.items())) for author, by in self._moves.items())
        return hashlib.sha256(repr((moves, sorted(self._shared))).encode()).digest()

    # --- in steps -----------------------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """How much of what counts is folded, from 0 to 1."""
        left, done = self.left, sum(self._applied.values())
        return min(done / (done + left), 0.99) if left else 1.0

    @property
    def left(self) -> int:
        """How many entries :meth:`step` has to read, about."""
        return sum(max(0, self._source.size(*feed) - self._applied[feed]) for feed in self._behind)

    @property
    def behind(self) -> bool:
        """Whether there is something left for :meth:`step`."""
        return bool(self._behind)

    def step(self, entries: int) -> bool:
        """Read on, at most so many entries; whether there is more to do.

        Raises:
            StoreError: the store or the snapshot can't be read.
        """
        for author, epoch in sorted(self._behind):
            before = self._applied[author, epoch]
            self._extend(author, epoch, (), most=entries)
            if self._applied[author, epoch] - before < entries:
                self._behind.discard((author, epoch))
            break
        return bool(self._behind)

    def rebuild(self) -> None:
        """Fold everything anew: what was kept can't be read."""
        self._clear_domains()
        self._read_on()

    def apply(self, entries: Sequence[Entry]) -> None:
        """Take in entries that were just stored; ``entries`` may be of several feeds, each in its order."""
        if not self.cluster_id:
            return
        if self._take_acts(entries) or any(e.header.type == FEED_EPOCH for e in entries):
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
        if not self._note_acts() and self.chain.roster is self._roster:
            return False
        self._read_on()
        return True

    def put_back(self) -> None:
        """The wall was put back: what is folded and waits for its time again must go."""
        if any(self._waits_again(author, epoch, size) for (author, epoch), size in list(self._applied.items())):
            self._clear_domains()
            self._read_on()

    def _waits_again(self, author: str, epoch: int, size: int) -> bool:
        """Whether the last of an epoch's first entries is held: its author's stamps grow, so it is the first to be."""
        if size <= self._final(author, epoch):
            return False
        last = next(self._source.entries(author, epoch, size - 1, size), None)
        return last is not None and self._held(last)

    def leave(self, author: str, epoch: int) -> int | None:
        """How many of an epoch's first entries no renewal may withdraw: they decided something, or don't count here.

        Returns:
            Nothing for all of them.
        """
        begin = self._begin(author, epoch)
        return None if begin is None else max(begin, self._final(author, epoch))

    def counts_here(self, entry: Entry) -> bool:
        """Whether its author was of this cluster when it wrote an entry, or shows it here since."""
        begin = self._begin(entry.header.author, entry.header.epoch)
        return begin is not None and entry.header.seq >= begin and self._here(entry)

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
        limits = self._ends(member, epoch)
        limits += [w.seq for w in self._source.withdrawals(author, epoch) if 0 not in self._ends(member, w.by)]
        return max(min(limits), self._final(author, epoch)) if limits else None

    def _ends(self, member: Member, epoch: int) -> list[int]:
        """Where an epoch ends by a fork or by a revocation."""
        fork = self._source.fork_limit(member.peer_id, epoch)
        limits = [] if fork is None else [fork]
        if member.revoked is not None:
            limits.append(next((h.size for h in member.revoked if h.epoch == epoch), 0))
        return limits

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

    def _note_acts(self) -> bool:
        """Take in the cuts of closes committed since, and what evictions leave standing; whether there were any closes."""
        acts = self.chain.acts
        fresh, self._acts_read = acts[self._acts_read :], len(acts)
        closes = [act for act in fresh if act.kind == ActKind.DECISION_CLOSE]
        for act in closes:
            close = read(act.payload, ClosePayload)
            for head in close.cut if close is not None else ():
                self._named[head.author, head.epoch][head.size] = head.root
        for act in fresh:
            gone = read(act.payload, RevokePayload) if act.kind == ActKind.MEMBER_EVICT else None
            if gone is not None:
                self._evicted[gone.peer_id] = {head.epoch: head.size for head in gone.heads}
        return bool(closes)

    @property
    def moved_out(self) -> dict[str, str]:
        """Members whose last move that concerns this cluster leads out of it, by peer id, and the cluster they went to.

        A move that an eviction has answered is not held against who was admitted again since: the entry that says of its
        coming back may still be on its way.
        """
        roster, lineage = self.chain.roster, self.chain.lineage
        gone: dict[str, str] = {}
        for author, moves in self._moves.items():
            last = max((place for place, m in moves.items() if m.old in lineage or m.new in lineage), default=None)
            if last is None or moves[last].new in lineage or roster is None or not roster.is_member(author):
                continue
            epoch, seq = last
            if seq >= self._evicted.get(author, {}).get(epoch, 0):
                gone[author] = moves[last].new
        return gone

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
        self._note_acts()
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

    def _extend(self, author: str, epoch: int, fresh: Sequence[Entry], most: int = 0) -> None:
        """Read on in a feed.

        Args:
            fresh: the entries that were stored just now.
            most: how many to read at most; 0 for all, but a long stretch is left to :meth:`step`.
        """
        limit, begin = self.visible(author, epoch), self._begin(author, epoch)
        if begin is None:
            return
        applied = max(begin, self._applied[author, epoch])
        if limit is not None and limit <= applied:
            return
        contiguous = bool(fresh) and fresh[0].header.seq == applied
        end = limit
        if most:
            end = applied + most if limit is None else min(limit, applied + most)
        elif self._in_steps and not contiguous and self._source.size(author, epoch) - applied > _AT_ONCE:
            self._behind.add((author, epoch))
            return
        entries: Iterable[Entry] = fresh if contiguous else self._source.entries(author, epoch, applied, end)
        final = self._final(author, epoch)
        for batch in _batches(iter(entries)):
            ready = []
            for entry in batch:
                seq = entry.header.seq
                if (limit is not None and seq >= limit) or (seq >= final and self._held(entry)):
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
