"""Clusters for roster tests: a shared book of acts in place of feeds and elections, on the simulated network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio

from agent_core.clock import ZERO
from agent_core.election.acts import Act, ActKind
from agent_core.errors import NoQuorum, NotLeader
from agent_core.feeds.model import Draft, Entry
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier
from agent_core.roster.fold import GenesisPayload, after
from agent_core.roster.model import Kind, Lost, Member, Policy, Roster, VoterUse
from agent_core.roster.service import RosterService
from agent_core.roster.settings import Applicant, RosterSettings
from agent_core.simulated.world import SimulatedWorld


def act(number: int, kind: str, payload: msgspec.Struct | bytes, hash: str = "") -> Act:
    """A committed act."""
    raw = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    return Act(
        number=number,
        term=1,
        hash=hash or f"{number:064x}",
        kind=kind,
        payload=msgspec.Raw(raw),
        author="a",
        epoch=0,
        seq=number,
        hlc=ZERO,
    )


@dataclass
class Book:
    """The committed acts of one cluster, and who leads it."""

    leader: str
    acts: list[Act]
    stuck: bool = False  #: no majority can be reached

    @property
    def committed(self) -> Sequence[Act]:
        return self.acts

    @property
    def roster(self) -> Roster | None:
        roster: Roster | None = None
        for one in self.acts:
            roster = after(roster, one)
        return roster

    def roster_at(self, version: int) -> Roster | None:
        roster: Roster | None = None
        for one in self.acts[: version + 1]:
            roster = after(roster, one)
        return roster

    def roster_of(self, cluster_id: str, version: int) -> Roster | None:
        roster = self.roster_at(version)
        return roster if roster is not None and roster.cluster_id == cluster_id else None


@dataclass
class Home:
    """A node's disk and surroundings; survives a restart of its service."""

    clusters: Clusters
    peer_id: str
    signer: Ed25519Signer
    disk: dict[str, bytes] = field(default_factory=dict)
    written: list[Draft] = field(default_factory=list)
    bound: list[str] = field(default_factory=list)
    moved_out: dict[str, str] = field(default_factory=dict)  #: what the members' feeds say of their moves
    doubt: str = ""  #: mark of a loss of memory
    hidden: bool = False  #: the acts of others don't get here

    def chain(self) -> Book | None:
        book = self.clusters.books.get(self.bound[-1] if self.bound else self.disk.get("cluster", b"").decode())
        return None if book is None or (self.hidden and book.leader != self.peer_id) else book

    # Durable
    def read(self, key: str) -> bytes | None:
        return self.disk.get(key)

    async def write(self, key: str, value: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.disk[key] = value

    # Appender
    async def append(self, drafts: Sequence[Draft]) -> Sequence[Entry]:
        await trio.lowlevel.checkpoint()
        self.written.extend(drafts)
        return ()

    # Proposer
    @property
    def leading(self) -> bool:
        book = self.chain()
        return book is not None and book.leader == self.peer_id

    async def propose(self, kind: str, payload: msgspec.Struct) -> Act:
        await trio.sleep(0.05)
        book = self.chain()
        if book is None or book.leader != self.peer_id:
            raise NotLeader("This node doesn't lead.")
        if book.stuck:
            raise NoQuorum("No majority acknowledged.")
        book.acts.append(act(len(book.acts), kind, payload))
        return book.acts[-1]

    # Election
    def leader(self) -> str:
        book = self.chain()
        return book.leader if book else ""

    async def found(self, founder: Member, policy: Policy, lost: Lost | None = None) -> str:
        await trio.lowlevel.checkpoint()
        cluster = hashlib.sha256(f"{self.peer_id} {len(self.clusters.books)}".encode()).hexdigest()
        genesis = GenesisPayload(random="00" * 32, network="chorus", policy=policy, founder=founder)
        self.clusters.books[cluster] = Book(self.peer_id, [act(0, ActKind.GENESIS, genesis, cluster)])
        return cluster

    async def on_bound(self, cluster: str) -> None:
        await trio.lowlevel.checkpoint()
        self.bound.append(cluster)


@dataclass
class Clusters:
    """Nodes on one simulated network, on virtual time."""

    world: SimulatedWorld
    nursery: trio.Nursery
    books: dict[str, Book] = field(default_factory=dict)
    homes: dict[str, Home] = field(default_factory=dict)
    start_ms: int = 1_767_225_600_000

    def now_ms(self) -> int:
        return self.start_ms + round(trio.current_time() * 1000)

    async def start(
        self,
        name: str,
        *,
        use: VoterUse = VoterUse.FULL,
        caught_up: bool = True,
        human: bool = False,
        ahead_s: float = 0.0,
        **settings: Any,
    ) -> RosterService:
        """Start the node of the home with this name; the home is made when it is new. Its clock may be ahead."""
        home = self.homes.get(name)
        if home is None:
            signer = Ed25519Signer(hashlib.sha256(name.encode()).digest())
            home = self.homes[name] = Home(self, signer.peer_id, signer)
        kind = Kind.HUMAN if human else Kind.AGENT
        service = RosterService(
            network=self.world.add(home.peer_id),
            signer=home.signer,
            verifier=Ed25519Verifier(),
            me=Applicant(name, "operator" if human else "agent", kind),
            voter_use=use,
            settings=RosterSettings(**settings),
            durable=home,
            appender=home,
            chain=home.chain,
            proposer=home,
            leader=home.leader,
            found=home.found,
            on_bound=home.on_bound,
            caught_up=lambda peer: caught_up,
            moved_out=lambda: home.moved_out,
            doubt=lambda: home.doubt,
            now_ms=lambda: self.now_ms() + round(ahead_s * 1000),
        )
        await self.nursery.start(service.run)
        return service

    def connect(self, *services: RosterService) -> None:
        """Connect them with each other."""
        for i, a in enumerate(services):
            for b in services[i + 1 :]:
                self.world.connect(a.peer_id, b.peer_id)


async def until(condition: Any, timeout_s: float = 30.0) -> None:
    """Wait, on trio's clock, until a condition holds.

    Raises:
        AssertionError: it never did.
    """
    with trio.move_on_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - the condition is anything
            await trio.sleep(0.05)
    assert condition(), f"not within {timeout_s:g} s"
