"""Reading without a node: the store on disk, opened read-only, answers by the same views. Imports no trio, no libp2p."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import msgspec

from agent_core.api.asked import check_texts
from agent_core.api.parts import Sources
from agent_core.api.reading import Reading
from agent_core.api.registry import operation, operations_of
from agent_core.api.requests import ListRequest, Nothing, RoomRequest, TailRequest
from agent_core.api.views import clock_state, held_until
from agent_core.blocks.audit import verify_home
from agent_core.blocks.catalogue import Catalogue
from agent_core.blocks.store import BlockStore
from agent_core.clock import ZERO, HybridClock, ahead_of, rfc3339, unpack, wall_ms
from agent_core.election.views import timeline
from agent_core.errors import InvalidInput, NoNode
from agent_core.feeds.holding import Holding
from agent_core.feeds.store import Store
from agent_core.folds import FoldSet
from agent_core.home import Home
from agent_core.identity.keys import Card, load_card
from agent_core.identity.signing import Ed25519Verifier
from agent_core.roster.model import Authority
from agent_core.shapes import Election, Finding, Status, Verification, Voters
from agent_core.snapshot import PUT_AWAY, SnapshotFile, open_snapshots
from agent_core.version import VERSION
from agent_core.views import ViewContext

#: The durable value that says which cluster a home belongs to: its id, hex.
CLUSTER_KEY = "cluster"
#: More entries than this are folded in a file beside the home, gone at the end, rather than in memory.
MANY_ENTRIES = 20_000


class OfflineReading(Reading):
    """Reading operations on a store that no node has open."""

    def __init__(self, sources: Sources, store: Store, blocks: BlockStore) -> None:
        super().__init__(sources)
        self._store, self._blocks = store, blocks

    @operation("log.verify")
    def log_verify(self, request: Nothing) -> Verification:
        """Check every hash, signature, proof and block in the store anew."""
        return verify_home(self._store, self._blocks, Ed25519Verifier())


_OPERATIONS = operations_of(OfflineReading)


class Offline:
    """A home that no node runs on, as of its newest entry. Use it as a context manager.

    Args:
        home: the home directory.

    Raises:
        NotFound: the home has no store yet.
        StoreError: it can't be read.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self._snapshots: SnapshotFile | None = None
        self._beside: TemporaryDirectory[str] | None = None
        self._store = Store.open(home.store, read_only=True)
        self._blocks = BlockStore.open(home.blocks, read_only=True)
        try:
            self._bodies = Catalogue(self._blocks, self._store)
            self._card = load_card(home.identity)
            self._cluster = (self._store.read(CLUSTER_KEY) or b"").decode("ascii", "replace")
            clock = HybridClock()
            self._holding = Holding(self._store, clock)
            self._folds = self._fold()
            authors = {feed.head.author for feed in self._store.feeds()}
            newest = max((self._store.latest_hlc(author) for author in authors), default=ZERO)
            #: RFC 3339 time of the newest entry, which is now if its stamp is ahead; empty for an empty store.
            self.as_of = rfc3339(min(unpack(newest)[0], clock.wall_ms())) if newest > ZERO else ""
            self._ahead = ahead_of(self._store.latest_hlc(self._card.peer_id), clock.wall_ms())
            self.reading = OfflineReading(self._sources(), self._store, self._blocks)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Offline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _fold(self) -> FoldSet:
        """The folds, from the snapshot that the last node left and what was written since; nothing in the home changes."""
        self._snapshots = open_snapshots(self.home.snapshot, read_only=True)
        folds = self._folds_on(self._snapshots)
        if folds.behind and folds.left > MANY_ENTRIES:
            # Too much for memory: there is no snapshot, or none that can be taken.
            self._snapshots.close()
            self._beside = TemporaryDirectory(prefix="chorus-hap-")
            self._snapshots = open_snapshots(Path(self._beside.name) / self.home.snapshot.name)
            folds = self._folds_on(self._snapshots)
        while folds.step(1000):
            if self._beside is not None and self._snapshots.waiting >= PUT_AWAY:
                for _ in self._snapshots.put_away(folds.snapshot()):
                    pass
                self._snapshots.commit()
                self._snapshots.put_down()
        return folds

    def _folds_on(self, snapshots: SnapshotFile) -> FoldSet:
        return FoldSet(
            self._cluster, Ed25519Verifier(), self._store, self._holding.held, snapshots=snapshots, in_steps=True
        )

    def _close(self) -> None:
        if self._snapshots is not None:
            self._snapshots.close()
        if self._beside is not None:
            self._beside.cleanup()
        self._store.close()
        self._blocks.close()

    def call(self, name: str, **params: Any) -> Any:
        """Answer a reading operation, as its shape.

        Args:
            name: the operation.
            params: its parameters, plain data or shapes.

        Raises:
            NoNode: it isn't one that can be answered without a node.
            InvalidInput: the parameters can't be read.
            ChorusError: as the operation.
        """
        found = _OPERATIONS.get(name)
        if found is None:
            raise NoNode(f"{name} needs a running node, and none runs on {self.home.root}.", "Start one: `chorus-hap`.")
        try:
            request = msgspec.convert(params, found.request, from_attributes=True)
        except msgspec.ValidationError as exc:
            raise InvalidInput(f"The parameters of {name} can't be read: {exc}.", found.summary) from exc
        check_texts(request, name)
        return getattr(self.reading, found.method)(request)

    def slices(self, names: Iterable[str]) -> dict[str, Any]:
        """The values of slices as the store has them, and ``as_of``; ones that need a node are left out."""
        reading = self.reading
        nothing = Nothing()
        known: dict[str, Callable[[], Any]] = {
            "status": lambda: reading.status(nothing),
            "election": lambda: reading.election_show(nothing),
            "members": lambda: reading.members(nothing),
            "rooms": lambda: reading.hmmm_rooms(nothing),
            "decisions": lambda: reading.decisions_list(nothing),
            "ucxl": lambda: reading.ucxl_ls(ListRequest()),
            "attention": lambda: reading.attention(nothing),
            "log": lambda: reading.log_tail(TailRequest(limit=200)),
        }
        values: dict[str, Any] = {"as_of": self.as_of}
        for name in names:
            prefix, _, key = name.partition(":")
            if prefix == "room" and key:
                values[name] = reading.room(RoomRequest(room=key))
            elif name in known:
                values[name] = known[name]()
        return values

    def _sources(self) -> Sources:
        return Sources(
            status=self._status,
            election=self._election,
            peers=tuple,
            context=self._context,
            folds=self._folds,
            entries=self._store,
            findings=_findings,
        )

    def _context(self) -> ViewContext:
        return ViewContext(
            me=self._card.peer_id,
            chain=self._folds.chain,
            bodies=self._bodies,
            now_ms=wall_ms(),
            held=self._folds.folded,
            waiting=self._holding,
        )

    def _voters(self) -> Voters:
        roster = self._folds.roster
        return Voters(total=len(roster.voters), quorum=roster.quorum) if roster else Voters()

    def _term(self) -> int:
        committed = self._folds.chain.committed
        return committed[-1].term if committed else 0

    def _status(self) -> Status:
        card: Card = self._card
        roster = self._folds.roster
        member = roster.get(card.peer_id) if roster else None
        return Status(
            peer_id=card.peer_id,
            agent_id=member.agent_id if member else "",
            role=member.role if member else "",
            kind=card.kind.value,
            authority=(member.authority if member else Authority.READ_ONLY).value,
            network=roster.network if roster else "",
            cluster_id=self._cluster,
            policy=roster.policy.value if roster else "",
            leader=None,
            term=self._term(),
            state="offline",
            stage="offline",
            voters=self._voters(),
            peers=0,
            addresses=(),
            entries=self._store.entry_count,
            uptime_s=0.0,
            version=VERSION,
            home=str(self.home.root),
            mode="offline",
            voter=member is not None and member.voter,
            lone=roster is not None and sum(m.active for m in roster.members.values()) == 1,
            offline=True,
            as_of=self.as_of,
            notes=() if self._ahead is None else (self._ahead.sentence,),
            ahead=clock_state(self._ahead),
            held=self._holding.count,
            held_until=held_until(self._holding),
        )

    def _election(self) -> Election:
        chain = self._folds.chain
        number = chain.tip_number
        terms = timeline(chain.timeline(), self._context())
        led = next((t for t in terms if t.certified), None)
        last = f" The last leader in this store is {led.leader}, of term {led.term}." if led else ""
        return Election(
            leader=None,
            term=self._term(),
            state="offline",
            heartbeat_s=0.0,
            timeout_s=0.0,
            voters=self._voters(),
            ballots=(),
            timeline=terms,
            last_act=number,
            committed_act=number,
            why=f"No node runs on this home, so nobody here knows who leads now.{last}",
        )


def _findings(text: str) -> tuple[Finding, ...]:
    from agent_core.shhh.engine import builtin

    return builtin().find(text)
