"""``cluster``: where this home belongs, and what to do when that was lost."""

from __future__ import annotations

import typer

from agent_core.shapes import Moved
from chorus_hap.cli.app import new_group
from chorus_hap.cli.output import clean
from chorus_hap.cli.run import Run, here, new_op_id

app = new_group("Where this home belongs.")


@app.command()
def join(
    context: typer.Context,
    cluster: str = typer.Argument(help="beginning of the cluster's id, or the address of one of its nodes"),
    force: bool = typer.Option(
        False, "--force", help="leave even though no majority of the old one lets this voter go"
    ),
) -> None:
    """Move this home, and nobody else's, into another cluster in reach."""
    run = here(context)
    _print(run, run.change(Moved, "cluster.join", cluster=cluster, force=force))


@app.command()
def recover(
    context: typer.Context,
    force_new: bool = typer.Option(False, "--force-new", help="the voters out of reach are gone for good"),
) -> None:
    """Found a cluster in place of this one, whose majority is lost; without --force-new say what that would cost."""
    run = here(context)
    _print(run, run.change(Moved, "cluster.recover", force_new=force_new))


@app.command()
def share(context: typer.Context) -> None:
    """Show the others what this home wrote before it came into their cluster."""
    run = here(context)
    _print(run, run.change(Moved, "cluster.share", op_id=run.options.op_id or new_op_id()))


def _print(run: Run, moved: Moved) -> None:
    if run.out.json:
        run.out.data(moved)
    else:
        run.out.line(clean(moved.text))
