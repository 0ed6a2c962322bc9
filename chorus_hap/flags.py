"""The flags that mean the same everywhere, and which way in a command line asks for. Imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from agent_core.errors import InvalidInput

#: Flag to setting, for flags that are settings by another name.
SETTING_OF_FLAG = {
    "network": "cluster.network",
    "bootstrap": "bootstrap.peers",
    "agent_id": "agent.id",
    "role": "agent.role",
    "found": "cluster.found",
    "ticket": "cluster.ticket",
}


@dataclass(frozen=True, slots=True)
class Launch:
    """How a node or console is to be started.

    ``settings`` maps ``section.key`` to what the flags say, for :func:`agent_core.settings.load`.
    """

    home: str | None = None
    kind: str | None = None
    daemon: bool = False
    owned: bool = False
    read_only: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def argv(self) -> list[str]:
        """The flags that start a node with the same settings."""
        words = ["--home", self.home] if self.home else []
        if self.kind:
            words += ["--kind", self.kind]
        for name, value in self.settings.items():
            words += ["--set", f"{name}={value}"]
        return words


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidInput(f"{message[:1].upper()}{message[1:]}.", "See `chorus-hap --help`.")


#: Flags of the console and the daemon that no command has.
LAUNCH_ONLY = frozenset({"--daemon", "--owned", "--kind", "--found", "--ticket"})


def _parser() -> _Parser:
    parser = _Parser(
        prog="chorus-hap",
        usage="chorus-hap [--daemon] [FLAGS]",
        description="Opens the console, or with --daemon runs a node without one.",
        add_help=False,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--daemon", action="store_true", help="run a node without a console until it is told to end")
    add("--home", metavar="DIR", help="home directory: one identity, one node")
    add(
        "--kind",
        choices=("human", "agent"),
        help="what a new home's identity is made as: human by the console, agent by --daemon",
    )
    add("--owned", action="store_true", help=argparse.SUPPRESS)
    add("--read-only", action="store_true", help="start the console without any action that changes something")
    add("--network", metavar="NAME", help="name that separates meshes")
    add("--bootstrap", metavar="ADDRESSES", help="multiaddrs of peers, with commas")
    add("--agent-id", metavar="NAME", help="name shown to others")
    add("--role", metavar="ROLE", help="role id from the roles file")
    add("--ticket", metavar="TICKET", help="word of `members invite` by which a new home is admitted; a secret")
    add("--found", action="store_true", default=None, help="found a cluster at once instead of looking for peers first")
    add("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="any other setting; may be given again")
    return parser


def launch_help() -> str:
    """The help of ``chorus-hap --daemon`` and of the console."""
    return (
        _parser().format_help().rstrip()
        + "\n\n`chorus-hap --help` lists the commands, `chorus-hap config show` the settings."
    )


def parse_launch(argv: Sequence[str]) -> Launch:
    """Read the flags of ``chorus-hap`` and ``chorus-hap --daemon``.

    Raises:
        InvalidInput: an unknown flag or a flag without its value.
    """
    given = _parser().parse_args(list(argv))
    settings = {
        name: getattr(given, flag) for flag, name in SETTING_OF_FLAG.items() if getattr(given, flag) is not None
    }
    for item in given.set:
        name, equals, value = item.partition("=")
        if not equals or "." not in name:
            raise InvalidInput(f"--set {item!r} isn't SECTION.KEY=VALUE.", "For example --set election.timeout_s=5.")
        settings[name] = value
    return Launch(given.home, given.kind, given.daemon, given.owned, given.read_only, settings)


def is_launch(argv: Sequence[str]) -> bool:
    """Whether these words start a console or a daemon, rather than run a command or ask for help."""
    takes_value = {"--home", "--kind", "--network", "--bootstrap", "--agent-id", "--role", "--ticket", "--set"}
    words = iter(argv)
    for word in words:
        if (
            word.startswith(("--show-completion", "--install-completion"))
            or word in ("--help", "-h", "--version", "--json", "--no-start", "--timeout", "--op-id")
            or not word.startswith("-")
        ):
            return False
        if word in takes_value:
            next(words, None)
    return True
