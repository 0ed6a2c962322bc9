"""``decisions`` (also ``decide``): what is put to the vote, and voting."""

from __future__ import annotations

import msgspec
import typer

from agent_core.errors import NotFound
from agent_core.feeds.model import MAX_BODY_BYTES
from agent_core.nearest import nearest
from agent_core.shapes import Decision, Posted, ProposeRequest, VoteRequest
from chorus_hap.cli.app import new_group
from chorus_hap.cli.hmmm import delivered
from chorus_hap.cli.numbers import share
from chorus_hap.cli.output import Cell, Output, block, clean, one_line, plural, span, when
from chorus_hap.cli.run import Run, here, text_from

app = new_group("What is put to the vote.")

_STATES = {
    "open": "warn",
    "closing": "warn",
    "approved": "good",
    "rejected": "bad",
    "no_quorum": "bad",
    "withdrawn": "dim",
}


@app.command("list")
def list_(
    context: typer.Context, state: str = typer.Option("", "--state", metavar="STATE", help="only those in this state")
) -> None:
    """List decisions, newest first."""
    run = here(context)
    if state and state not in _STATES:
        raise NotFound(
            f"There is no state {state[:40]!r}.", nearest(state, _STATES, f"It is one of {', '.join(_STATES)}.")
        )
    found = [d for d in run.read(tuple[Decision, ...], "decisions.list") if not state or d.state == state]
    if run.out.json:
        for decision in found:
            run.out.data(decision)
        return
    run.out.table(
        ("id", "state", "tally", "left", "your vote", "title"),
        (
            (
                Cell(d.id, "name"),
                Cell(d.state, _STATES.get(d.state, "")),
                _tally(d),
                span(d.time_left_s) if d.state == "open" else "-",
                d.your_vote or "-",
                one_line(d.title),
            )
            for d in found
        ),
        "No decisions yet. `chorus-hap decisions propose TITLE` makes one.",
    )


@app.command()
def show(context: typer.Context, id: str = typer.Argument(help="decision id, or its unique beginning")) -> None:
    """Print a decision with its votes."""
    run = here(context)
    decision = run.read(Decision, "decisions.show", id=id)
    if run.out.json:
        run.out.data(decision)
    else:
        _print(run.out, decision)


@app.command()
def propose(
    context: typer.Context,
    title: str = typer.Argument(help="what is to be decided, one line"),
    description: str = typer.Option("", "--description", metavar="TEXT", help="the long text, or - for standard input"),
    kind: str = typer.Option(
        "operational", "--kind", metavar="WORD", help="architecture, security, operational, policy, code or emergency"
    ),
    project: str = typer.Option("chorus", "--project", metavar="NAME", help="project it belongs to"),
    task: str = typer.Option("decisions", "--task", metavar="NAME", help="task it belongs to"),
    option: list[str] = typer.Option(
        [], "--option", metavar="WORD", help="a choice in place of yes or no; again for more"
    ),
    rule: str = typer.Option("majority", "--rule", metavar="WORD", help="majority, supermajority or unanimous"),
    quorum: float = typer.Option(
        0.5,
        "--quorum",
        metavar="SHARE",
        parser=lambda text: share(str(text), "--quorum"),
        help="share of the eligible that must vote, from 0 to 1",
    ),
    deadline: str = typer.Option("1h", "--deadline", metavar="WHEN", help="RFC 3339, or a duration like 10m"),
    authority: str = typer.Option(
        "coordination", "--authority", metavar="LEVEL", help="least authority of who may vote"
    ),
) -> None:
    """Put something to the vote."""
    run = here(context)
    text = text_from([description], MAX_BODY_BYTES, "description") if description else ""
    posted = run.deliver(
        "decisions.propose",
        ProposeRequest(
            title=title,
            description=text,
            kind=kind,
            project=project,
            task=task,
            options=tuple(option),
            rule=rule,
            quorum=quorum,
            deadline=deadline,
            authority=authority,
        ),
    )
    _done(run, posted, f"proposed {posted.id}")


@app.command()
def vote(
    context: typer.Context,
    id: str = typer.Argument(help="decision id, or its unique beginning"),
    choice: str = typer.Argument(help="approve, reject, abstain, or one of its options"),
    reason: str = typer.Option("", "--reason", metavar="TEXT", help="why; a rejection needs one"),
) -> None:
    """Vote, or change your vote while it is open."""
    run = here(context)
    posted = run.deliver("decisions.vote", VoteRequest(id=id, choice=choice, reason=reason))
    _done(run, posted, f"voted {choice}")


class _Withdraw(msgspec.Struct):
    id: str
    reason: str


@app.command()
def withdraw(
    context: typer.Context,
    id: str = typer.Argument(help="decision id, or its unique beginning"),
    reason: str = typer.Option("", "--reason", metavar="TEXT", help="why"),
) -> None:
    """Take a proposal of your own back."""
    run = here(context)
    posted = run.deliver("decisions.withdraw", _Withdraw(id, reason))
    _done(run, posted, "withdrawn")


@app.command()
def watch(context: typer.Context) -> None:
    """Print every change of a decision until interrupted."""
    run = here(context)
    seen: dict[str, object] = {}
    first = True
    for event in run.watch("decisions"):
        if event.value is None:
            continue
        for d in reversed(msgspec.json.decode(event.value, type=tuple[Decision, ...])):
            facts = (d.state, d.tally, d.votes)
            if seen.get(d.id) == facts:
                continue
            seen[d.id] = facts
            if first and d.state not in ("open", "closing"):
                continue
            if run.out.json:
                run.out.data(d)
            else:
                run.out.line(
                    Cell(d.id, "name"),
                    "  ",
                    Cell(f"{d.state:<9}", _STATES.get(d.state, "")),
                    f"  {_tally(d)}  {one_line(d.title)}",
                )
        first = False


def _done(run: Run, posted: Posted, what: str) -> None:
    if run.out.json:
        run.out.data(posted)
    else:
        run.out.line(clean(posted.text) or what, delivered(posted.delivered))


def _tally(decision: Decision) -> str:
    counted = " ".join(f"{clean(choice)} {count}" for choice, count in decision.tally.items())
    return f"{counted or 'no votes'} of {decision.eligible}" + (" (provisional)" if decision.provisional else "")


def _print(out: Output, d: Decision) -> None:
    out.line(Cell(one_line(d.title), "bold"))
    facts: list[tuple[str, str | Cell]] = [
        ("id", Cell(d.id, "name")),
        ("state", Cell(d.state + (f": {clean(d.outcome)}" if d.outcome else ""), _STATES.get(d.state, ""))),
        ("tally", _tally(d)),
        ("rule", f"{d.rule}, quorum {d.quorum:g} of {d.eligible}"),
        ("kind", d.kind),
        ("proposed", f"{when(d.at)} by {clean(d.proposer)}"),
        ("deadline", when(d.deadline) + (f", {span(d.time_left_s)} left" if d.state == "open" else "")),
        ("address", clean(d.address)),
        ("your vote", d.your_vote or (f"none: {d.may_vote}" if d.may_vote else "none yet")),
    ]
    if d.waiting_for:
        facts.append(("waiting for", ", ".join(map(clean, d.waiting_for))))
    out.facts(facts)
    if d.description:
        out.line()
        out.line(block(d.description))
    cast = [v for v in d.votes if v.choice]
    if cast:
        out.line()
        out.table(
            ("voter", "vote", "at", "reason"),
            (
                (
                    Cell(clean(v.voter) + (" (you)" if v.you else ""), "name"),
                    (f"{clean(v.previous)} → " if v.previous else "")
                    + clean(v.choice)
                    + ("" if v.counted else ", not counted"),
                    when(v.at),
                    one_line(v.reason),
                )
                for v in cast
            ),
        )
    if d.provisional and d.state in ("open", "closing"):
        out.say(f"The tally is provisional: {plural(len(d.waiting_for), 'vote')} not cast yet.")
