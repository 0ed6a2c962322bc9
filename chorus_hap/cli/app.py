"""The tree of commands: which there are, what each is for, and the Typer application that holds the one named."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import typer

from agent_core.errors import InvalidInput
from agent_core.nearest import nearest
from chorus_hap.cli.options import epilog
from chorus_hap.cli.table import COMMANDS, NOT_YET, Command

_ABOUT = """The Human Agent Portal of a CHORUS mesh.

chorus-hap alone opens the console; chorus-hap --daemon runs a headless node; every command below is one step, for scripts.
chorus-hap --daemon --help lists the flags of the first two; chorus-hap --install-completion completes words in bash, zsh and fish."""


def application(words: Sequence[str]) -> typer.Typer:
    """The application, with only the command that the words name, or with all of them for help.

    Raises:
        InvalidInput: there is no such command.
    """
    named = next((word for word in words if not word.startswith("-")), "")
    chosen = [command for command in COMMANDS if command.name == named]
    if named and not chosen:
        if named in NOT_YET:
            raise InvalidInput(f"{named!r} is not in this version.", "See `chorus-hap --help` for what is.")
        raise InvalidInput(
            f"There is no command {named[:40]!r}.", nearest(named, names()) or "See `chorus-hap --help`."
        )
    app = typer.Typer(
        help=_ABOUT,
        epilog=epilog(),
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    for command in chosen or COMMANDS:
        _add(app, command)
    return app


def names() -> list[str]:
    """The names of all commands."""
    return [command.name for command in COMMANDS]


def path_of(words: Sequence[str]) -> list[str]:
    """The command and subcommand that the words name, as far as they are ones."""
    plain = [word for word in words if not word.startswith("-")]
    command = next((c for c in COMMANDS if plain and c.name == plain[0]), None)
    if command is None:
        return []
    return plain[:2] if command.group and plain[1:2] and plain[1] in subcommands(command) else plain[:1]


def subcommands(command: Command) -> list[str]:
    """The names of a group's commands."""
    return [info.name or info.callback.__name__ for info in _module(command).app.registered_commands if info.callback]


def new_group(help: str) -> typer.Typer:
    """An empty group of commands."""
    group = typer.Typer(help=help, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    group.callback()(_group)
    return group


def _add(app: typer.Typer, command: Command) -> None:
    module = _module(command)
    if command.group:
        for info in module.app.registered_commands:
            info.epilog = epilog()
        app.add_typer(module.app, name=command.name, help=command.help, epilog=epilog())
    else:
        app.command(command.name, help=command.help, epilog=epilog())(getattr(module, command.name))


def _module(command: Command) -> Any:
    return importlib.import_module(f"chorus_hap.cli.{command.module}")


def _root(context: typer.Context, version: bool = typer.Option(False, "--version", help="print the version")) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("chorus-hap"))
        raise typer.Exit()
    if context.invoked_subcommand is None:
        raise InvalidInput("A command is missing.", "See `chorus-hap --help`.")


def _group() -> None:
    """Typer folds a group of one command into its parent unless the group has a callback."""
