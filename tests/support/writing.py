"""A cluster in memory for tests of the domains: feeds without signatures, bodies, an appender, a chain, a proposer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType

import msgspec

from agent_core.clock import pack
from agent_core.election.acts import Act
from agent_core.errors import Conflict
from agent_core.feeds.model import Draft, Entry, EntryKey, Fold, Head, Missing, new_header
from agent_core.roster.model import Authority, Kind, Member, Roster
from agent_core.views import ViewContext

CLUSTER = "c1"
START_MS = 1_780_000_000_000


class Feed:
    """One author's entries, as they would be stored. ``bodies`` is shared by all feeds of a test."""

    def __init__(self, author: str, bodies: dict[EntryKey, bytes] | None = None, epoch: int = 0) -> None:
        self.author = author
        self.epoch = epoch
        self.entries: list[Entry] = []
        self._bodies = {} if bodies is None else bodies

    def write(
        self, type: str, data: msgspec.Struct | msgspec.Raw, ms: int = START_MS, body: bytes | None = None, op: str = ""
    ) -> Entry:
        """Append an entry stamped ``ms`` (Unix milliseconds); the counter grows, so that stamps do."""
        return self.place(Draft(type, data, body, op=op), ms)  # type: ignore[arg-type]

    def place(self, draft: Draft, ms: int) -> Entry:
        seq = len(self.entries)
        entry, _ = new_header(draft, author=self.author, epoch=self.epoch, seq=seq, hlc=pack(ms, seq), salt=bytes(16))
        self.entries.append(entry)
        if draft.body is not None:
            self._bodies[entry.key] = draft.body
        return entry

    @property
    def head(self) -> Head:
        return Head(author=self.author, epoch=self.epoch, size=len(self.entries), root="00" * 32)


class FakeChain:
    """Committed acts and rosters as they are put in."""

    def __init__(self, *members: Member) -> None:
        self.committed: list[Act] = []
        self.rosters: dict[int, Roster] = {}
        self.set_roster(0, *members)

    def set_roster(self, version: int, *members: Member) -> None:
        self.rosters[version] = Roster(
            cluster_id=CLUSTER,
            network="test",
            version=version,
            members=MappingProxyType({m.peer_id: m for m in members}),
        )

    @property
    def roster(self) -> Roster | None:
        return self.rosters[max(self.rosters)] if self.rosters else None

    def roster_at(self, version: int) -> Roster | None:
        return self.rosters.get(max((v for v in self.rosters if v <= version), default=-1))

    @property
    def acts(self) -> Sequence[Act]:
        return self.committed

    def roster_of(self, cluster_id: str, version: int) -> Roster | None:
        roster = self.roster_at(version)
        return roster if roster is not None and roster.cluster_id == cluster_id else None

    def commit(self, kind: str, payload: msgspec.Struct, ms: int = START_MS) -> Act:
        number = len(self.committed)
        act = Act(
            number=number,
            term=1,
            hash=f"{number:064x}",
            kind=kind,
            payload=msgspec.Raw(msgspec.json.encode(payload)),
            author="leader",
            epoch=0,
            seq=number,
            hlc=pack(ms),
        )
        self.committed.append(act)
        return act


class Cluster:
    """Members with a feed each, one set of bodies, one time, and folds that see every entry at once."""

    def __init__(self, *members: Member) -> None:
        self.chain = FakeChain(*members)
        self.now_ms = START_MS
        self.stored: dict[EntryKey, bytes] = {}
        self.feeds = {m.peer_id: Feed(m.peer_id, self.stored) for m in members}
        self.folds: list[Fold] = []
        self.appended: Callable[[], None] = lambda: None

    def part(self, key: EntryKey, start: int, end: int) -> bytes | Missing:
        found = self.body(key)
        return found if isinstance(found, Missing) else found[start:end]

    def body(self, key: EntryKey) -> bytes | Missing:
        return self.stored.get(key, Missing.NONE)

    def context(self, me: str) -> ViewContext:
        return ViewContext(me=me, chain=self.chain, bodies=self, now_ms=self.now_ms)

    def heads(self) -> Sequence[Head]:
        return [feed.head for feed in self.feeds.values()]

    def appender(self, me: str) -> FeedAppender:
        return FeedAppender(self, me)


class FeedAppender:
    """Appends to one member's feed: an ``op`` that was used gives its first entry."""

    def __init__(self, cluster: Cluster, me: str) -> None:
        self._cluster = cluster
        self._feed = cluster.feeds[me]

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Entry]:
        placed = []
        for draft in drafts:
            first = self.made(draft.op) if draft.op else None
            if first is not None and first.header.type != draft.type:
                raise Conflict("The operation id was used for something else.")
            placed.append(first or self._feed.place(draft, self._cluster.now_ms))
        for fold in self._cluster.folds:
            fold.apply(placed)
        self._cluster.appended()
        return placed

    def made(self, op: str) -> Entry | None:
        return next((e for e in self._feed.entries if e.header.op == op), None)


def member(peer_id: str, kind: Kind = Kind.AGENT, authority: Authority = Authority.COORDINATION) -> Member:
    """A member called ``agent-<peer id>``."""
    return Member(peer_id=peer_id, agent_id=f"agent-{peer_id}", kind=kind, authority=authority, voter=True)
