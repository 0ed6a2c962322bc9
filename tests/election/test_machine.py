"""The election machine's rules, one at a time, on virtual time without chance faults."""

from __future__ import annotations

import msgspec
import pytest

from agent_core.election.acts import ActKind
from agent_core.election.messages import AnyMessage, Resign
from agent_core.election.model import DurableState, State, Timings
from agent_core.network import DialResult
from agent_core.roster.fold import PolicyPayload, VoterPayload
from agent_core.roster.model import Policy
from agent_core.simulated.search import World
from agent_core.simulated.search_node import Node

DEFAULTS = Timings()


def quiet(count: int = 3, timings: Timings = DEFAULTS) -> World:
    """A cluster in which nothing fails, just started: its voters wait for their promise from before to end."""
    world = World(1, count, timings)
    world.faulty = False
    world.loss, world.delay_s, world.faults.notice_s, world.eager = 0.0, 0.001, 0.5, True
    world.start()
    return world


def led(count: int = 3, timings: Timings = DEFAULTS) -> tuple[World, Node]:
    """The same with a leader."""
    world = quiet(count, timings)
    world.run_until(timings.timeout_s * 1.2)
    return world, leader(world)


def leader(world: World) -> Node:
    (node,) = [n for n in world.nodes.values() if n.alive and n.machine.leading(n.local())]
    return node


def others(world: World, node: Node) -> list[Node]:
    return [n for n in world.nodes.values() if n is not node]


def propose(node: Node, kind: str, payload: msgspec.Struct) -> int | None:
    token = node.machine.propose(kind, msgspec.Raw(msgspec.json.encode(payload)), node.local())
    node.after_input()
    return token


POLICY = PolicyPayload(policy=Policy.INVITE)


def test_after_a_restart_nobody_votes_until_a_full_timeout_has_passed() -> None:
    world = quiet()
    world.run_until(DEFAULTS.timeout_s * 0.95)
    assert all(n.machine.state(n.local()) in (State.DISCOVERING, State.FOLLOWER) for n in world.nodes.values())
    assert not world.check.votes
    world.run_until(DEFAULTS.timeout_s * 1.2)
    assert len(world.check.leaders) == 1


def test_the_first_election_of_a_start_says_discovery_failed() -> None:
    _, node = led()
    assert node.machine.trigger == "discovery_failed"


def test_a_quiet_cluster_keeps_its_leader() -> None:
    world, node = led(5)
    world.run_until(300)
    assert leader(world) is node
    assert len(world.check.leaders) == 1


@pytest.mark.parametrize("count", [3, 5, 7])
def test_a_dead_leader_is_replaced_in_about_a_second(count: int) -> None:
    world, node = led(count)
    world.run_until(30)
    world.faults.crash(node, 100)
    world.run_until(31)
    assert leader(world) is not node


def test_silence_is_no_evidence_of_death() -> None:
    world, node = led()
    world.run_until(30)
    world.faults.pause(node, 100)
    for peer in others(world, node):
        peer.disconnect(node.peer_id, True)  # even closed from its side, if a fresh dial isn't refused
    world.run_until(30 + DEFAULTS.timeout_s * 0.6)
    assert len(world.check.leaders) == 1
    world.run_until(30 + DEFAULTS.timeout_s * 1.3)
    assert leader(world) is not node


def test_who_runs_late_itself_accuses_the_leader_last() -> None:
    world, node = led()
    world.run_until(30)
    late, *_ = others(world, node)
    world.faults.pause(node, 100)
    for peer in others(world, node):
        peer.machine.late(2.0 if peer is late else 0.0, peer.local())
    due = {p.peer_id: p.machine.suspicious_at(p.local()) - p.machine.promise_until for p in others(world, node)}
    assert due.pop(late.peer_id) == pytest.approx(6.0, rel=0.1)
    assert set(due.values()) == {0.0}
    world.run_until(30 + DEFAULTS.timeout_s * 1.3)
    assert leader(world) not in (node, late)


def test_patience_holds_up_neither_a_vote_nor_an_election_by_evidence() -> None:
    world, node = led()
    world.run_until(30)
    for peer in others(world, node):
        peer.machine.late(100.0, peer.local())
    world.faults.crash(node, 100)
    world.run_until(31.5)
    assert leader(world) is not node


def test_a_starved_node_calls_no_election() -> None:
    world, node = led(5)
    victim = others(world, node)[0]
    for _ in range(10):
        world.faults.starve(victim, world.rng)
        world.run_until(world.now + 20)
    world.faults.pause(victim, 40)
    world.run_until(world.now + 60)
    assert leader(world) is node
    assert not any(m for m in world.check.votes if m[2] > node.machine.term)


def test_one_report_of_death_is_no_majority() -> None:
    world, node = led(5)
    world.run_until(30)
    one, *_ = others(world, node)
    one.disconnect(node.peer_id, True)
    one.probed(node.peer_id, DialResult.REFUSED)
    world.run_until(35)
    assert leader(world) is node


def test_the_claim_ends_before_the_voters_promise() -> None:
    world, node = led()
    world.run_until(30)
    world.faults.notice_s = 1000.0
    world.faults.cut(node, world.rng, alone=True, for_s=1000.0)
    until = node.machine.claim_until
    assert until is not None
    assert until - node.local() <= DEFAULTS.lease_s
    world.run_until(30 + DEFAULTS.lease_s + 1)
    assert not node.machine.leading(node.local())


@pytest.mark.parametrize("gone", [1, 2])
def test_a_claim_is_dropped_the_instant_a_majority_is_out_of_reach(gone: int) -> None:
    world, node = led()
    for peer in others(world, node)[:gone]:
        node.disconnect(peer.peer_id, False)
    assert node.machine.leading(node.local()) == (gone == 1)


def test_a_claim_is_dropped_the_instant_the_mesh_is_rebuilt() -> None:
    _, node = led()
    node.rebuild_mesh()
    assert not node.machine.leading(node.local())


def test_a_resigning_leader_names_a_voter_that_holds_its_last_act() -> None:
    world, node = led(5)
    assert propose(node, "note", POLICY) is not None
    world.run_until(world.now + 1)
    named = node.machine.successor(node.local())
    term = node.machine.term
    node.resign()
    assert not node.machine.leading(node.local())
    world.run_until(world.now + 0.2)
    assert leader(world).peer_id == named
    assert leader(world).machine.term == term + 1


def test_a_hand_over_takes_one_word_one_vote_and_one_announcement() -> None:
    world, node = led(5)
    said: list[tuple[str, str]] = []
    deliver = Node.message

    def heard(self: Node, sender: str, message: AnyMessage) -> None:
        said.append((type(message).__name__, message.successor if isinstance(message, Resign) else ""))
        deliver(self, sender, message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Node, "message", heard)
        node.resign()
        world.run_until(world.now + 0.2)
    assert leader(world) is not node
    kinds = {kind for kind, _ in said}
    assert {"Resign", "Vote", "Announce"} <= kinds
    assert not kinds & {"PreVoteAsk", "PreVote", "Candidacy"}


def resigned(node: Node, to: Node, **last: int) -> Resign:
    """A leader's word, that it holds other acts than it does if ``last`` says so."""
    log = node.machine.log
    word = {"term": node.machine.term, "successor": to.peer_id, "last_term": log.term, "last_number": log.number} | last
    return Resign(**word)


def test_a_voter_that_knows_of_later_acts_does_not_vote_for_the_successor() -> None:
    world, node = led(5)
    successor, voter, *_ = others(world, node)
    before = voter.machine.term
    voter.message(node.peer_id, resigned(node, successor, last_number=node.machine.log.number - 1))
    assert voter.machine.term == before  # and elects as usual
    assert voter.machine.free(voter.local())
    assert voter.machine.campaign_at is not None


def test_a_successor_that_lacks_acts_does_not_stand() -> None:
    world, node = led(5)
    successor = others(world, node)[0]
    before = successor.machine.term
    successor.message(node.peer_id, resigned(node, successor, last_number=node.machine.log.number + 1))
    assert successor.machine.term == before
    assert successor.machine.campaign_at is not None


def test_votes_that_overtake_the_leaders_word_count_once_it_comes() -> None:
    world, node = led(5)
    named = world.nodes[node.machine.successor(node.local())]
    term, send, late = node.machine.term, world.send, []

    def held_up(source: str, to: str, message: AnyMessage) -> None:
        if to == named.peer_id and isinstance(message, Resign):
            late.append(message)
        else:
            send(source, to, message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "send", held_up)
        node.resign()
        world.run_until(world.now + 0.1)
        assert named.machine.term == term
        named.message(node.peer_id, late[0])
        world.run_until(world.now + 0.1)
    assert leader(world) is named
    assert named.machine.term == term + 1


def test_when_the_successor_is_gone_the_others_elect_soon() -> None:
    world, node = led(5)
    named = world.nodes[node.machine.successor(node.local())]
    term = node.machine.term
    world.faults.crash(named, 100)
    node.resign()
    world.run_until(world.now + 2)
    assert leader(world).machine.term > term + 1


def test_a_new_leader_is_not_challenged_by_hand_in_its_first_minute() -> None:
    world, node = led()
    since = world.now
    follower = others(world, node)[0]
    assert "first 60 s" in node.machine.trigger_election(node.local())
    assert follower.machine.trigger_election(follower.local()) == ""  # it is the leader that refuses
    follower.after_input()
    world.run_until(since + 10)
    assert leader(world) is node
    world.run_until(since + 70)
    follower.machine.trigger_election(follower.local())
    follower.after_input()
    world.run_until(since + 72)
    assert leader(world).machine.term > 2
    assert leader(world).machine.trigger == "manual"


def test_a_restored_home_has_no_vote_until_it_is_promoted_again() -> None:
    world, node = led()
    restored = others(world, node)[0]
    world.faults.crash(restored, 1000)
    restored.durable = DurableState()
    restored.start()
    restored.machine.distrust("mark", restored.local())
    world.join(restored)
    before = {v: t for v, _, t in world.check.votes if v == restored.peer_id}
    world.run_until(world.now + 1)
    assert not restored.machine.may_vote
    third = next(n for n in others(world, node) if n is not restored)
    world.faults.crash(third, 1)
    world.run_until(world.now + 0.5)
    assert propose(node, "note", POLICY) is None or node.chain.tip_number == restored.chain.tip_number
    world.run_until(world.now + 40)
    assert {v: t for v, _, t in world.check.votes if v == restored.peer_id} == before
    now = leader(world)
    propose(now, ActKind.VOTER_REMOVE, VoterPayload(peer_id=restored.peer_id))
    world.run_until(world.now + 1)
    propose(now, ActKind.VOTER_ADD, VoterPayload(peer_id=restored.peer_id, trusts="an earlier mark"))
    world.run_until(world.now + 1)
    assert restored.machine.is_voter
    assert not restored.machine.may_vote, "promoted by an admin that didn't know of this loss"
    propose(now, ActKind.VOTER_ADD, VoterPayload(peer_id=restored.peer_id, trusts="mark"))
    world.run_until(world.now + 1)
    assert restored.machine.may_vote
    assert not restored.machine.free(restored.local()), "bound for a timeout, as after a restart"


def test_a_leader_that_learns_it_forgot_votes_leads_no_more_and_another_does() -> None:
    world, node = led()
    votes = {v: t for v, _, t in world.check.votes if v == node.peer_id}
    node.machine.distrust("mark", node.local())
    node.after_input()
    assert not node.machine.leading(node.local())
    world.run_until(world.now + 2)
    assert leader(world) is not node
    assert node.machine.leader == leader(world).peer_id
    assert {v: t for v, _, t in world.check.votes if v == node.peer_id} == votes, "it votes for nobody"


def test_changes_of_voters_wait_for_one_another() -> None:
    world, node = led(5)
    start = node.chain.tip_number
    gone = [n.peer_id for n in others(world, node)[:2]]
    for peer in gone:
        propose(node, ActKind.VOTER_REMOVE, VoterPayload(peer_id=peer))
    assert sum(h.changes_voters for h in node.machine.log.suffix) <= 1
    world.run_until(world.now + 1)
    assert node.chain.tip_number == start + 2
    assert set(node.chain.voters).isdisjoint(gone)


def test_a_leader_voted_out_steps_down() -> None:
    world, node = led()
    propose(node, ActKind.VOTER_REMOVE, VoterPayload(peer_id=node.peer_id))
    world.run_until(world.now + 2)
    new = leader(world)
    assert new is not node
    assert node.machine.leader == new.peer_id  # a member without a vote follows all the same
    assert node.machine.state(node.local()) is State.FOLLOWER


def test_an_act_of_a_lost_leader_is_void_or_committed_everywhere_alike() -> None:
    world, node = led()
    world.faults.notice_s = 0.5
    world.faults.cut(node, world.rng, alone=True, for_s=1000.0)
    propose(node, "note", POLICY)
    world.run_until(world.now + 25)
    assert leader(world) is not node
    world.mend()
    world.run_until(world.now + 10)
    assert len({n.chain.canonical() for n in world.nodes.values()}) == 1
    assert all(a.kind != "note" for a in node.chain.committed)


def test_an_act_the_feed_refuses_ends_the_term() -> None:
    _, node = led()
    propose(node, "note", POLICY)
    reign = node.machine.reign
    assert reign is not None
    assert reign.appending is not None
    node.machine.act_failed(reign.appending, node.local())
    assert not node.machine.leading(node.local())


def test_what_was_committed_just_before_a_crash_is_in_a_feed_after_it() -> None:
    world, node = led()
    follower = others(world, node)[0]
    propose(node, "note", POLICY)
    appended = node._append_commit
    node._append_commit = lambda data: None  # type: ignore[method-assign]  # ends between the proof and its entry
    world.run_until(world.now + 1)
    world.faults.crash(node, 1000)
    node._append_commit = appended  # type: ignore[method-assign]
    assert node.durable.proofs
    feed = node.store[(node.peer_id, 0)]
    before = len(feed)
    node.start()
    world.run_until(world.now + 1)
    (commit,) = feed[before:]
    assert commit.header.type == "act.commit"
    assert follower.chain.tip_number == node.chain.tip_number
    world.faults.crash(node, 1000)
    node.start()
    world.run_until(world.now + 1)
    assert len(feed) == before + 1, "once is enough"
