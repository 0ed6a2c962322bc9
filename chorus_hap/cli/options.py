"""The flags that work everywhere, before a command's name or behind it: one table for parser, help and reference page."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent_core.errors import InvalidInput
from chorus_hap.cli.numbers import count, seconds
from chorus_hap.flags import SETTING_OF_FLAG

_LIKE_A_NUMBER = re.compile(r"[-+]?[0-9.]+\Z")
#: Members that a put can wait for at most.
MAX_MEMBERS = 999


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. ``value`` names what follows it in help, empty for a switch."""

    name: str
    value: str
    help: str

    @property
    def key(self) -> str:
        """The attribute of :class:`Options` it sets."""
        return self.name.removeprefix("--").replace("-", "_")


FLAGS: tuple[Flag, ...] = (
    Flag("--home", "DIR", "home directory: one identity, one node"),
    Flag("--network", "NAME", "network of a node that is started"),
    Flag("--bootstrap", "ADDRESSES", "multiaddrs of peers for a node that is started, with commas"),
    Flag("--agent-id", "NAME", "name of a node that is started"),
    Flag("--role", "ROLE", "role of a node that is started"),
    Flag("--set", "KEY=VALUE", "any other setting of a node that is started; may be given again"),
    Flag("--no-start", "", "never start a node: exit 3 if none runs"),
    Flag("--timeout", "SECONDS", "how long to wait for a node, an answer and delivery, like 90 or 2m; 30 by default"),
    Flag(
        "--wait",
        "",
        "wait for delivery also when attached to a running node; `put --wait N`: until N members have it all",
    ),
    Flag("--op-id", "UUID", "id of a changing operation: repeating it does nothing twice"),
    Flag("--read-only", "", "refuse every changing command"),
    Flag("--json", "", "print JSON: one object, or one a line"),
)
_BY_NAME = {flag.name: flag for flag in FLAGS}


@dataclass(slots=True)
class Options:
    """What the flags say."""

    home: str = ""
    network: str = ""
    bootstrap: str = ""
    agent_id: str = ""
    role: str = ""
    set: list[str] = field(default_factory=list)
    no_start: bool = False
    timeout: float = 30.0
    wait: int = 0
    op_id: str = ""
    read_only: bool = False
    json: bool = False

    def node_flags(self) -> list[str]:
        """The words that hand these settings to a node that is started."""
        words: list[str] = []
        for key in SETTING_OF_FLAG:
            value = getattr(self, key, "")
            if value:
                words += [f"--{key.replace('_', '-')}", value]
        for item in self.set:
            words += ["--set", item]
        return words

    def settings(self) -> dict[str, Any]:
        """The same as :func:`agent_core.settings.load` takes them."""
        named = {name: getattr(self, key, "") or None for key, name in SETTING_OF_FLAG.items()}
        return named | dict(item.split("=", 1) for item in self.set)


def take_options(argv: Sequence[str]) -> tuple[Options, list[str]]:
    """Take the flags of :data:`FLAGS` out of a command line, wherever they stand before ``--``.

    Returns:
        what they say, and the remaining words.

    Raises:
        InvalidInput: a flag without its value, or a value that can't be.
    """
    options, rest = Options(), []
    words = deque(argv)
    while words:
        word = words.popleft()
        if word == "--":
            rest += ["--", *words]
            break
        name, equals, value = word.partition("=")
        flag = _BY_NAME.get(name)
        if flag is None:
            rest.append(word)
        elif flag.name == "--wait":
            # A put's --wait may be followed by a number; elsewhere a number is an argument of the command.
            follows = bool(words) and _LIKE_A_NUMBER.match(words[0]) is not None and "put" in rest
            options.wait = count(value if equals else words.popleft(), name, MAX_MEMBERS, 1) if equals or follows else 1
        elif not flag.value:
            if equals:
                raise InvalidInput(f"{name} takes no value.", f"Write {name} alone.")
            setattr(options, flag.key, True)
        else:
            _set(options, flag, value if equals else words.popleft() if words else None)
    return options, rest


def wants_json(argv: Sequence[str]) -> bool:
    """Whether refusals must be JSON, even of a command line that can't be read."""
    return "--json" in (argv[: argv.index("--")] if "--" in argv else argv)


def _set(options: Options, flag: Flag, value: str | None) -> None:
    if value is None:
        raise InvalidInput(f"{flag.name} needs a value: {flag.value}.", f"For example `{flag.name} {flag.value}`.")
    if not value.strip():  # a variable that isn't set, most likely: what it was to say is never guessed
        raise InvalidInput(f"{flag.name} is empty.", f"Give it a value, `{flag.name} {flag.value}`, or leave it out.")
    if flag.name == "--timeout":
        options.timeout = seconds(value, flag.name)
    elif flag.name == "--set":
        name, equals, _ = value.partition("=")
        if not equals or "." not in name:
            raise InvalidInput(f"--set {value!r} isn't SECTION.KEY=VALUE.", "For example `--set election.timeout_s=5`.")
        options.set.append(value)
    else:
        setattr(options, flag.key, value)


def epilog() -> str:
    """The flags as the end of every command's help."""
    return "Flags everywhere: " + " ".join(f"{f.name} {f.value}".strip() for f in FLAGS) + "."
