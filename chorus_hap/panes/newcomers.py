"""Letting in and sending away, the same from every pane: who waits, the operation and what became of it, the ticket's page."""

from __future__ import annotations

from collections.abc import Callable

from agent_core.shapes import RosterDone, Ticket
from chorus_hap.panes.base import Pane
from chorus_hap.store import Store
from chorus_hap.widgets.lines import Line, clock, wrap


def newcomer(store: Store, selected: str) -> str:
    """The peer id of the newcomer that is meant: the selected one, or the only one there is."""
    waiting = [w.peer_id for w in store.items("waiting")]
    return selected if selected in waiting else waiting[0] if len(waiting) == 1 else ""


def decide_on(pane: Pane, verb: str, peer_id: str) -> None:
    """Have the roster changed, and say what became of it."""
    if not peer_id:
        pane.console.say("Nobody is selected.", "warning")
        return

    async def job() -> None:
        done = await pane.ask(f"members.{verb}", RosterDone, id=peer_id)
        pane.console.say(done.text)

    pane.work(job)


def ticket_lines(ticket: Ticket, policy: str = "", here: Callable[[str], str] = str) -> Callable[[int], list[Line]]:
    """The page that shows a ticket."""

    def build(width: int) -> list[Line]:
        lines: list[Line] = [
            [(f"Good for one newcomer until {clock(ticket.expires_at)}. Hand it over in private.", "text")],
            [],
        ]
        size = max(20, width - 2)
        lines += [[(ticket.token[at : at + size], "accent")] for at in range(0, len(ticket.token), size)]
        lines += [[], [("y copies it. On the new machine, with TICKET in its place:", "dim")]]
        lines += [
            [("  " + here(f"chorus-hap {words}"), "text")] for words in ("--ticket TICKET", "--daemon --ticket TICKET")
        ]
        told = ["A new console asks for it on its first screen, too."]
        if policy == "open":
            told.append(
                "Admission is open: newcomers come in without one, until `:cluster policy invite` changes that."
            )
        lines += [[(part, "dim")] for text in told for part in wrap(text, size)]
        return lines

    return build
