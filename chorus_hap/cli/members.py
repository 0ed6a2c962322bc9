"""``peers`` and ``members``: whom this node is connected with, and who belongs to the cluster."""

from __future__ import annotations

import typer

from agent_core.shapes import MemberInfo, PeerInfo, RosterChange
from chorus_hap.cli.app import new_group
from chorus_hap.cli.output import Cell, clean, one_line, span, when
from chorus_hap.cli.run import here


def peers(context: typer.Context) -> None:
    """Print the live connections."""
    run = here(context)
    found = run.read(tuple[PeerInfo, ...], "peers")
    if run.out.json:
        for peer in found:
            run.out.data(peer)
        return
    run.out.table(
        ("agent", "peer", "way", "for", "round trip", "entries", "address"),
        (
            (
                Cell(clean(p.agent_id), "name") if p.agent_id else Cell("not a member", "warn"),
                p.peer_id[-6:],
                p.direction,
                span(p.connected_s),
                "-" if p.rtt_ms is None else f"{p.rtt_ms:.1f} ms",
                str(p.entries),
                clean(p.addresses[0]) if p.addresses else "",
            )
            for p in found
        ),
        "No connection to any peer.",
    )


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


def _presence(member: MemberInfo) -> Cell:
    if member.revoked:
        return Cell("revoked", "bad")
    if member.you:
        return Cell("here")
    return Cell("online", "good") if member.online else Cell("away", "dim")
