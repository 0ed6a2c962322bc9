"""What members and those who pass their messages on can't do to the roster."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
import trio
from trio.testing import MockClock

from agent_core.roster.admission import signed_enrol, signed_leave
from agent_core.roster.model import VoterUse
from agent_core.roster.service import RosterService
from agent_core.simulated.world import SimulatedWorld
from agent_core.wire.families.cooee import CooeeLeave
from tests.support.clusters import Clusters, until


@pytest.fixture
async def clusters(nursery: trio.Nursery) -> AsyncIterator[Clusters]:
    world = SimulatedWorld()
    await nursery.start(world.run)
    yield Clusters(world, nursery)
    nursery.cancel_scope.cancel()


async def pair(clusters: Clusters) -> tuple[RosterService, RosterService]:
    a = await clusters.start("a", found=True)
    await until(lambda: a.member is not None)
    b = await clusters.start("b")
    clusters.connect(a, b)
    await until(lambda: a.roster is not None and b.peer_id in a.roster.voters)
    return a, b


async def test_a_leave_said_again_by_somebody_else_removes_nobody(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a, b = await pair(clusters)
    leave = signed_leave(
        CooeeLeave(cluster=a.bound, peer_id=b.peer_id, at_ms=clusters.now_ms()), clusters.homes["b"].signer
    )
    assert (await a.leading.answer("x", leave)).status == "done"
    assert a.roster is not None
    assert b.peer_id not in a.roster.voters
    b.set_voter_use(VoterUse.NEVER)
    b.set_voter_use(VoterUse.FULL)
    await until(lambda: a.roster is not None and b.peer_id in a.roster.voters)
    version = a.roster.version
    await a.leading.answer("x", leave)
    assert a.roster.version == version


async def test_a_member_that_changes_its_record_all_the_time_makes_no_act_of_each(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a, b = await pair(clusters)
    assert a.roster is not None
    before = a.roster.version
    for n in range(20):
        enrol = msgspec.structs.replace(b.entering.request(a.bound), capabilities=(f"c{n}",))
        await a.leading.answer(b.peer_id, signed_enrol(enrol, clusters.homes["b"].signer))
    assert a.roster.version - before <= 1


async def test_an_older_record_said_again_changes_nothing(clusters: Clusters, autojump_clock: MockClock) -> None:
    a, b = await pair(clusters)
    old = signed_enrol(
        msgspec.structs.replace(b.entering.request(a.bound), capabilities=("old",)), clusters.homes["b"].signer
    )
    await trio.sleep(1)
    new = signed_enrol(
        msgspec.structs.replace(b.entering.request(a.bound), capabilities=("new",)), clusters.homes["b"].signer
    )
    await a.leading.answer(b.peer_id, new)
    await trio.sleep(15)
    await a.leading.answer("x", old)
    member = a.roster.get(b.peer_id) if a.roster else None
    assert member is not None
    assert member.capabilities != ("old",)
