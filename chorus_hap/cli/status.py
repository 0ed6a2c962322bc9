"""``status``: who you are, who leads, whom you reach."""

from __future__ import annotations

import typer

from agent_core.shapes import Status
from chorus_hap.cli.output import Cell, clean, plural, span, when
from chorus_hap.cli.run import here


def status(context: typer.Context) -> None:
    """Print how this node and its cluster stand."""
    run = here(context)
    now = run.read(Status, "status")
    out = run.out
    if out.json:
        out.data(now)
        return
    who = ", ".join(filter(None, (now.kind, clean(now.role), now.authority)))
    out.facts(
        [
            ("you", Cell(f"{clean(now.agent_id)} ({who})".strip(), "bold")),
            ("network", _network(now)),
            ("state", _state(now)),
            ("leader", leader_words(now)),
            ("voters", voters_words(now)),
            ("admission", now.policy or "-"),
            ("peers", str(now.peers)),
            ("entries", str(now.entries)),
            *([("held", Cell(_held(now), "warn"))] if now.held else []),
            ("up", "no node runs" if now.offline else f"{span(now.uptime_s)}, {now.mode}, version {now.version}"),
            ("home", now.home),
            ("peer id", now.peer_id),
            *(("address", address) for address in now.addresses),
        ]
    )
    if now.lone and not now.offline:
        out.say("You are a cluster of one and its leader. Bring a second node:")
        out.say(f"  {out.here.second_node(now.addresses, now.network)}")
    for doing in now.underway:
        out.say(clean(doing.text))
    for note in now.notes:
        out.say(f"! {clean(note)}")
    if now.ahead is not None:
        out.say(f"  {clean(now.ahead.next)}")


def _held(now: Status) -> str:
    """What waits for its time."""
    return f"{plural(now.held, 'entry', 'entries')} stamped ahead of the clock, counted from {when(now.held_until)} on"


def _network(now: Status) -> str:
    cluster = f"cluster {now.cluster_id[:16]}" if now.cluster_id else "no cluster yet"
    return f"{clean(now.network)}, {cluster}" if now.network else cluster


def _state(now: Status) -> Cell:
    if now.offline:
        return Cell("offline", "warn")
    return Cell(f"{now.stage} ({now.state})", "good" if now.stage == "ready" else "warn")


def leader_words(now: Status) -> Cell:
    """Who leads; what no current lease confirms isn't said as a fact."""
    leader = now.leader
    if leader is None:
        return Cell("none known", "warn")
    name = clean(leader.agent_id or leader.peer_id)
    if not leader.certain:
        heard = f", heard {span(leader.lease_age_s)} ago" if leader.lease_age_s else ""
        return Cell(f"last known leader {name} (term {leader.term}){heard}", "warn")
    you = ", you" if leader.peer_id == now.peer_id else ""
    return Cell(f"{name} (term {leader.term}, heard {span(leader.lease_age_s)} ago{you})")


def voters_words(now: Status) -> Cell:
    """How near the cluster is to not being able to decide."""
    voters = now.voters
    head = f"{voters.reachable}/{voters.total} reachable"
    if now.offline or not voters.total:
        return Cell(f"{voters.total}", "dim")
    if voters.spare < 0:
        return Cell(f"{head}; {-voters.spare} more needed for a majority", "bad")
    if voters.spare == 0 and voters.total > 1:
        return Cell(f"{head}; losing 1 more stops elections", "warn")
    return Cell(f"{head}; {plural(voters.spare, 'more voter')} may go" if voters.spare else head)
