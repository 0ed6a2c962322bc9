"""``log``: the durable log of all feeds."""

from __future__ import annotations

import msgspec
import typer

from agent_core.errors import Refused
from agent_core.shapes import LogEntry, Verification
from chorus_hap.cli.app import new_group
from chorus_hap.cli.hmmm import delivered
from chorus_hap.cli.output import Cell, Output, clean, one_line, when
from chorus_hap.cli.run import here

app = new_group("The durable log of all feeds.")


@app.command()
def tail(
    context: typer.Context,
    limit: int = typer.Option(50, "--limit", "-n", metavar="N", help="newest entries at most"),
    follow: bool = typer.Option(False, "--follow", "-f", help="go on with what arrives, until interrupted"),
) -> None:
    """Print the newest entries, oldest first."""
    run = here(context)
    if not follow:
        for entry in run.read(tuple[LogEntry, ...], "log.tail", limit=limit):
            _print(run.out, entry)
        return
    dropped = 0
    for number, event in enumerate(run.watch("log")):
        if event.dropped > dropped:
            run.out.say(f"{event.dropped - dropped} left out: this reader is too slow")
            dropped = event.dropped
        items = event.items[max(0, len(event.items) - limit) :] if number == 0 else event.items
        for item in items:
            _print(run.out, msgspec.json.decode(item, type=LogEntry))


@app.command()
def verify(context: typer.Context) -> int:
    """Check every hash, signature and proof in the store anew; exit 1 when one doesn't hold."""
    run = here(context)
    result = run.read(Verification, "log.verify")
    if run.out.json:
        run.out.data(result)
    else:
        run.out.facts(
            [
                ("result", Cell("every feed verifies", "good") if result.ok else Cell(clean(result.bad), "bad")),
                ("feeds", str(result.feeds)),
                ("entries", str(result.entries)),
                ("bodies", str(result.bodies)),
                *(("fork", Cell(clean(fork), "warn")) for fork in result.forks),
            ]
        )
    return 0 if result.ok else 1


class _Purge(msgspec.Struct):
    key: str


@app.command()
def purge(
    context: typer.Context,
    key: str = typer.Argument(help="entry id, or author/epoch/number"),
    yes: bool = typer.Option(False, "--yes", help="you mean it"),
) -> None:
    """Drop an entry's body on every node; it can't be brought back, and the feed still verifies."""
    run = here(context)
    if not yes:
        raise Refused(f"This drops the body of {key} on every node for good.", "If you mean it, say so with --yes.")
    posted = run.deliver("log.purge", _Purge(key))
    if run.out.json:
        run.out.data(posted)
    else:
        run.out.line(clean(posted.text) or f"purged {key}", delivered(posted.delivered))


def _print(out: Output, entry: LogEntry) -> None:
    if out.json:
        out.data(entry)
        return
    missing = "" if entry.body in ("present", "", "no body") else f"  [{entry.body}]"
    out.line(
        Cell(f"{when(entry.at)}  {entry.id}  ", "dim"),
        Cell(clean(entry.author), "name"),
        Cell(f"  {clean(entry.type)}  ", "dim"),
        one_line(entry.text),
        Cell(missing + ("  [held: from the future]" if entry.held else ""), "warn"),
    )
