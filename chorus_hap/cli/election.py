"""``election``: who leads and why, and what a person may do about it."""

from __future__ import annotations

import msgspec
import typer

from agent_core.shapes import CertificateCheck, Election
from chorus_hap.cli.app import new_group
from chorus_hap.cli.numbers import integer
from chorus_hap.cli.output import Cell, Output, clean, span, when
from chorus_hap.cli.run import here

app = new_group("Who leads, and why.")


@app.command()
def show(context: typer.Context) -> None:
    """Print leader, term, voters and the last terms."""
    run = here(context)
    _print(run.out, run.read(Election, "election.show"))


@app.command()
def why(context: typer.Context) -> None:
    """Say in words who leads and why, and why not this node."""
    run = here(context)
    now = run.read(Election, "election.show")
    if run.out.json:
        run.out.data(_Why(now.why, now.term, now.leader.agent_id if now.leader else "", now.state, now.trigger))
    else:
        run.out.line(clean(now.why))


class _Why(msgspec.Struct):
    why: str
    term: int
    leader: str
    state: str
    trigger: str


@app.command()
def verify(
    context: typer.Context,
    term: int = typer.Argument(help="the term, as in `election show`", parser=integer("TERM"), metavar="TERM"),
) -> int:
    """Check by the votes in the store who led a past term; exit 1 when that can't be confirmed."""
    run = here(context)
    found = run.read(CertificateCheck, "election.verify", term=term)
    if run.out.json:
        run.out.data(found)
        return 0 if found.ok else 1
    run.out.line(Cell(clean(found.text), "good" if found.ok else "bad"))
    for vote in found.votes:
        mark = Cell("  signed   ", "good") if vote.good else Cell("  not good ", "bad")
        run.out.line(mark, Cell(clean(vote.agent_id), "name"), Cell(f"  {clean(vote.voter)}", "dim"))
    return 0 if found.ok else 1


@app.command()
def watch(context: typer.Context) -> None:
    """Print every change of leader, term or state until interrupted."""
    run = here(context)
    seen: tuple[object, ...] = ()
    for event in run.watch("election"):
        if event.value is None:
            continue
        now = msgspec.json.decode(event.value, type=Election)
        facts = (now.term, now.state, now.leader and (now.leader.peer_id, now.leader.certain), now.voters)
        if facts == seen:
            continue
        seen = facts
        if run.out.json:
            run.out.data(now)
        else:
            run.out.line(Cell(when(_now()), "dim"), f"  term {now.term}  {now.state:<13}  ", _leader(now))


@app.command()
def trigger(
    context: typer.Context, reason: str = typer.Option("", "--reason", metavar="TEXT", help="why, for the log")
) -> None:
    """Call an election now; the leader in office stays until another one has a majority."""
    run = here(context)
    now = run.change(Election, "election.trigger", reason=reason)
    if run.out.json:
        run.out.data(now)
    else:
        run.out.line(f"An election was called; the term is {now.term}, the state {now.state}.")


@app.command()
def resign(context: typer.Context) -> None:
    """Hand the lead over to the best other voter."""
    run = here(context)
    now = run.change(Election, "election.resign")
    if run.out.json:
        run.out.data(now)
    else:
        run.out.line("Resigned. ", _leader(now))


def _print(out: Output, now: Election) -> None:
    if out.json:
        out.data(now)
        return
    voters = now.voters
    out.facts(
        [
            ("leader", _leader(now)),
            ("claim", _claim(now)),
            ("term", str(now.term)),
            ("state", now.state),
            ("voters", f"{voters.reachable}/{voters.total} reachable, {voters.quorum} make a majority"),
            ("timing", f"heartbeat {now.heartbeat_s:g} s, timeout {now.timeout_s:g} s"),
            ("last act", f"{now.last_act}, committed up to {now.committed_act}" if now.last_act >= 0 else "none yet"),
            ("why", clean(now.why) or "-"),
        ]
    )
    if now.ballots:
        out.line()
        out.table(
            ("voter", "reachable", "voted for", "score"),
            (
                (
                    Cell(clean(b.agent_id) + (" (you)" if b.you else ""), "name"),
                    Cell("yes", "good") if b.reachable or b.you else Cell("no", "bad"),
                    clean(b.vote) or "-",
                    f"{b.score.total:.2f}" if b.score else "-",
                )
                for b in now.ballots
            ),
        )
    if now.timeline:
        out.line()
        out.table(
            ("term", "leader", "trigger", "at"),
            (
                (str(t.term), Cell(clean(t.leader) or "nobody", "name"), t.trigger or "-", when(t.at))
                for t in now.timeline
            ),
        )


def _leader(now: Election) -> Cell:
    if now.leader is None:
        return Cell("no leader", "warn")
    name = clean(now.leader.agent_id or now.leader.peer_id)
    if now.leader.certain:
        return Cell(f"{name} (heard {span(now.leader.lease_age_s)} ago)", "good")
    return Cell(f"last known leader {name}", "warn")


def _claim(now: Election) -> Cell:
    claim = now.claim
    if claim is None:
        return Cell("none is confirmed here", "warn")
    whose = "held by this node" if claim.own else "as heard here"
    return Cell(
        f"to term {claim.term}, {whose}: {span(claim.age_s)} old, ends in {span(claim.left_s)} "
        f"({claim.clock} {claim.until_s:.3f}, read at {claim.read_s:.3f})"
    )


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat()
