"""Every command that there is, with arguments it takes: from the program's own registry, so that none is forgotten."""

from __future__ import annotations

import functools
from typing import Any

import typer

from chorus_hap.cli.app import COMMANDS, application, subcommands

#: What a required argument of a name is given; ``x`` without an entry.
ARGUMENTS = {
    "address": "ucxl://a:b@c:d/x",
    "file": "-",
    "text": "-",
    "seconds": "10",
    "policy": "open",
    "settings": "agent.id",
    "key": "12D3me/0/1",
    "option": "approve",
    "term": "1",
}


@functools.lru_cache(maxsize=1)
def every_command() -> tuple[tuple[str, ...], ...]:
    """The words of each command: those that start nothing and ask nobody, groups by their commands."""
    found: list[tuple[str, ...]] = []
    for command in COMMANDS:
        if command.alias_of:
            continue
        tree: Any = typer.main.get_command(application([command.name]))
        leaf = tree.commands[command.name]
        if not command.group:
            found.append((command.name, *_arguments(leaf)))
            continue
        for name in subcommands(command):
            found.append((command.name, name, *_arguments(leaf.commands[name])))
    return tuple(found)


def _arguments(command: Any) -> list[str]:
    words = []
    for parameter in command.params:
        if parameter.param_type_name == "argument" and parameter.required:
            words.append(ARGUMENTS.get(parameter.name, "x"))
        elif parameter.param_type_name == "option" and parameter.name == "attention":
            words.append("--attention")
        elif parameter.param_type_name == "option" and parameter.name == "yes":
            words.append("--yes")
    return words
