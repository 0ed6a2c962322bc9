"""``watch``: what waits for a person, for status bars and notifiers."""

from __future__ import annotations

import msgspec
import typer

from agent_core.errors import InvalidInput
from agent_core.shapes import Attention
from chorus_hap.cli.output import Cell, one_line, when
from chorus_hap.cli.run import here


def watch(
    context: typer.Context,
    attention: bool = typer.Option(False, "--attention", help="votes, escalations, mentions, trouble"),
) -> None:
    """Print what waits now, then each new thing, until interrupted."""
    if not attention:
        raise InvalidInput("What is to be watched?", "`chorus-hap watch --attention`.")
    run = here(context)
    seen: set[str] = set()
    for event in run.watch("attention"):
        if event.value is None:
            continue
        items = msgspec.json.decode(event.value, type=tuple[Attention, ...])
        for item in items:
            if item.id in seen:
                continue
            if run.out.json:
                run.out.data(item)
            else:
                role = "bad" if item.urgent else "warn"
                run.out.line(
                    Cell(f"{when(item.at)}  ", "dim"), Cell(f"{item.kind:<10}", role), f"  {one_line(item.text)}"
                )
        seen = {item.id for item in items}  # what was settled may come back, and is then new
