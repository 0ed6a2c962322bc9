"""One consistent read of the election, and what it says to a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from agent_core import shapes
from agent_core.election.chain import TermRecord
from agent_core.election.model import Score, State, Timings
from agent_core.views import ViewContext

if TYPE_CHECKING:
    from agent_core.election.machine import ElectionMachine

#: Newest terms shown.
TIMELINE = 50


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about the election at one instant."""

    me: str
    state: State
    term: int
    leader: str  #: last known; empty if none ever was
    leader_term: int  #: the term that it leads or led
    certain: bool
    read_s: float  #: the instant
    lease_age_s: float
    lease_left_s: float
    voters: tuple[str, ...]
    reached: frozenset[str]
    votes: Mapping[str, str]  #: by voter, in this term
    scores: Mapping[str, Score]
    trigger: str
    timings: Timings
    last_act: int
    committed_act: int
    timeline: Sequence[TermRecord]  #: oldest first
    may_vote: bool
    lost_vote: bool
    patience_s: float  #: waited beyond the timeout


def snapshot(machine: ElectionMachine, now: float) -> Snapshot:
    """Read the machine once, at one instant (s)."""
    leading, lease_s = machine.leading(now), machine.timings.lease_s
    certain = leading or (machine.reign is None and machine.certain(now))
    # Who led hears no heartbeat of its own: its lead was sure as long as a majority acknowledged them.
    own = (machine.claim_until or machine.claimed_until) - lease_s
    since = own if leading else max(machine.last_heard, own)
    votes = {v.voter: v.candidate for v in machine.certificate.votes} if machine.certificate else {}
    if machine.ballot is not None and machine.ballot.term == machine.term:
        votes |= {v.voter: v.candidate for v in machine.ballot.votes.values()}
    return Snapshot(
        me=machine.me,
        state=machine.state(now),
        term=machine.term,
        leader=machine.last_leader,
        leader_term=machine.last_term,
        certain=certain,
        read_s=now,
        lease_age_s=max(0.0, now - since),
        lease_left_s=max(0.0, since + lease_s - now) if certain else 0.0,
        voters=machine.voters,
        reached=frozenset(v for v in machine.voters if v == machine.me or v in machine.connected),
        votes=votes,
        scores=dict(machine.scores),
        trigger=machine.trigger.value if machine.leader else "",
        timings=machine.timings,
        last_act=machine.log.number,
        committed_act=machine.chain.tip_number,
        timeline=machine.chain.timeline(),
        may_vote=machine.may_vote,
        lost_vote=bool(machine.doubt),
        patience_s=machine.patience.extra_s(now),
    )


def leader(snapshot: Snapshot, ctx: ViewContext) -> shapes.Leader | None:
    """Who leads as far as this node can prove now, or led last."""
    if not snapshot.leader:
        return None
    return shapes.Leader(
        peer_id=snapshot.leader,
        agent_id=ctx.name(snapshot.leader),
        term=snapshot.leader_term,
        certain=snapshot.certain,
        lease_age_s=round(snapshot.lease_age_s, 3),
        lease_left_s=round(snapshot.lease_left_s, 3),
    )


def claim(snapshot: Snapshot, ctx: ViewContext) -> shapes.Claim | None:
    """Whose claim to lead this node confirms at this instant; nobody's while no lease is alive here."""
    if not snapshot.certain:
        return None
    return shapes.Claim(
        peer_id=snapshot.leader,
        agent_id=ctx.name(snapshot.leader),
        term=snapshot.leader_term,
        own=snapshot.leader == snapshot.me,
        read_s=round(snapshot.read_s, 6),
        until_s=round(snapshot.read_s + snapshot.lease_left_s, 6),
        age_s=round(snapshot.lease_age_s, 6),
        left_s=round(snapshot.lease_left_s, 6),
    )


def voters(snapshot: Snapshot) -> shapes.Voters:
    """How near the cluster is to not being able to decide."""
    total = len(snapshot.voters)
    return shapes.Voters(total=total, reachable=len(snapshot.reached), quorum=total // 2 + 1 if total else 0)


def election(snapshot: Snapshot, ctx: ViewContext) -> shapes.Election:
    """The Election pane and ``election show``."""
    return shapes.Election(
        leader=leader(snapshot, ctx),
        term=snapshot.term,
        state=snapshot.state.value,
        heartbeat_s=snapshot.timings.heartbeat_s,
        timeout_s=snapshot.timings.timeout_s,
        voters=voters(snapshot),
        ballots=tuple(_ballot(snapshot, ctx, v) for v in snapshot.voters),
        timeline=timeline(snapshot.timeline, ctx),
        last_act=snapshot.last_act,
        committed_act=snapshot.committed_act,
        why=why(snapshot, ctx),
        trigger=snapshot.trigger,
        claim=claim(snapshot, ctx),
        patience_s=round(snapshot.patience_s, 3),
    )


def timeline(records: Sequence[TermRecord], ctx: ViewContext) -> tuple[shapes.TermInfo, ...]:
    """The newest terms, newest first."""
    return tuple(_term(record, ctx) for record in reversed(records[-TIMELINE:]))


def _ballot(snapshot: Snapshot, ctx: ViewContext, voter: str) -> shapes.VoterInfo:
    score = snapshot.scores.get(voter)
    return shapes.VoterInfo(
        peer_id=voter,
        agent_id=ctx.name(voter),
        reachable=voter in snapshot.reached,
        vote=ctx.name(snapshot.votes.get(voter, "")),
        score=None if score is None else shapes.ScoreParts(total=score.total, **msgspec.structs.asdict(score)),
        you=voter == snapshot.me,
        leader=snapshot.certain and voter == snapshot.leader,
    )


def _term(record: TermRecord, ctx: ViewContext) -> shapes.TermInfo:
    return shapes.TermInfo(
        term=record.term,
        leader=ctx.name(record.leader),
        trigger=record.trigger,
        at=ctx.at(record.hlc),
        certified=record.certified,
    )


def why(snapshot: Snapshot, ctx: ViewContext) -> str:
    """Who leads and why not this node, in words."""
    name, reach = ctx.name(snapshot.leader), voters(snapshot)
    count = f"{reach.reachable} of {reach.total} voters"
    match snapshot.state:
        case State.IDLE:
            return _outside(ctx)
        case State.LEADER if snapshot.certain and reach.total == 1:
            return f"You lead term {snapshot.term}: you are the only voter."
        case State.LEADER if snapshot.certain:
            return f"You lead term {snapshot.term}: a majority voted for you and acknowledges your heartbeats."
        case State.LEADER:
            return f"You were elected in term {snapshot.term}; no majority has acknowledged a heartbeat yet."
        case State.FOLLOWER if snapshot.certain:
            return f"{name} leads term {snapshot.term}, elected by a majority. {_standing(snapshot, name)}"
        case State.NO_QUORUM:
            return (
                f"Nobody can lead: you reach {count} and a majority is {reach.quorum}. "
                "Talking, reading and storing go on; roster changes and closing decisions wait."
            )
        case State.DISCOVERING:
            return "Looking for the leader."
        case State.STEPPING_DOWN:
            return "You handed over; the voters choose the next leader."
        case State.CANDIDATE | State.VOTING:
            return f"An election is under way in term {snapshot.term}: {count} can be reached, and a majority is {reach.quorum}."
    whose = "this node, sure of it until" if snapshot.leader == snapshot.me else f"{name}, heard"
    last = f" The last known leader is {whose} {snapshot.lease_age_s:.0f} s ago." if name else ""
    return f"No leader is known for term {snapshot.term}.{last}"


def _outside(ctx: ViewContext) -> str:
    """Why this node takes no part."""
    member = ctx.member(ctx.me)
    if member is None or member.active:
        return "This node belongs to no cluster yet."
    how = "evicted from" if member.revoked is None else "revoked from"
    return f"This node was {how} its cluster and takes no part in its elections; who leads now isn't known here."


def _standing(snapshot: Snapshot, name: str) -> str:
    if snapshot.lost_vote:
        return "You have no vote until the admin promotes this node again: its home was restored."
    if not snapshot.may_vote:
        return "You are a member without a vote in elections; `members promote` would give you one."
    patience = (
        f" This machine runs late, so you wait {snapshot.patience_s:.1f} s longer than the timeout before you call an election."
        if snapshot.patience_s
        else ""
    )
    theirs, mine = snapshot.scores.get(snapshot.leader), snapshot.scores.get(snapshot.me)
    scores = (
        f" You score {mine.total:.2f} and {name} {theirs.total:.2f}; a better score alone starts no election."
        if theirs and mine
        else ""
    )
    return f"You are a voter and follow while {name}'s heartbeats arrive.{scores}{patience}"
