"""Election services on the simulated network, each with a feed and a disk that survive a crash."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import trio

from agent_core.election.chain import ActChain
from agent_core.election.model import Timings
from agent_core.election.service import ElectionService
from agent_core.errors import StoreError
from agent_core.feeds.model import Draft, Entry
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier
from agent_core.roster.fold import MemberPayload, VoterPayload
from agent_core.roster.model import Member, Policy
from agent_core.simulated.search_fakes import EPOCH_MS, make_entry
from agent_core.simulated.world import SimulatedWorld


class Disk:
    """A feed and a key-value table."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.feed: list[Entry] = []
        self.full = False

    def read(self, key: str) -> bytes | None:
        return self.values.get(key)

    async def write(self, key: str, value: bytes) -> None:
        await trio.sleep(0.002)
        if self.full:
            raise StoreError("The disk is full.", "Free some space.")
        self.values[key] = value


class Voter:
    """One node: what is on its disk, and the service while it runs."""

    def __init__(self, world: SimulatedWorld, n: int, timings: Timings) -> None:
        self.world, self.timings, self.n = world, timings, n
        self.signer = Ed25519Signer(bytes([n]) * 32)
        self.peer_id = self.signer.peer_id
        self.disk = Disk()
        self.cluster = ""
        self.scope = trio.CancelScope()

    @property
    def member(self) -> Member:
        return Member(peer_id=self.peer_id, agent_id=f"agent-{self.n}", may_vote=True)

    def chain(self) -> ActChain:
        chain = ActChain(self.cluster, Ed25519Verifier())
        chain.apply(self.disk.feed)
        return chain

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Entry]:
        await trio.sleep(0.002)
        entries = []
        for draft in drafts:
            entries.append(make_entry(self.peer_id, len(self.disk.feed), EPOCH_MS, draft))
            self.disk.feed.append(entries[-1])
        self.held.apply(entries)
        self.service.chain_changed()
        return entries

    async def start(self, nursery: trio.Nursery) -> None:
        self.scope = trio.CancelScope()
        self.held = self.chain()
        network = self.world.add(self.peer_id, joined=True)
        self.service = ElectionService(
            network=network,
            appender=self,
            durable=self.disk,
            chain=self.held,
            signer=self.signer,
            verifier=Ed25519Verifier(),
            timings=self.timings,
            rng=random.Random(self.n),
            clock=trio.current_time,
        )
        await nursery.start(self._run)

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self.scope:
            await self.service.run(task_status=task_status)

    async def bind(self, cluster: str) -> None:
        self.cluster = cluster
        self.held = self.chain()
        await self.service.bind(self.held)

    def kill(self) -> None:
        self.world.crash(self.peer_id)
        self.scope.cancel()


async def until(condition: Callable[[], object], timeout_s: float = 60.0) -> float:
    """Wait, on trio's clock, until the condition holds; how long it took (s)."""
    start = trio.current_time()
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - on the mock clock, and over several nodes at once
            await trio.sleep(0.005)
    return trio.current_time() - start


def leaders(voters: Sequence[Voter]) -> list[Voter]:
    """Who claims to lead now."""
    return [v for v in voters if not v.scope.cancel_called and v.service.leading]


async def a_cluster(nursery: trio.Nursery, count: int, timings: Timings) -> tuple[SimulatedWorld, list[Voter]]:
    """A cluster of so many voters, founded by the first, grown by committed acts."""
    world = SimulatedWorld(seed=1)
    await nursery.start(world.run)
    voters = [Voter(world, n + 1, timings) for n in range(count)]
    for voter in voters:
        await voter.start(nursery)
    first = voters[0]
    await first.bind(await first.service.found("test", first.member, Policy.OPEN))
    await until(lambda: first.service.leading)
    for voter in voters[1:]:
        await first.service.propose("member.add", MemberPayload(member=voter.member))
        await voter.bind(first.cluster)
        await until(lambda voter=voter: voter.held.roster is not None and voter.service.leader == first.peer_id)
        await first.service.propose("voter.add", VoterPayload(peer_id=voter.peer_id))
        await until(lambda voter=voter: voter.peer_id in voter.held.voters)
    return world, voters
