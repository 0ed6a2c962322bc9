"""``log``: the durable log of all feeds."""

from __future__ import annotations

from pathlib import Path

import msgspec
import typer

from agent_core.errors import Refused
from agent_core.shapes import EntryProof, LogEntry, Posted, Verification
from chorus_hap.cli.app import new_group
from chorus_hap.cli.hmmm import delivered
from chorus_hap.cli.numbers import integer, limit_option
from chorus_hap.cli.output import Cell, Output, clean, one_line, when
from chorus_hap.cli.run import ask_first, here

app = new_group("The durable log of all feeds.")


@app.command()
def tail(
    context: typer.Context,
    limit: int = limit_option(50, "--limit", "-n", help="newest entries at most"),
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
    """Check every hash, signature, proof and block in the store anew; exit 1 when one doesn't hold."""
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
                ("blocks", str(result.blocks)),
                *(("fork", Cell(clean(fork), "warn")) for fork in result.forks),
            ]
        )
    return 0 if result.ok else 1


_AUTHOR = typer.Option("", "--author", metavar="MEMBER", help="whose feed: a peer id or agent id; your own if left out")
_EPOCH = typer.Option(
    None, "--epoch", metavar="N", parser=integer("--epoch"), help="which epoch of the feed; the newest if left out"
)


@app.command()
def prove(
    context: typer.Context,
    entry: str = typer.Argument(help="entry's number in the feed, its id, or author/epoch/number"),
    author: str = _AUTHOR,
    epoch: int | None = _EPOCH,
    out: Path | None = typer.Option(None, "--out", "-o", metavar="BASE", help="write BASE.tlog-proof and BASE.header"),
) -> None:
    """Prove one entry to anybody: print its C2SP tlog-proof, or write it beside the header's bytes that it proves."""
    run = here(context)
    proof = run.read(EntryProof, "log.prove", entry=entry, author=author, epoch=epoch)
    if out is not None:
        from chorus_hap.cli.export import write_proof

        header, path = write_proof(proof, out)
        run.out.say(f"{path} proves {header}; key: {proof.verifier}")
    if run.out.json:
        run.out.data(proof)
    elif out is None:
        run.out.raw(proof.proof.encode())


@app.command()
def export(
    context: typer.Context,
    directory: Path = typer.Argument(help="an empty directory, or an earlier export of the same feed"),
    author: str = _AUTHOR,
    epoch: int | None = _EPOCH,
    bodies: bool = typer.Option(False, "--bodies", help="with the bodies that are held here, and their salts"),
) -> None:
    """Write a feed as files that other people's tools check (C2SP tlog-tiles): checkpoint, headers, tree."""
    from chorus_hap.cli.export import export as write

    run = here(context)
    written = write(run, directory, author, epoch, bodies)
    if run.out.json:
        run.out.data(written)
    else:
        run.out.facts(
            [
                ("feed", f"{clean(written.author)}/{written.epoch}"),
                ("entries", str(written.entries)),
                *([("bodies", str(written.bodies))] if bodies else []),
                ("key", clean(written.verifier)),
                ("written to", clean(written.directory)),
            ]
        )


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


class _Renew(msgspec.Struct):
    confirmed: bool


@app.command()
def renew(context: typer.Context, yes: bool = typer.Option(False, "--yes", help="the clock is right now")) -> None:
    """Go on in a new epoch of this home's log whose clock starts now, and say again what the old one stamped later."""
    run = here(context)
    if not yes:
        ask_first(run, lambda: run.change(Posted, "log.renew", confirmed=False))
    posted = run.deliver("log.renew", _Renew(True))
    if run.out.json:
        run.out.data(posted)
    else:
        run.out.line(clean(posted.text), delivered(posted.delivered))


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
        Cell(missing + (f"  [held: counts from {when(entry.counts_at)}]" if entry.held else ""), "warn"),
        Cell("  [withdrawn, said again]" if entry.withdrawn else "", "dim"),
    )
