"""Completion of commands and options in bash, zsh and fish: a script that knows all words by itself.

Nothing is started while a person types: the words are written into the script when it is made, so that ``tab`` costs nothing.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_core.errors import InvalidInput, StoreError
from agent_core.modes import as_the_user_likes
from agent_core.system import expand
from chorus_hap.cli.options import FLAGS
from chorus_hap.program import NAME

SHOW, INSTALL = "--show-completion", "--install-completion"
#: Flags of the program alone, as :func:`chorus_hap.flags.parse_launch` reads them, with what follows each; empty for nothing.
_LAUNCH = {
    "--daemon": ("", "run a headless node"), "--found": ("", "found a cluster"), "--kind": ("human agent", "who is behind this home"),
    "--ticket": ("TICKET", "a ticket that admits"), "--help": ("", "what there is"), "--version": ("", "print the version"),
    SHOW: ("bash zsh fish", "print the completion of a shell"), INSTALL: ("bash zsh fish", "install it"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """What may follow the words of a command: other words, and options; each with one line about it."""

    words: Mapping[str, str]
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Words:
    """All that can be completed. ``places`` is by the command's words, ``values`` says what follows an option that takes a value."""

    places: Mapping[tuple[str, ...], Place]
    values: Mapping[str, str]


def answer(words: Sequence[str]) -> str:
    """Do what ``--show-completion`` or ``--install-completion`` asks for; returns what to print.

    Raises:
        InvalidInput: no shell is named and none is known, or one that has no completion.
        StoreError: the script can't be written.
    """
    flag, _, value = words[0].partition("=")
    shell = value or (words[1] if words[1:] else Path(os.environ.get("SHELL", "")).name)
    if flag not in (SHOW, INSTALL):
        raise InvalidInput(f"There is no option {flag[:40]}.", f"See `{NAME} --help`.")
    if shell not in _SCRIPTS:
        raise InvalidInput(
            f"There is no completion for {shell[:40]!r}.", f"Name a shell: `{NAME} {flag} bash`, zsh or fish."
        )
    script = _SCRIPTS[shell](collect())
    return script if flag == SHOW else _install(shell, script)


def collect() -> Words:
    """The words of all commands, read off the commands themselves."""
    from typer.main import get_command

    from chorus_hap.cli.app import application

    everywhere = {flag.name: flag.help for flag in FLAGS}
    values = {flag.name: flag.value for flag in FLAGS if flag.value}
    values |= {name: follows for name, (follows, _) in _LAUNCH.items() if follows}
    places: dict[tuple[str, ...], Place] = {}

    def walk(command: Any, path: tuple[str, ...]) -> None:
        below: Mapping[str, Any] = getattr(command, "commands", {})
        options = dict(everywhere) | {"--help": "what it does"}
        for param in command.params:
            for name in param.opts:
                if name.startswith("--"):
                    options[name] = getattr(param, "help", "") or ""
                    if not getattr(param, "is_flag", True):
                        values.setdefault(name, param.metavar or "VALUE")
        if not path:
            options |= {name: about for name, (_, about) in _LAUNCH.items()}
        places[path] = Place({name: sub.get_short_help_str(60) for name, sub in below.items()}, options)
        for name, sub in below.items():
            walk(sub, (*path, name))

    walk(get_command(application(())), ())
    return Words(places, values)


def _valued(words: Words) -> str:
    return "|".join(sorted(words.values))


def _choices(words: Words) -> dict[str, str]:
    """Options whose values are words."""
    return {name: follows for name, follows in words.values.items() if " " in follows}


def bash(words: Words) -> str:
    """The script for bash."""
    lines = [
        f"# Completion of {NAME} for bash.",
        "_chorus_hap() {",
        '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" at="" word words="" i',
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        '        word="${COMP_WORDS[i]}"',
        f'        case "$word" in {_valued(words)}) ((i++)) ;; -*) ;; *) at="$at $word" ;; esac',
        "    done",
        '    case "$prev" in',
        '        --home) COMPREPLY=($(compgen -d -- "$cur")); return ;;',
        *(f'        {n}) COMPREPLY=($(compgen -W "{v}" -- "$cur")); return ;;' for n, v in _choices(words).items()),
        f"        {_valued(words)}) return ;;",
        "    esac",
        '    case "$at " in',
    ]
    for path, place in _longest_first(words):
        pattern = '" "' if not path else shlex.quote(" " + " ".join(path) + " ") + "*"
        lines.append(f'        {pattern}) words="{" ".join([*place.words, *place.options])}" ;;')
    lines += [
        "    esac",
        '    COMPREPLY=($(compgen -W "$words" -- "$cur"))',
        "}",
        f"complete -o default -F _chorus_hap {NAME}",
        "",
    ]
    return "\n".join(lines)


def zsh(words: Words) -> str:
    """The script for zsh."""
    lines = [
        f"#compdef {NAME}",
        f"# Completion of {NAME} for zsh.",
        "_chorus_hap() {",
        '    local at="" word i prev="${words[CURRENT-1]}"',
        "    local -a found",
        "    for ((i = 2; i < CURRENT; i++)); do",
        '        word="${words[i]}"',
        f'        case "$word" in ({_valued(words)}) ((i++)) ;; (-*) ;; (*) at="$at $word" ;; esac',
        "    done",
        '    case "$prev" in',
        "        (--home) _path_files -/; return ;;",
        *(f"        ({n}) compadd -- {v}; return ;;" for n, v in _choices(words).items()),
        f"        ({_valued(words)}) return ;;",
        "    esac",
        '    case "$at " in',
    ]
    for path, place in _longest_first(words):
        pattern = '" "' if not path else shlex.quote(" " + " ".join(path) + " ") + "*"
        found = " ".join(_said(name, about) for name, about in [*place.words.items(), *place.options.items()])
        lines.append(f"        ({pattern}) found=({found}) ;;")
    lines += ["    esac", "    _describe -o word found || _files", "}", "", f"compdef _chorus_hap {NAME}", ""]
    return "\n".join(lines)


def _said(name: str, about: str) -> str:
    return shlex.quote(name + (":" + about.replace("\n", " ") if about else ""))


def fish(words: Words) -> str:
    """The script for fish."""
    lines = [
        f"# Completion of {NAME} for fish.",
        "function __chorus_hap_at",
        "    set -l at",
        "    set -l skip 0",
        "    for word in (commandline -opc)[2..]",
        "        if test $skip = 1",
        "            set skip 0",
        "            continue",
        "        end",
        "        switch $word",
        f"            case {' '.join(sorted(words.values))}",
        "                set skip 1",
        "            case '-*'",
        "            case '*'",
        "                set -a at $word",
        "        end",
        "    end",
        '    if test "$argv[1]" = exactly',
        '        test "$at" = "$argv[2..]"',
        "    else",
        '        string match -q -- "$argv[2..]*" "$at"',
        "    end",
        "end",
    ]
    for path, place in words.places.items():
        for name, about in place.words.items():
            condition = shlex.quote(" ".join(["__chorus_hap_at exactly", *path]))
            lines.append(f"complete -c {NAME} -f -n {condition} -a {name} -d {shlex.quote(about)}")
        how = "within" if path and not place.words else "exactly"
        for name, about in place.options.items():
            condition = shlex.quote(" ".join([f"__chorus_hap_at {how}", *path]))
            follows = words.values.get(name, "")
            takes = " -r" if follows else ""
            takes += f" -f -a {shlex.quote(follows)}" if " " in follows else ""
            lines.append(
                f"complete -c {NAME} -n {condition} -l {name.removeprefix('--')}{takes} -d {shlex.quote(about)}"
            )
    return "\n".join([*lines, ""])


def _longest_first(words: Words) -> list[tuple[tuple[str, ...], Place]]:
    return sorted(words.places.items(), key=lambda found: -len(found[0]))


_SCRIPTS = {"bash": bash, "zsh": zsh, "fish": fish}


def _install(shell: str, script: str) -> str:
    home = expand("~")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    path = {
        "bash": Path(os.environ.get("BASH_COMPLETION_USER_DIR") or data / "bash-completion") / "completions" / NAME,
        "zsh": Path(os.environ.get("ZDOTDIR") or home) / ".zfunc" / f"_{NAME}",
        "fish": config / "fish" / "completions" / f"{NAME}.fish",
    }[shell]
    try:
        with as_the_user_likes():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(script, "utf-8")
    except OSError as exc:
        raise StoreError(
            f"{path} can't be written: {exc.strerror or exc}.", f"`{NAME} {SHOW} {shell}` prints it."
        ) from exc
    quoted = shlex.quote(str(path))
    after = {
        "bash": f"It works in new shells that have bash-completion; in others add to ~/.bashrc:\n  source {quoted}",
        "zsh": f"Add to ~/.zshrc, and open a new shell:\n  fpath+={shlex.quote(str(path.parent))}; autoload -Uz compinit; compinit",
        "fish": "It works in new shells.",
    }[shell]
    return f"Written to {path}. {after}\n"
