"""The election service over streams, on virtual time, with real signatures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio

from agent_core.election import views
from agent_core.election.messages import PROTOCOL, Heartbeat, Resign, encode
from agent_core.election.model import State, Timings
from agent_core.errors import NoQuorum, NotLeader, Refused
from agent_core.feeds.model import Missing
from agent_core.roster.fold import PolicyPayload
from agent_core.roster.model import Policy
from agent_core.views import ViewContext
from tests.support.elections import a_cluster, leaders, until

DEFAULTS = Timings()
FAST = Timings(heartbeat_s=0.2, timeout_s=1.0, discovery_s=0.5, stability_s=2.0)
POLICY = PolicyPayload(policy=Policy.INVITE)


class _NoBodies:
    def body(self, key: object) -> Missing:
        return Missing.NONE


async def test_a_lone_founder_leads_at_once(nursery: trio.Nursery, autojump_clock: object) -> None:
    _, (only,) = await a_cluster(nursery, 1, DEFAULTS)
    assert trio.current_time() < 1
    with pytest.raises(Refused, match="only voter"):
        await only.service.resign()
    act = await only.service.propose("note", POLICY)
    assert only.held.committed[-1].hash == act.hash
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("gone", "said"),
    [({}, "belongs to no cluster yet"), ({"revoked": ()}, "was revoked from"), ({"evicted": ()}, "was evicted from")],
)
async def test_who_was_sent_away_isnt_told_that_it_never_belonged_anywhere(
    nursery: trio.Nursery, autojump_clock: object, gone: dict[str, Any], said: str
) -> None:
    _, (only,) = await a_cluster(nursery, 1, DEFAULTS)
    assert only.held.roster is not None
    members = {p: msgspec.structs.replace(m, **gone) for p, m in only.held.roster.members.items()}
    chain: Any = SimpleNamespace(roster=msgspec.structs.replace(only.held.roster, members=members))
    idle = msgspec.structs.replace(only.service.snapshot(), state=State.IDLE)
    assert said in views.why(idle, ViewContext(me=only.peer_id, chain=chain, bodies=_NoBodies(), now_ms=0))
    nursery.cancel_scope.cancel()


async def test_an_act_is_committed_on_all(nursery: trio.Nursery, autojump_clock: object) -> None:
    _, voters = await a_cluster(nursery, 3, DEFAULTS)
    act = await voters[0].service.propose("note", POLICY)
    took = await until(lambda: all(v.held.tip_number == act.number for v in voters))
    assert took < 0.1
    assert len({v.held.canonical() for v in voters}) == 1
    with pytest.raises(NotLeader):
        await voters[1].service.propose("note", POLICY)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("count", [3, 5])
async def test_a_killed_leader_is_replaced_in_about_a_second(
    nursery: trio.Nursery, autojump_clock: object, count: int
) -> None:
    _, voters = await a_cluster(nursery, count, DEFAULTS)
    acked = await voters[0].service.propose("note", POLICY)
    term = voters[1].service.snapshot().term
    voters[0].kill()
    took = await until(lambda: len(leaders(voters[1:])) == 1)
    assert took < 1.5
    (new,) = leaders(voters[1:])
    assert new.service.snapshot().term > term
    await until(lambda: new.held.committed[-1].term > term)
    assert new.held.committed[acked.number].hash == acked.hash
    nursery.cancel_scope.cancel()


async def test_a_killed_node_comes_back_and_catches_up(nursery: trio.Nursery, autojump_clock: object) -> None:
    _, voters = await a_cluster(nursery, 3, DEFAULTS)
    voters[0].kill()
    await until(lambda: len(leaders(voters[1:])) == 1)
    (new,) = leaders(voters[1:])
    await until(lambda: new.held.committed[-1].term == new.service.snapshot().term)
    act = await new.service.propose("note", POLICY)
    await voters[0].start(nursery)
    await until(lambda: voters[0].held.tip_number >= act.number and voters[0].service.leader == new.peer_id)
    assert leaders(voters) == [new]
    nursery.cancel_scope.cancel()


async def test_resigning_hands_over_within_a_few_round_trips(nursery: trio.Nursery, autojump_clock: object) -> None:
    _, voters = await a_cluster(nursery, 3, DEFAULTS)
    named = voters[0].service.successor()
    before = trio.current_time()
    await voters[0].service.resign()
    assert not voters[0].service.leading
    await until(lambda: len(leaders(voters)) == 1)
    assert trio.current_time() - before < 0.2
    assert leaders(voters)[0].member.agent_id == named
    nursery.cancel_scope.cancel()


async def test_a_person_may_ask_for_an_election_after_the_first_minute(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    _, voters = await a_cluster(nursery, 3, FAST)
    with pytest.raises(Refused, match="in its first 2 s"):
        await voters[0].service.trigger("a whim")
    await trio.sleep(FAST.stability_s)
    term = voters[0].service.snapshot().term
    await voters[1].service.trigger("it is slow")
    await until(lambda: any(v.service.snapshot().term > term for v in leaders(voters)))
    assert voters[2].service.snapshot().trigger == "manual"
    nursery.cancel_scope.cancel()


async def test_without_a_majority_nobody_leads_and_views_say_so(nursery: trio.Nursery, autojump_clock: object) -> None:
    _, voters = await a_cluster(nursery, 3, FAST)
    await trio.sleep(4 * FAST.timeout_s)
    voters[1].kill()
    voters[2].kill()
    await until(lambda: not voters[0].service.leading)
    assert voters[0].service.snapshot().lease_age_s < FAST.timeout_s, "it was sure of its lead until a moment ago"
    with pytest.raises(NotLeader):
        await voters[0].service.propose("note", POLICY)
    await until(lambda: voters[0].service.snapshot().state == "no_quorum", 10)
    ctx = ViewContext(me=voters[0].peer_id, chain=voters[0].held, bodies=_NoBodies(), now_ms=0)
    view = voters[0].service.view(ctx)
    assert (view.voters.reachable, view.voters.quorum, view.voters.spare) == (1, 2, -1)
    assert view.leader is None or not view.leader.certain
    assert "Nobody can lead: you reach 1 of 3 voters" in view.why
    nursery.cancel_scope.cancel()


async def test_a_silent_majority_ends_the_claim_before_it_may_elect(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    world, voters = await a_cluster(nursery, 3, FAST)
    world.partition([[voters[0].peer_id], [v.peer_id for v in voters[1:]]])
    with pytest.raises((NoQuorum, NotLeader)):
        await voters[0].service.propose("note", POLICY)
    await until(lambda: len(leaders(voters[1:])) == 1)
    assert leaders(voters) == leaders(voters[1:])
    nursery.cancel_scope.cancel()


async def test_the_view_is_one_consistent_read(nursery: trio.Nursery, autojump_clock: object) -> None:
    _, voters = await a_cluster(nursery, 3, DEFAULTS)
    for voter in voters:
        ctx = ViewContext(me=voter.peer_id, chain=voter.held, bodies=_NoBodies(), now_ms=0)
        view = voter.service.view(ctx)
        assert view.leader is not None
        assert view.leader.certain
        assert (view.leader.agent_id, view.leader.term) == ("agent-1", view.term)
        assert 0 < view.leader.lease_left_s <= DEFAULTS.lease_s
        assert [t.certified for t in view.timeline] == [True]
        assert sum(b.you for b in view.ballots) == 1
    nursery.cancel_scope.cancel()


async def test_what_strangers_send_harms_nobody(nursery: trio.Nursery, autojump_clock: object) -> None:
    world, voters = await a_cluster(nursery, 3, FAST)
    stranger = world.add("stranger", joined=True)
    await until(lambda: len(stranger.peers()) == 3)
    cluster = voters[0].cluster
    stream = await stranger.open(voters[1].peer_id, PROTOCOL)
    for frame in (
        b"",
        b"\xc1" * 100,
        encode("other", Resign(1)),
        encode(cluster, Resign(voters[1].service.snapshot().term)),
    ):
        await stream.send(frame)
    for n in range(50):
        await stream.send(encode(cluster, Heartbeat(10**9, n, 10**9)))
    await until(lambda: voters[1].service.statistics().refused >= 3)
    await trio.sleep(2 * FAST.timeout_s)
    assert leaders(voters) == [voters[0]]
    assert voters[1].service.leader == voters[0].peer_id
    nursery.cancel_scope.cancel()


async def test_a_voter_with_a_full_disk_votes_again_when_there_is_room(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    _, (first, second, third) = await a_cluster(nursery, 3, FAST)
    acked = await first.service.propose("note", POLICY)
    second.disk.full = True
    first.kill()
    await trio.sleep(10)
    assert leaders([second, third]) == [], "a vote that isn't on disk isn't cast"
    second.disk.full = False
    assert await until(lambda: len(leaders([second, third])) == 1) < 5
    (new,) = leaders([second, third])
    await until(lambda: acked.hash in {act.hash for act in new.held.committed})
    nursery.cancel_scope.cancel()


async def test_after_a_crash_the_next_run_takes_part_again(nursery: trio.Nursery, autojump_clock: object) -> None:
    _, (first, second, third) = await a_cluster(nursery, 3, FAST)
    for voter in (second, third):
        voter.scope.cancel()  # the service ends, its node goes on
    await trio.sleep(5)
    for voter in (second, third):
        voter.scope = trio.CancelScope()
        await nursery.start(voter._run)
    await until(lambda: len(leaders([first, second, third])) == 1)
    act = await leaders([first, second, third])[0].service.propose("note", POLICY)
    await until(lambda: all(voter.held.tip_number >= act.number for voter in (first, second, third)))
    nursery.cancel_scope.cancel()
