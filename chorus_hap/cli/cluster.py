"""``cluster``: where this home belongs, and what to do when that was lost."""

from __future__ import annotations

import typer

from agent_core.errors import InvalidInput
from agent_core.shapes import Moved, Status
from chorus_hap.cli.app import new_group
from chorus_hap.cli.members import change_roster
from chorus_hap.cli.output import clean
from chorus_hap.cli.run import Run, here, new_op_id

app = new_group("Where this home belongs.")


@app.command()
def join(
    context: typer.Context,
    cluster: str = typer.Argument(help="beginning of the cluster's id, or the address of one of its nodes"),
    force: bool = typer.Option(
        False, "--force", help="leave even though the old one can't let this voter go, or nobody is left to govern it"
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
def policy(
    context: typer.Context,
    policy: str = typer.Argument("", help="open, invite or approve; leave it out to see which it is"),
    reason: str = typer.Option("", "--reason", metavar="TEXT", help="why, for everybody to read"),
) -> None:
    """Say how newcomers are admitted, or change it: anybody, by ticket, or once a person approved."""
    run = here(context)
    if policy:
        if policy not in _POLICIES:
            raise InvalidInput(f"There is no policy {policy[:40]!r}.", "It is open, invite or approve.")
        change_roster(run, "cluster.policy", policy=policy, reason=reason)
        return
    now = run.read(Status, "status")
    if run.out.json:
        run.out.data({"policy": now.policy})
    else:
        run.out.line(
            run.out.here(f"{now.policy}: {_POLICIES[now.policy]}")
            if now.policy in _POLICIES
            else "This home is in no cluster."
        )


_POLICIES = {
    "open": "whoever is of the same network and reaches a member is admitted",
    "invite": "a newcomer needs a ticket (`chorus-hap members invite`)",
    "approve": "a newcomer waits until a person approves it, or brings a ticket",
}


@app.command()
def share(context: typer.Context) -> None:
    """Show the others what this home wrote before it came into their cluster."""
    run = here(context)
    _print(run, run.change(Moved, "cluster.share", op_id=run.options.op_id or new_op_id()))


def _print(run: Run, moved: Moved) -> None:
    if run.out.json:
        run.out.data(moved)
    else:
        run.out.line(run.out.here(clean(moved.text)))
