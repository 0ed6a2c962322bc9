"""When to found, where to enrol, when to yield, and whom to make a voter: the pure rules of SPEC section 4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from agent_core.election.acts import ActKind
from agent_core.roster.judging import MAX_VOTERS as MAX_VOTERS
from agent_core.roster.model import Authority, Member, Roster, VoterUse
from agent_core.wire.envelope import one_line
from agent_core.wire.families.cooee import CooeeWaiting

#: How many voters a cluster wants before consoles' nodes are left alone.
ENOUGH_VOTERS = 3


@dataclass(frozen=True, slots=True)
class Meeting:
    """What a connected peer last said of itself."""

    peer_id: str
    agent_id: str = ""
    cluster: str = ""
    lone: bool = False
    moving: bool = False
    members: int = 0
    replaces: str = ""
    leader: str = ""
    voter_use: VoterUse = VoterUse.NEVER
    doubt: str = ""
    waiting: tuple[CooeeWaiting, ...] = ()


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything founding and enrolling depends on.

    Args:
        me: this node's peer id.
        now_ms, since_ms: now, and when it began to look for peers; milliseconds on one clock.
        cluster: the cluster it belongs to, empty if none ever.
        lone: that cluster's only member ever is this node.
        met: the connected peers that have spoken.
        grace_ms: how long to look before founding.
        found_now: ``--found``.
        nobody_to_look_for: no bootstrap peer named and mDNS off.
        may_found: false for a command's node.
        avoid: clusters that refused a moment ago.
        goal: the cluster that its person told it to join.
        invited: the cluster this home has a ticket for: it goes there or nowhere.
    """

    me: str
    now_ms: int
    since_ms: int
    cluster: str = ""
    lone: bool = False
    met: tuple[Meeting, ...] = ()
    grace_ms: int = 10_000
    found_now: bool = False
    nobody_to_look_for: bool = False
    may_found: bool = True
    avoid: frozenset[str] = frozenset()
    goal: str = ""
    invited: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Found a cluster now."""


@dataclass(frozen=True, slots=True)
class Enrol:
    """Ask a peer to be admitted to its cluster."""

    peer_id: str
    cluster: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something changes or the time comes (Unix milliseconds)."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Stay:
    """This node is where it belongs."""


Step: TypeAlias = Found | Enrol | Wait | Stay


def next_step(s: Situation) -> Step:
    """What to do about membership now."""
    if s.goal and s.goal != s.cluster:
        there = [m for m in s.met if m.cluster == s.goal and not m.moving and s.goal not in s.avoid]
        return _enrol(there) if there else Wait(s.now_ms + 500)
    if s.cluster and not s.lone:
        return Stay()
    bound = [m for m in s.met if m.cluster and m.cluster != s.cluster]
    if s.invited:
        bound = [m for m in bound if m.cluster == s.invited]
    elif s.cluster:
        bound = [m for m in bound if not m.lone or m.cluster < s.cluster]
    ready = [m for m in bound if not m.moving and m.cluster not in s.avoid]
    may_found = s.may_found and not s.invited
    if s.found_now and not s.cluster and may_found:
        return Found()
    if ready:
        return _enrol(ready)
    if s.cluster:
        return Stay()
    if bound or not may_found:
        return Wait(s.now_ms + 1000)  # there is a cluster: never found another one beside it
    return _found_or_wait(s)


def _enrol(ready: Iterable[Meeting]) -> Enrol:
    """By way of whom: the largest cluster first, and there the leader."""
    best = min(ready, key=lambda m: (m.lone, -m.members, m.cluster, m.leader != m.peer_id, m.peer_id))
    return Enrol(best.peer_id, best.cluster)


def _found_or_wait(s: Situation) -> Step:
    if s.nobody_to_look_for and not s.met:
        return Found()
    # Of several newcomers that found only each other the least founds first and the others enrol there.
    first = all(s.me < m.peer_id for m in s.met)
    until = s.since_ms + (s.grace_ms if first else 2 * s.grace_ms)
    return Found() if s.now_ms >= until else Wait(until)


def foreign(s: Situation) -> tuple[Meeting, ...]:
    """Peers of other clusters that this node, being where it belongs, can only mention: one for each cluster."""
    if not s.cluster or isinstance(next_step(s), Enrol):
        return ()
    return tuple({m.cluster: m for m in s.met if m.cluster and m.cluster != s.cluster and not m.lone}.values())


@dataclass(frozen=True, slots=True)
class Electorate:
    """What the leader knows of who could vote.

    Args:
        roster: the roster in force.
        me: the leader.
        online: connected peers, itself included.
        uses: what each connected member runs as.
        caught_up: members that hold what the leader holds.
        unseen_ms: for how long each absent voter has been away, milliseconds.
        demote_after_ms: how long that may be.
        doubts: members whose home was restored, and the mark of that loss of memory.
    """

    roster: Roster
    me: str
    online: frozenset[str] = frozenset()
    uses: Mapping[str, VoterUse] = field(default_factory=dict)
    caught_up: frozenset[str] = frozenset()
    unseen_ms: Mapping[str, int] = field(default_factory=dict)
    demote_after_ms: int = 600_000
    doubts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VoterChange:
    """One voter to add or to remove."""

    kind: ActKind
    peer_id: str
    reason: str
    trusts: str = ""


def voter_change(e: Electorate) -> VoterChange | None:
    """The next single change of the voters, if one is due: who forgot its votes goes first, then the absent go, then
    daemons come, then consoles' nodes."""
    voters = e.roster.voters
    forgot = sorted(v for v in voters if e.doubts.get(v) and e.doubts[v] != e.roster.members[v].trusted)
    if forgot and _reachable(voters, e.online.difference(forgot)) >= e.roster.quorum:
        return VoterChange(ActKind.VOTER_REMOVE, forgot[0], "its home was restored: it may have forgotten votes")
    gone = [v for v in voters if v != e.me and e.unseen_ms.get(v, 0) >= e.demote_after_ms and v not in e.online]
    if gone and _reachable(voters, e.online) >= e.roster.quorum:
        worst = max(gone, key=lambda v: (e.unseen_ms[v], v))
        return VoterChange(ActKind.VOTER_REMOVE, worst, f"not seen for {e.unseen_ms[worst] // 60_000} min")
    if len(voters) >= MAX_VOTERS:
        return None
    ready = [
        p
        for p, m in e.roster.members.items()
        if m.active and not m.voter and not m.benched and p in e.online and p in e.caught_up
    ]
    full = sorted(p for p in ready if e.uses.get(p) is VoterUse.FULL)
    if full:
        return VoterChange(ActKind.VOTER_ADD, full[0], "caught up", e.doubts.get(full[0], ""))
    spare = sorted(p for p in ready if e.uses.get(p) is VoterUse.SPARE)
    if spare and len(voters) < ENOUGH_VOTERS:
        why = f"fewer than {ENOUGH_VOTERS} voters"
        return VoterChange(ActKind.VOTER_ADD, spare[0], why, e.doubts.get(spare[0], ""))
    return None


@dataclass(frozen=True, slots=True)
class Departure:
    """A member that the leader should evict, and why."""

    member: Member
    reason: str


def departed(
    roster: Roster, me: str, *, moved: Mapping[str, str], unseen_ms: Mapping[str, int], evict_after_ms: int
) -> tuple[Departure, ...]:
    """Whom to evict: who moved into another cluster, then the absent, the longest first.

    For absence no voter is evicted, since those are demoted first, and nobody with ``master``.

    Args:
        roster: the roster in force.
        me: the leader.
        moved: who moved, and into which cluster.
        unseen_ms: for how long each absent member has been away, milliseconds.
        evict_after_ms: how long that may be; 0 for ever.
    """
    others = {p: m for p, m in roster.members.items() if m.active and p != me}
    gone = [Departure(others[p], f"moved to cluster {one_line(moved[p], 8)}") for p in sorted(moved) if p in others]
    late = [
        m
        for p, m in others.items()
        if evict_after_ms and not m.voter and unseen_ms.get(p, 0) >= evict_after_ms and p not in moved
    ]
    late = [m for m in late if m.authority is not Authority.MASTER]
    late.sort(key=lambda m: (-unseen_ms[m.peer_id], m.peer_id))
    return (*gone, *(Departure(m, f"not seen for {unseen_ms[m.peer_id] // 60_000} min") for m in late))


def _reachable(voters: Iterable[str], online: frozenset[str]) -> int:
    return sum(1 for v in voters if v in online)
