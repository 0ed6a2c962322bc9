"""Which commands there are, and what each is for. Imports nothing, for help and completion read it, too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One word behind ``chorus-hap``: a command, or a group of them.

    ``module`` holds a function of the command's name, or for a group a Typer application called ``app``.
    """

    name: str
    module: str
    help: str
    group: bool = False
    alias_of: str = ""


COMMANDS: tuple[Command, ...] = (
    Command("status", "status", "who you are, who leads, whom you reach"),
    Command("peers", "members", "live connections"),
    Command(
        "members",
        "members",
        "who belongs to the cluster: invite, pending, approve, refuse, revoke, evict, promote, demote, log",
        group=True,
    ),
    Command(
        "cluster", "cluster", "where this home belongs, and how one gets in: join, recover, share, policy", group=True
    ),
    Command("election", "election", "who leads: show, why, verify, watch, trigger, resign", group=True),
    Command("hmmm", "hmmm", "rooms and messages: rooms, show, post, watch", group=True),
    Command("decisions", "decisions", "list, show, propose, vote, withdraw, watch", group=True),
    Command("decide", "decisions", "the same as decisions", group=True, alias_of="decisions"),
    Command("ucxl", "ucxl", "addresses: get, put, ls, log, diff, delete", group=True),
    Command("log", "log", "the durable log: tail, verify, purge, renew", group=True),
    Command("watch", "watch", "what waits for a person"),
    Command("config", "config", "settings and where each came from: show", group=True),
    Command("doctor", "doctor", "what may be wrong with this home, and what to do"),
)
#: Words of the product that this version doesn't have.
NOT_YET = ("patch", "collab", "web", "demo", "mcp", "licence", "shhh", "tasks", "backup")
