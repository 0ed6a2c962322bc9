"""Membership on the simulated network: founding, enrolling, redirecting, merging, promoting, leaving; and hostile peers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from agent_core.errors import NoQuorum
from agent_core.network import StreamClosed
from agent_core.roster.admission import decode, encode, signed_enrol
from agent_core.roster.changes import QUIET_S
from agent_core.roster.leading import Leading
from agent_core.roster.meeting import MAX_OF_ONE, PROTOCOL
from agent_core.roster.model import Authority, Kind, VoterUse, YieldData
from agent_core.roster.service import RosterService
from agent_core.roster.settings import Applicant
from agent_core.simulated.network import SimulatedNetwork
from agent_core.simulated.world import SimulatedWorld
from agent_core.wire.families.cooee import CooeeEnrol, CooeeHello, CooeeReply
from agent_core.wire.judge import Standing
from tests.support.clusters import Clusters, until


@pytest.fixture
async def clusters(nursery: trio.Nursery) -> AsyncIterator[Clusters]:
    world = SimulatedWorld()
    await nursery.start(world.run)
    yield Clusters(world, nursery)
    nursery.cancel_scope.cancel()


def members(service: RosterService) -> set[str]:
    return {m.agent_id for m in service.roster.members.values() if m.active} if service.roster else set()


def voters(service: RosterService) -> set[str]:
    roster = service.roster
    return {roster.members[v].agent_id for v in roster.voters} if roster else set()


async def founded(clusters: Clusters, name: str = "a", **settings: Any) -> RosterService:
    service = await clusters.start(name, found=True, **settings)
    await until(lambda: service.member is not None)
    return service


async def test_a_home_that_finds_nobody_founds_after_the_grace_and_its_founder_is_master(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await clusters.start("a", use=VoterUse.SPARE, human=True)
    await trio.sleep(9.5)
    assert (a.cluster_id, a.stage) == ("", "looking for peers")
    assert 0 < a.looking_left_s < 1
    await until(lambda: a.stage == "member", 2)
    assert a.member is not None
    assert (a.member.authority, a.member.voter, a.member.role, a.lone) == (Authority.MASTER, True, "operator", True)
    assert clusters.homes["a"].disk["cluster"] == a.cluster_id.encode()
    assert clusters.homes["a"].bound == [a.cluster_id]


async def test_the_grace_begins_once_the_mesh_can_be_reached(
    clusters: Clusters, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedNetwork, "addresses", ())
        a = await clusters.start("a")
        await trio.sleep(15)
        assert a.cluster_id == "", "it would have founded beside a cluster that it hasn't had time to find"
    await trio.sleep(8)
    assert a.cluster_id == ""
    await until(lambda: bool(a.cluster_id), 5)


async def test_a_home_that_belongs_somewhere_never_founds_again(clusters: Clusters, autojump_clock: MockClock) -> None:
    home = (await founded(clusters)).cluster_id
    clusters.world.crash(clusters.homes["a"].peer_id)
    again = await clusters.start("a", found=True)
    await trio.sleep(30)
    assert again.cluster_id == home
    assert len(clusters.books) == 1


async def test_a_newcomer_is_admitted_with_its_roles_authority_and_promoted(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await founded(clusters)
    b = await clusters.start("b")
    p = await clusters.start("p", use=VoterUse.SPARE, human=True)
    clusters.connect(a, b, p)
    await until(lambda: b.stage == p.stage == "member")
    assert b.cluster_id == p.cluster_id == a.cluster_id
    assert b.member is not None
    assert p.member is not None
    assert (b.member.authority, p.member.authority) == (Authority.COORDINATION, Authority.DECISION)
    await until(lambda: voters(a) == {"a", "b", "p"})
    assert len(clusters.books) == 1
    assert a.standing(b.peer_id) is Standing.MEMBER
    assert a.standing("stranger") is Standing.UNKNOWN
    assert a.statistics().admitted == 2
    assert a.statistics().promoted == 2


async def test_a_newcomer_that_only_reaches_a_follower_is_passed_on_to_the_leader(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await founded(clusters)
    b = await clusters.start("b")
    clusters.connect(a, b)
    await until(lambda: b.stage == "member")
    c = await clusters.start("c")
    clusters.connect(b, c)
    await until(lambda: c.stage == "member")
    assert members(a) == {"a", "b", "c"}


async def test_a_follower_without_the_leader_redirects(clusters: Clusters, autojump_clock: MockClock) -> None:
    a = await founded(clusters)
    b = await clusters.start("b")
    clusters.connect(a, b)
    await until(lambda: b.stage == "member")
    clusters.world.crash(a.peer_id)
    stranger = clusters.world.add("stranger", joined=True)
    request = b.entering.request(a.cluster_id)
    reply = await ask(stranger, b.peer_id, encode(request))
    assert isinstance(reply, CooeeReply)
    assert (reply.status, reply.leader) == ("redirect", a.peer_id)


async def test_two_newcomers_that_find_each_other_end_in_one_cluster(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a, b = await clusters.start("a"), await clusters.start("b")
    clusters.connect(a, b)
    await until(lambda: a.stage == b.stage == "member", 60)
    assert a.cluster_id == b.cluster_id
    assert len(clusters.books) == 1


async def test_of_two_lone_founders_the_greater_id_yields_and_says_so_in_its_feed(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    both = [await founded(clusters, "a"), await founded(clusters, "b")]
    winner, loser = sorted(both, key=lambda s: s.cluster_id)
    old = loser.cluster_id
    clusters.connect(*both)
    await until(lambda: loser.cluster_id == winner.cluster_id and loser.stage == "member", 60)
    home = clusters.homes[loser.home.me.agent_id]
    [entry] = home.written
    assert entry.type == "roster.yield"
    assert entry.data == YieldData(old=old, new=winner.cluster_id, act=1)
    assert home.bound == [old, winner.cluster_id]
    assert home.disk["cluster"] == winner.cluster_id.encode()
    assert members(winner) == members(loser) == {"a", "b"}
    assert winner.bound == winner.cluster_id


async def test_larger_clusters_stay_apart_and_both_say_so(clusters: Clusters, autojump_clock: MockClock) -> None:
    pairs = []
    for names in ("ab", "cd"):
        first, second = await founded(clusters, names[0]), await clusters.start(names[1])
        clusters.connect(first, second)
        await until(lambda second=second: second.stage == "member")
        pairs.append((first, second))
    (a, b), (c, d) = pairs
    clusters.connect(a, c)
    await trio.sleep(60)
    assert a.cluster_id == b.cluster_id != c.cluster_id == d.cluster_id
    assert any(c.cluster_id[:8] in note and a.cluster_id[:8] in note for note in a.notes)
    assert any(a.cluster_id[:8] in note for note in c.notes)


async def test_an_admission_that_never_shows_in_the_feeds_binds_nobody(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await founded(clusters)
    b = await clusters.start("b", join_s=5)
    clusters.homes["b"].hidden = True
    clusters.connect(a, b)
    await until(lambda: a.statistics().admitted == 1)
    await until(lambda: clusters.homes["b"].bound == [a.cluster_id, ""])
    assert "cluster" not in clusters.homes["b"].disk
    assert b.stage != "member"
    assert any("its acts don't come" in note for note in b.notes)
    clusters.homes["b"].hidden = False
    await until(lambda: b.stage == "member", 60)


async def test_who_listens_beyond_loopback_admits_nobody_unless_forced(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await founded(clusters, beyond_loopback=True)
    b = await clusters.start("b")
    clusters.connect(a, b)
    await until(lambda: any("beyond its own machine" in note for note in b.notes))
    assert members(a) == {"a"}
    await trio.sleep(40)
    assert (b.cluster_id, len(clusters.books)) == ("", 1)
    clusters.world.crash(a.peer_id)
    forced = await clusters.start("a", beyond_loopback=True, force_open=True)
    clusters.connect(forced, b)
    await until(lambda: b.stage == "member", 60)


async def test_other_networks_are_left_alone_and_named(clusters: Clusters, autojump_clock: MockClock) -> None:
    a = await founded(clusters)
    b = await clusters.start("b", network="other")
    clusters.connect(a, b)
    await until(lambda: any("network other" in note for note in a.notes))
    await until(lambda: b.stage == "member")
    assert b.cluster_id != a.cluster_id


async def test_without_a_leader_it_is_said_whether_waiting_helps(clusters: Clusters, autojump_clock: MockClock) -> None:
    a = await founded(clusters)
    b, c = [await clusters.start(name) for name in "bc"]
    clusters.connect(a, b, c)
    await until(lambda: voters(a) == {"a", "b", "c"})
    clusters.books[a.cluster_id].leader = ""
    stranger = clusters.world.add("stranger", joined=True)
    request = encode(b.entering.request(a.cluster_id))
    reply = await ask(stranger, b.peer_id, request)
    assert isinstance(reply, CooeeReply)
    assert (reply.message, reply.next) == ("There is no leader just now.", "Wait for the election.")
    clusters.world.crash(a.peer_id)
    clusters.world.crash(c.peer_id)
    reply = await ask(stranger, b.peer_id, request)
    assert isinstance(reply, CooeeReply)
    assert reply.message == "Only 1 of 3 voters can be reached, so nobody can lead."
    assert "cluster recover" in reply.next


async def test_without_a_majority_the_newcomer_waits_and_is_admitted_afterwards(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await founded(clusters)
    clusters.books[a.cluster_id].stuck = True
    b = await clusters.start("b")
    clusters.connect(a, b)
    await trio.sleep(20)
    assert (b.stage, members(a)) == ("enrolling", {"a"})
    clusters.books[a.cluster_id].stuck = False
    await until(lambda: b.stage == "member")


async def test_a_revoked_identity_doesnt_come_back(clusters: Clusters, autojump_clock: MockClock) -> None:
    from agent_core.election.acts import ActKind
    from agent_core.roster.fold import RevokePayload

    a = await founded(clusters)
    b = await clusters.start("b")
    clusters.connect(a, b)
    await until(lambda: b.stage == "member")
    await clusters.homes["a"].propose(ActKind.MEMBER_REVOKE, RevokePayload(peer_id=b.peer_id, heads=()))
    assert a.standing(b.peer_id) is Standing.REVOKED
    reply = await b.meetings.ask(a.peer_id, b.entering.request(a.cluster_id), 30.0)
    assert isinstance(reply, CooeeReply)
    assert (reply.status, reply.message) == ("refused", "This identity was revoked.")


async def test_who_is_revoked_before_it_saw_its_admission_learns_of_it(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    from agent_core.election.acts import ActKind
    from agent_core.roster.fold import RevokePayload

    a, lone, b = await founded(clusters), await founded(clusters, "lone"), await clusters.start("b")
    own = lone.bound
    for name in ("b", "lone"):
        clusters.homes[name].hidden = True
    clusters.connect(a, b)
    await until(lambda: members(a) == {"a", "b"})
    clusters.connect(a, lone)
    await until(lambda: members(a) == {"a", "b", "lone"})
    for service in (b, lone):
        revoke = RevokePayload(peer_id=service.peer_id, heads=())
        await clusters.homes["a"].propose(ActKind.MEMBER_REVOKE, revoke)
    for name in ("b", "lone"):
        clusters.homes[name].hidden = False
    await until(lambda: b.stage == "revoked", 5)
    await until(lambda: lone.stage == "member", 5)
    assert (b.bound, lone.bound) == (a.bound, own), "who has another cluster stays there"


async def test_a_members_record_follows_what_it_says_of_itself_but_not_its_authority(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await founded(clusters)
    b = await clusters.start("b", use=VoterUse.NEVER)
    clusters.connect(a, b)
    await until(lambda: b.stage == "member")
    assert voters(a) == {"a"}
    clusters.world.crash(b.peer_id)
    again = await clusters.start("b", use=VoterUse.FULL)
    again.home.me = Applicant("bee", "operator", Kind.HUMAN)
    clusters.connect(a, again)
    await until(lambda: members(a) == {"a", "bee"})
    member = a.roster.get(b.peer_id) if a.roster else None
    assert member is not None
    assert (member.authority, member.kind, member.role) == (Authority.COORDINATION, Kind.AGENT, "operator")
    await until(lambda: voters(a) == {"a", "bee"})


async def test_a_node_behind_is_not_promoted(clusters: Clusters, autojump_clock: MockClock) -> None:
    a = await clusters.start("a", found=True, caught_up=False)
    b = await clusters.start("b")
    clusters.connect(a, b)
    await until(lambda: b.stage == "member")
    await trio.sleep(30)
    assert voters(a) == {"a"}


async def test_a_voter_away_for_long_is_demoted(clusters: Clusters, autojump_clock: MockClock) -> None:
    a = await founded(clusters, demote_s=60)
    b, c = await clusters.start("b"), await clusters.start("c")
    clusters.connect(a, b, c)
    await until(lambda: voters(a) == {"a", "b", "c"})
    clusters.world.crash(c.peer_id)
    await trio.sleep(50)
    assert voters(a) == {"a", "b", "c"}
    await until(lambda: voters(a) == {"a", "b"})
    assert a.statistics().demoted == 1


async def test_a_consoles_node_takes_leave_and_isnt_promoted_again(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await founded(clusters)
    p = await clusters.start("p", use=VoterUse.SPARE, human=True)
    clusters.connect(a, p)
    await until(lambda: voters(a) == {"a", "p"})
    assert await p.take_leave()
    assert voters(a) == {"a"}
    await trio.sleep(60)
    assert voters(a) == {"a"}
    assert members(a) == {"a", "p"}
    p.set_voter_use(VoterUse.SPARE)
    await until(lambda: voters(a) == {"a", "p"})


async def test_leaving_without_a_leader_gives_up_in_time(clusters: Clusters, autojump_clock: MockClock) -> None:
    a = await founded(clusters)
    p = await clusters.start("p", use=VoterUse.SPARE)
    clusters.connect(a, p)
    await until(lambda: voters(a) == {"a", "p"})
    clusters.world.crash(a.peer_id)
    assert not await p.take_leave(3)


# --- hostile peers ----------------------------------------------------------------------------------------------------


async def ask(network: Any, peer: str, frame: bytes) -> Any:
    stream = await network.open(peer, PROTOCOL)
    try:
        await stream.send(frame)
        return decode(await stream.receive())
    finally:
        await stream.aclose()


async def test_garbage_gets_a_refusal_and_nothing_more(clusters: Clusters, autojump_clock: MockClock) -> None:
    a = await founded(clusters)
    mallory = clusters.world.add("mallory", joined=True)
    frames = [
        b"",
        b"\xff",
        b"{}",
        b'{"type":"cooee.enrol","data":{}}',
        b'{"type":"task_claim","data":{}}',
        b"[" * 60_000,
    ]
    for frame in [*frames, b"x" * 70_000, encode(CooeeReply(status="admitted"))]:
        reply = await ask(mallory, a.peer_id, frame)
        assert isinstance(reply, CooeeReply)
        assert reply.status == "refused"
    assert members(a) == {"a"}


async def test_a_forged_or_crooked_enrolment_is_refused(clusters: Clusters, autojump_clock: MockClock) -> None:
    a = await founded(clusters)
    b = await clusters.start("b", may_found=False)
    mallory = clusters.world.add("mallory", joined=True)
    good: CooeeEnrol = b.entering.request(a.cluster_id)
    replace = msgspec.structs.replace
    forged = replace(good, role="operator", kind="human")
    crooked = signed_enrol(replace(good, agent_id="a\x1b[2J"), clusters.homes["b"].signer)
    elsewhere = signed_enrol(replace(good, cluster="00" * 32), clusters.homes["b"].signer)
    said = []
    for enrol in (forged, crooked, elsewhere):
        reply = await ask(mallory, a.peer_id, encode(enrol))
        assert reply.status == "refused"
        said.append(reply.message)
    assert said[0] == "The signature doesn't hold."
    assert "agent id" in said[1]
    assert a.cluster_id[:8] in said[2]


async def test_a_peer_that_asks_and_never_finishes_holds_nobody_up(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await founded(clusters)
    mallory = clusters.world.add("mallory", joined=True)
    for _ in range(MAX_OF_ONE):
        await mallory.open(a.peer_id, PROTOCOL)
    await trio.sleep(1)
    hello = encode(CooeeHello(network="chorus", agent_id="m"))
    with pytest.raises(StreamClosed):
        await ask(mallory, a.peer_id, hello)
    b = await clusters.start("b")
    clusters.connect(a, b)
    await until(lambda: b.stage == "member")
    await trio.sleep(15)
    assert isinstance(await ask(mallory, a.peer_id, hello), CooeeHello)


async def test_what_is_remembered_of_peers_goes_with_them(clusters: Clusters, autojump_clock: MockClock) -> None:
    a = await founded(clusters)
    for n in range(20):
        name = f"peer{n}"
        passing = clusters.world.add(name, joined=True)
        await ask(passing, a.peer_id, encode(CooeeHello(network="chorus" if n % 2 else f"net{n}", agent_id=name)))
        clusters.world.crash(name)
    await trio.sleep(5)
    meetings = a.meetings
    assert (len(meetings._met), len(meetings.other_networks), len(meetings._greeted_ms)) == (0, 0, 0)


async def test_a_clock_far_off_is_known_by_the_members_it_is_compared_with(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await founded(clusters)
    b = await clusters.start("b", ahead_s=-30)
    c = await clusters.start("c", ahead_s=300)
    stranger = await clusters.start("x", ahead_s=9000, network="other")
    clusters.connect(a, b, c, stranger)
    await until(lambda: len(members(a)) == 3)
    await trio.sleep(35)
    assert abs(a.clock_off_s) < 0.5, "between the two others"
    assert abs(b.clock_off_s + 30) < 0.5
    assert abs(c.clock_off_s - 300) < 0.5


async def test_a_restored_voter_is_demoted_and_promoted_again_by_name(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await founded(clusters)
    b, c = await clusters.start("b"), await clusters.start("c")
    clusters.connect(a, b, c)
    await until(lambda: voters(a) == {"a", "b", "c"})
    clusters.homes["c"].doubt = "mark"
    c.doubt_changed()
    await until(lambda: a.statistics().demoted == 1)
    await until(lambda: voters(a) == {"a", "b", "c"})
    assert c.member is not None
    assert c.member.trusted == "mark"
    await trio.sleep(60)
    assert a.statistics().demoted == 1, "trusted now, whatever it still says"


async def test_who_moved_away_is_evicted_once_it_no_longer_says_that_it_is_here(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await founded(clusters)
    b, c = await clusters.start("b"), await clusters.start("c")
    clusters.connect(a, b, c)
    await until(lambda: voters(a) == {"a", "b", "c"})
    there = "ee" * 32
    clusters.homes["a"].moved_out = {b.peer_id: there, c.peer_id: there}
    await trio.sleep(5)
    assert members(a) == {"a", "b", "c"}, "both say that they are of this cluster"
    clusters.world.crash(c.peer_id)
    await until(lambda: members(a) == {"a", "b"})
    gone = a.roster.get(c.peer_id) if a.roster else None
    assert gone is not None
    assert gone.evicted == ()
    last = clusters.books[a.cluster_id].acts[-1]
    assert b"moved to cluster eeeeeeee" in bytes(last.payload)


async def test_the_last_master_is_not_evicted_for_having_moved_and_nothing_is_proposed(
    clusters: Clusters, autojump_clock: MockClock
) -> None:
    a = await founded(clusters)
    b = await clusters.start("b")
    clusters.connect(a, b)
    await until(lambda: voters(a) == {"a", "b"})
    clusters.books[a.cluster_id].leader = b.peer_id
    clusters.world.crash(a.peer_id)
    home = clusters.homes["b"]
    asked: list[str] = []

    async def propose(kind: str, payload: Any) -> Any:
        asked.append(kind)
        raise NoQuorum("The voters refuse it.")

    home.propose = propose  # type: ignore[method-assign]
    home.moved_out = {a.peer_id: "ee" * 32}
    await trio.sleep(20)
    assert asked == []


async def test_a_settled_cluster_is_left_alone_until_something_changes(
    clusters: Clusters, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    tend = Leading.tend_voters

    async def counted(self: Leading) -> float:
        nonlocal steps
        steps += 1
        return await tend(self)

    monkeypatch.setattr(Leading, "tend_voters", counted)
    a = await founded(clusters)
    await trio.sleep(10)
    steps = 0
    await trio.sleep(100)
    assert 100 / QUIET_S - 1 <= steps <= 100 / QUIET_S + 1
    steps = 0
    a.changed()
    await trio.testing.wait_all_tasks_blocked()
    assert steps == 1
