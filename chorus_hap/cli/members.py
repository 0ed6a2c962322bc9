"""``peers`` and ``members``: whom this node is connected with, and who belongs to the cluster."""

from __future__ import annotations

import sys
from typing import Any

import typer

from agent_core.clock import rfc3339, wall_ms
from agent_core.errors import Refused
from agent_core.shapes import MemberInfo, PeerInfo, RosterChange, RosterDone, Ticket, WaitingInfo
from chorus_hap.cli.app import new_group
from chorus_hap.cli.numbers import seconds
from chorus_hap.cli.output import Cell, clean, one_line, span, when
from chorus_hap.cli.run import Run, here


def peers(context: typer.Context) -> None:
    """Print the live connections, and who was turned away lately and why."""
    run = here(context)
    found = run.read(tuple[PeerInfo, ...], "peers")
    if run.out.json:
        for peer in found:
            run.out.data(peer)
        return
    run.out.table(
        ("agent", "peer", "way", "for", "round trip", "score", "refused", "entries", "address"),
        (
            (
                Cell(clean(p.agent_id), "name") if p.agent_id else Cell("not a member", "warn"),
                p.peer_id[-6:],
                p.direction or "-",
                span(p.connected_s) if p.direction else "-",
                "-" if p.rtt_ms is None else f"{p.rtt_ms:.1f} ms",
                Cell(f"{p.score:.0f}", "bad" if p.score <= -1 else ""),
                _refused(p),
                str(p.entries),
                clean(p.addresses[0]) if p.addresses else "",
            )
            for p in found
        ),
        "No connection to any peer.",
    )


def _refused(peer: PeerInfo) -> Cell:
    """What a peer was refused for, and for how long it is refused altogether."""
    why = ", ".join(f"{what} {n}" for what, n in peer.refused[:3])
    if peer.graylisted_s > 0:
        until = when(rfc3339(wall_ms() + round(peer.graylisted_s * 1000)))
        return Cell(f"graylisted until {until}: {why}", "bad")
    return Cell(why, "warn")


app = new_group("Who belongs to the cluster.")


@app.callback(invoke_without_command=True)
def members(context: typer.Context) -> None:
    """Print the roster, or with `log` its history."""
    if context.invoked_subcommand is not None:
        return
    run = here(context)
    found = run.read(tuple[MemberInfo, ...], "members")
    if run.out.json:
        for member in found:
            run.out.data(member)
        return
    run.out.table(
        ("agent", "kind", "role", "authority", "votes", "now", "last seen", "entries", "peer"),
        (
            (
                Cell(clean(m.agent_id) + (" (you)" if m.you else ""), "name"),
                m.kind,
                clean(m.role),
                m.authority,
                "leader" if m.leader else "voter" if m.voter else "-",
                _presence(m),
                when(m.last_seen),
                str(m.entries),
                m.peer_id[-6:],
            )
            for m in found
        ),
        "No members: this node belongs to no cluster yet.",
    )


@app.command()
def log(context: typer.Context) -> None:
    """Print every change of the roster, oldest first."""
    run = here(context)
    found = run.read(tuple[RosterChange, ...], "members.log")
    if run.out.json:
        for change in found:
            run.out.data(change)
        return
    run.out.table(
        ("act", "term", "at", "kind", "who", "what", "by", "voters"),
        (
            (
                str(c.number),
                str(c.term),
                when(c.at),
                c.kind,
                Cell(clean(c.who) or "-", "name"),
                one_line(c.text),
                clean(c.by),
                str(c.voters),
            )
            for c in found
        ),
        "No history: this node belongs to no cluster yet.",
    )


_WHO = typer.Argument(help="name of the member, or the end of its peer id")
_REASON = typer.Option("", "--reason", metavar="TEXT", help="why, for everybody to read")
_YES = typer.Option(False, "--yes", help="don't ask first")


@app.command()
def invite(
    context: typer.Context,
    expires: str = typer.Option("1h", "--expires", metavar="TIME", help="for how long it is good: 90s, 30m, 1h, 2d"),
    role: str = typer.Option(
        "", "--for-role", metavar="ROLE", help="the role it is for; any by default (--role says the same)"
    ),
) -> None:
    """Print a ticket that admits one newcomer; it is a secret until it is used or expires."""
    run = here(context)
    ticket = run.change(
        Ticket, "members.invite", expires_s=seconds(expires, "--expires"), role=role or run.options.role
    )
    if run.out.json:
        run.out.data(ticket)
        return
    run.out.line(ticket.token)
    run.out.say(f"It admits one newcomer until {when(ticket.expires_at)}. On the new machine:")
    run.out.say("  chorus-hap --ticket TICKET            the console, for a person")
    run.out.say("  chorus-hap --daemon --ticket TICKET   a node, for an agent")
    run.out.say("or put it into CHORUS_CLUSTER_TICKET. Hand it over in private: whoever has it can come in.")


@app.command()
def pending(context: typer.Context) -> None:
    """Print the newcomers that wait for approval."""
    run = here(context)
    found = run.read(tuple[WaitingInfo, ...], "members.pending")
    if run.out.json:
        for who in found:
            run.out.data(who)
        return
    run.out.table(
        ("agent", "peer", "role", "kind", "waits since", "host"),
        (
            (
                Cell(clean(w.agent_id), "name"),
                w.peer_id[-6:],
                clean(w.role),
                w.kind,
                when(w.since),
                clean(w.host) or "-",
            )
            for w in found
        ),
        "Nobody waits for approval.",
    )


@app.command()
def approve(
    context: typer.Context,
    id: str = typer.Argument(help="name of the newcomer, or the end of its peer id"),
    reason: str = _REASON,
) -> None:
    """Let a newcomer in that waits for approval."""
    change_roster(here(context), "members.approve", id=id, reason=reason)


@app.command()
def refuse(
    context: typer.Context,
    id: str = typer.Argument(help="name of the newcomer, or the end of its peer id"),
    reason: str = _REASON,
) -> None:
    """Turn a newcomer away that waits for approval."""
    change_roster(here(context), "members.refuse", id=id, reason=reason)


@app.command()
def revoke(context: typer.Context, id: str = _WHO, reason: str = _REASON, yes: bool = _YES) -> None:
    """Cut a member off for good; what it wrote so far stands, and nothing it writes afterwards counts."""
    run = here(context)
    _ask(run, f"Revoke {id}? Its identity never comes back.", yes)
    change_roster(run, "members.revoke", id=id, reason=reason)


@app.command()
def evict(context: typer.Context, id: str = _WHO, reason: str = _REASON, yes: bool = _YES) -> None:
    """Take a member that is away off the roster; when it is back it may be admitted again."""
    run = here(context)
    _ask(run, f"Evict {id}? It has to be admitted again when it comes back.", yes)
    change_roster(run, "members.evict", id=id, reason=reason)


@app.command()
def promote(context: typer.Context, id: str = _WHO, reason: str = _REASON) -> None:
    """Make a member a voter."""
    change_roster(here(context), "members.promote", id=id, reason=reason)


@app.command()
def demote(context: typer.Context, id: str = _WHO, reason: str = _REASON) -> None:
    """Take a voter's vote away, until it is promoted again by hand."""
    change_roster(here(context), "members.demote", id=id, reason=reason)


def change_roster(run: Run, method: str, **params: Any) -> None:
    """Have the roster changed, and print what became of it."""
    done = run.change(RosterDone, method, **params)
    if run.out.json:
        run.out.data(done)
    else:
        run.out.line(clean(done.text) + (f" Act {done.act}." if done.act else ""))


def _ask(run: Run, question: str, yes: bool) -> None:
    """Ask before what can't be undone; where nobody can answer, ``--yes`` must have been said.

    Raises:
        Refused: it wasn't confirmed.
    """
    if yes:
        return
    if not sys.stdin.isatty() or run.out.json:
        raise Refused(f"{clean(question)} Nobody is here to confirm it.", "Say so with --yes.")
    sys.stderr.write(f"{clean(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("Nothing was changed.")


def _presence(member: MemberInfo) -> Cell:
    if member.revoked:
        return Cell("revoked", "bad")
    if member.evicted:
        return Cell("evicted", "warn")
    if member.you:
        return Cell("here")
    return Cell("online", "good") if member.online else Cell("away", "dim")
