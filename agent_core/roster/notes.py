"""How membership stands, in words: one for the stage it is at, and the sentences a person should read. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence

from agent_core.election.acts import Act, ActKind
from agent_core.roster.fold import RevokePayload, read
from agent_core.roster.machine import Meeting
from agent_core.roster.model import Member, Roster
from agent_core.wire.envelope import one_line
from agent_core.wire.families.cooee import CooeeReply


def stage(member: Member | None, *, waits: bool, joining: bool, clusters_met: bool) -> str:
    """``looking for peers``, ``enrolling``, ``waiting for approval``, ``member``, ``evicted`` or ``revoked``.

    Args:
        member: this node's own record, if it is known.
        waits: a person has to approve it first.
        joining: it was admitted, and waits until the acts show it.
        clusters_met: a peer of some cluster is connected.
    """
    if waits:
        return "waiting for approval"
    if joining:
        return "enrolling"
    if member is not None:
        return "member" if member.active else "evicted" if member.revoked is None else "revoked"
    return "enrolling" if clusters_met else "looking for peers"


def foreign(met: Meeting, bound: str) -> str:
    """A peer of another cluster is in reach of this home, which belongs to ``bound``."""
    here, there = bound[:8], met.cluster[:8]
    if met.replaces and met.replaces == bound:
        return (
            f"{met.agent_id} founded cluster {there} in place of this one, {here}. If this one's majority is lost "
            f"for good, go there: chorus-hap cluster join {there}"
        )
    return (
        f"{met.agent_id} of cluster {there} is in reach; this home belongs to cluster {here}. Clusters of several "
        f"members never merge by themselves; this home alone goes there with: chorus-hap cluster join {there}"
    )


def other_network(name: str, own: str) -> str:
    """A peer of another network is connected."""
    return f"A peer of network {name} is connected; this is network {own}."


def gone(me: str, roster: Roster | None, acts: Sequence[Act]) -> list[str]:
    """What a person must know first of a node that is no member any more: by whom, why, and what now.

    Args:
        me: its peer id.
        roster: the roster in force.
        acts: the committed acts.
    """
    member = roster.get(me) if roster else None
    if roster is None or member is None or member.active:
        return []
    kind = ActKind.MEMBER_REVOKE if member.revoked is not None else ActKind.MEMBER_EVICT
    said = (read(act.payload, RevokePayload) for act in reversed(acts) if act.kind == kind)
    payload = next((p for p in said if p is not None and p.peer_id == me), None)
    by = why = ""
    if payload is not None:
        asker = roster.get(payload.warrant.by) if payload.warrant else None
        by = f" by {roster.name(asker.peer_id)}" if asker else ""
        why = f": {one_line(payload.reason, 200).rstrip('.')}" if payload.reason else ""
    cluster = roster.cluster_id[:8]
    if member.revoked is None:
        return [f"This node was evicted from cluster {cluster}{by}{why}. It asks to be admitted again."]
    return [
        f"This node was revoked from cluster {cluster}{by}{why}. Nothing it writes reaches the others any more; "
        "make a new home to come in as somebody new."
    ]


def waiting(cluster: str, since_ms: int, agent_id: str, peer_id: str) -> str:
    """This node waits until a person of the cluster approves it, since a Unix time in milliseconds."""
    since = time.strftime("%H:%M", time.localtime(since_ms / 1000))
    return (
        f"Waiting for approval by a person of cluster {cluster[:8]} since {since}; there this node is "
        f"{agent_id} …{peer_id[-6:]}."
    )


def refused(cluster: str, reply: CooeeReply) -> str:
    """A cluster doesn't admit this node, and says why."""
    return f"Cluster {cluster[:8]} doesn't admit this node: {one_line(f'{reply.message} {reply.next}', 400)}"


def unseen(cluster: str) -> str:
    """A cluster admitted this node, but its feeds don't show it."""
    return f"Cluster {cluster[:8]} admitted this node, but its acts don't come."
