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


def parse_launch(argv: Sequence[str]) -> Launch:
    """Read the flags of ``chorus-hap`` and ``chorus-hap --daemon``.

    Raises:
        InvalidInput: an unknown flag or a flag without its value.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--home")
    parser.add_argument("--kind", choices=("human", "agent"))
    parser.add_argument("--daemon", action="store_true")
    parser.add_argument("--owned", action="store_true")
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--network")
    parser.add_argument("--bootstrap")
    parser.add_argument("--agent-id")
    parser.add_argument("--role")
    parser.add_argument("--ticket")
    parser.add_argument("--found", action="store_true", default=None)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    given = parser.parse_args(list(argv))
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
