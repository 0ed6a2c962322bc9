"""What a voter, a member or a stranger that lies can do to the others' election: nothing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
import trio

from agent_core.election.acts import ACT, Ack, ActData, ActKind, CommitData, ack_message
from agent_core.election.chain import ActChain, parse_act
from agent_core.election.links import OUTBOX_BYTES, Link
from agent_core.election.messages import (
    Announce,
    Append,
    Candidacy,
    Certificate,
    HeartbeatAck,
    PreVote,
    PreVoteAsk,
    Vote,
    prevote_message,
    vote_message,
)
from agent_core.election.messages import encode as encode_message
from agent_core.election.model import Timings
from agent_core.election.scores import MAX_SEEN, Sightings
from agent_core.errors import SecretFound
from agent_core.feeds.model import Draft, Entry
from agent_core.roster.fold import MemberPayload
from agent_core.roster.model import Member
from agent_core.simulated.search import World
from agent_core.simulated.search_fakes import EPOCH_MS, Counted, FakeSigner, FakeVerifier, founded, make_entry
from agent_core.simulated.search_node import Node
from tests.election.test_machine import leader, led, others
from tests.support.elections import a_cluster, leaders

CLUSTER, FEED = founded(3)


def founder(world: World) -> FakeSigner:
    """The key of the node that was once the only voter."""
    return FakeSigner(world.nodes["p0"].peer_id, Counted())


def bystander(world: World) -> Node:
    """A voter that neither leads nor founded."""
    return next(n for n in others(world, leader(world)) if n.peer_id != "p0")


def test_who_was_the_only_voter_once_cannot_elect_itself_by_that_old_roster() -> None:
    world, _ = led()
    signer, node = founder(world), bystander(world)
    cluster, term, before = node.chain.cluster_id, node.machine.term + 5, node.machine.leader
    held = node.chain.tip_number, node.chain.tip_hash
    vote = Vote("p0", term, "p0", *held, signer.sign(vote_message(cluster, term, "p0", *held)))
    certificate = Certificate(cluster=cluster, term=term, leader="p0", roster=0, votes=(vote,))
    node.message("p0", Announce(certificate, "manual"))
    assert node.machine.leader == before
    assert node.machine.term == term - 5


def test_who_was_the_only_voter_once_cannot_move_a_term_by_that_old_roster() -> None:
    world, _ = led()
    signer, node = founder(world), bystander(world)
    term = node.machine.term + 1
    node.machine.promise_until = node.local()
    own = PreVote(
        "p0", term, "p0", term - 1, True, 0.0, signer.sign(prevote_message(node.chain.cluster_id, term, "p0", term - 1))
    )
    last = node.machine.log
    node.message("p0", Candidacy(term, last.term, last.number, 0, "manual", (own,)))
    assert node.machine.term == term - 1


def test_a_voter_that_claims_the_last_term_there_is_costs_no_more_than_an_election() -> None:
    world, node = led()
    for peer in others(world, node):
        node.message(peer.peer_id, HeartbeatAck(2**64 - 1, 1, False, 0, "", 0))
    node.machine.campaign(node.local() + 60)
    sent = [o.message for o in node.machine.take() if hasattr(o, "message")]
    asked = [m for m in sent if isinstance(m, PreVoteAsk)]
    for message in asked:
        encode_message(node.chain.cluster_id, message)
    assert all(m.term < 2**53 for m in asked)


def test_a_grant_that_contradicts_itself_stops_no_candidacy() -> None:
    world, dead = led(5)
    one, liar, *honest = others(world, dead)
    world.faults.crash(dead, 1000)
    term = one.machine.term + 1
    one.machine.promise_until = one.local()
    one.machine.campaign(one.local())
    one.machine.take()
    for voter, known in ((liar, term + 7), *((n, term - 1) for n in honest)):
        message = prevote_message(one.chain.cluster_id, term, one.peer_id, known)
        sig = FakeSigner(voter.peer_id, Counted()).sign(message)
        one.message(voter.peer_id, PreVote(voter.peer_id, term, one.peer_id, known, True, 0.0, sig))
    assert one.machine.term == term


async def test_an_act_that_may_not_be_written_costs_itself_and_not_the_term(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    _, voters = await a_cluster(nursery, 3, Timings(heartbeat_s=0.2, timeout_s=1.0, discovery_s=0.5))
    (first,) = leaders(voters)
    append, term = first.append, first.service.snapshot().term

    async def door(drafts: Sequence[Draft]) -> Sequence[Entry]:
        if any(b"a secret" in msgspec.json.encode(d.data) for d in drafts):
            raise SecretFound("SHHH found a secret.")
        return await append(drafts)

    first.append = door  # type: ignore[method-assign]
    stranger = Member(peer_id="x", agent_id="x", capabilities=("a secret",))
    with pytest.raises(SecretFound):
        await first.service.propose("member.add", MemberPayload(member=stranger))
    await first.service.propose("member.add", MemberPayload(member=Member(peer_id="y", agent_id="y")))
    assert first.service.leading
    assert first.service.snapshot().term == term


def test_commits_that_strangers_make_up_leave_nothing_behind() -> None:
    counted = Counted()
    chain = ActChain(CLUSTER, FakeVerifier(counted))
    chain.apply(FEED)
    before, checked = _size(chain), counted.verified
    for n in range(50):
        signer = FakeSigner(f"stranger{n}", counted)
        ack = Ack(signer.peer_id, signer.sign(ack_message(CLUSTER, 9, 99, f"{n:064x}")))
        chain.learn((), [CommitData(cluster=CLUSTER, term=9, number=99, hash=f"{n:064x}", acks=(ack,))])
    assert _size(chain) == before
    assert counted.verified == checked, "a stranger's signature was checked"


def test_a_commit_by_a_voters_forged_word_is_looked_at_once_a_message() -> None:
    counted = Counted()
    chain = ActChain(CLUSTER, FakeVerifier(counted))
    chain.apply(FEED)
    before, checked = _size(chain), counted.verified
    acts, proofs = [], []
    for n in range(50):
        payload = msgspec.Raw(b'{"policy":"invite"}')
        number = chain.tip_number + 1
        data = ActData(cluster=CLUSTER, term=9, number=number, prev=chain.tip_hash, kind="policy", payload=payload)
        act = parse_act(make_entry("liar", n, EPOCH_MS, Draft(ACT, data)).raw)
        assert act is not None
        acts.append(act)
        forged = tuple(Ack(v, b"forged") for v in chain.voters)
        proofs.append(CommitData(cluster=CLUSTER, term=9, number=act.number, hash=act.hash, acks=forged))
    chain.learn(acts, proofs)
    assert counted.verified - checked <= len(chain.voters)
    assert _size(chain) <= before


def _size(chain: ActChain) -> int:
    return sum(len(v) for v in vars(chain).values() if isinstance(v, dict | list | set))


def test_who_only_writes_that_it_led_has_no_experience() -> None:
    chain = ActChain(CLUSTER, FakeVerifier(Counted()))
    chain.apply(FEED)
    data = ActData(cluster=CLUSTER, term=9, number=chain.tip_number + 1, prev=chain.tip_hash, kind=ActKind.TERM)
    chain.apply([make_entry("liar", 0, EPOCH_MS, Draft(ACT, data))])
    assert "liar" not in chain.led(20)


def test_what_waits_for_a_member_that_reads_nothing_is_bounded() -> None:
    link = Link("m")
    for _ in range(64):
        link.put(bytes(1024 * 1024))
    assert sum(map(len, link.frames)) == link.waiting_bytes <= OUTBOX_BYTES
    link.put(b"newest")
    assert link.frames[-1] == b"newest"


def test_strangers_that_come_and_go_are_forgotten() -> None:
    seen = Sightings()
    seen.up("member", 0.0, ())
    seen.down("member", 1.0)
    for n in range(3 * MAX_SEEN):
        seen.up(f"x{n}", 1.0, {"member"})
        seen.down(f"x{n}", 2.0)
    assert len(seen) <= MAX_SEEN
    assert seen.share("member", 2.0) == 0.5


def test_a_leader_gets_no_act_acknowledged_that_it_writes_in_another_name() -> None:
    world, node = led()
    world.run_until(world.now + 1)
    voter, other = others(world, node)
    log = voter.machine.log
    for author in (other.peer_id, node.peer_id):
        data = ActData(
            cluster=voter.chain.cluster_id,
            term=voter.machine.term,
            number=log.number + 1,
            prev=log.hash,
            kind="note",
            payload=msgspec.Raw(b'{"policy":"invite"}'),
        )
        raw = make_entry(author, 900, EPOCH_MS, Draft(ACT, data)).raw
        before = log.number
        voter.message(node.peer_id, Append(voter.machine.term, log.number, log.hash, (raw,), ()))
        assert (log.number > before) == (author == node.peer_id)
