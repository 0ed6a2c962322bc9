"""How this program is called where it runs, for every command that it prints.

Texts name commands as ```chorus-hap status```; a face rewrites them with :class:`Here` before a person reads them, so that what is
printed can be given as it stands: a program that isn't on ``PATH`` can't be called by its name alone, and a home that isn't the
default one has to be named.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from agent_core.errors import ConfigError

NAME = "chorus-hap"
#: Words that follow the program's name where it is meant to be run; other words make it a name in a sentence.
WORDS = (
    "status", "peers", "members", "cluster", "election", "hmmm", "decisions", "decide", "ucxl", "log", "watch", "config", "doctor",
)  # fmt: skip
_COMMAND = re.compile(rf"(?<![\w/.:-]){NAME}(?P<rest>(?= (?:{'|'.join(WORDS)})\b| -)[^`\n]*|(?=`))")

_COLON = re.compile(rf"`{NAME} (?P<words>(?:{'|'.join(sorted(set(WORDS) - {'watch'}))})\b[^`\n]*)`")
#: The words of a command, before what it is about.
_PLAIN = re.compile(r"(?: [a-z]+(?!\S))*")


def how_called(argv0: str, executable: str, cwd: str, path: str | None) -> str:
    """The words that call this program from a shell in ``cwd``.

    Args:
        argv0: the name it was started by.
        executable: the Python it runs on.
        cwd: the working directory; empty if there is none any more.
        path: ``PATH``.
    """
    found = shutil.which(NAME, path=path)
    beside = os.path.join(os.path.dirname(executable), NAME)
    started = os.path.abspath(argv0) if os.path.basename(argv0) == NAME and os.path.dirname(argv0) else ""
    own = next((p for p in (started, beside) if p and os.access(p, os.X_OK) and os.path.isfile(p)), "")
    if found and (os.path.samefile(found, own) if own else os.path.basename(argv0) == NAME):
        return NAME
    if not own:
        return f"{shlex.quote(executable)} -m chorus_hap"
    inside = os.path.relpath(own, cwd) if cwd else ""
    if inside and not inside.startswith(os.pardir) and inside.count(os.sep) < 3:  # longer ones are clearer in full
        return shlex.quote(inside if os.sep in inside else os.path.join(os.curdir, inside))
    return shlex.quote(own)


@lru_cache(1)
def program() -> str:
    """The words that call this very program here."""
    try:
        cwd = os.getcwd()
    except OSError:
        cwd = ""
    return how_called(sys.argv[0], sys.executable, cwd, os.environ.get("PATH"))


class Here:
    """Commands as they can be given here.

    Args:
        home: the home they are about; None where that isn't known.
        name: what calls the program; found out by default.
    """

    def __init__(self, home: Path | None = None, name: str = "") -> None:
        self._home = home
        self._name = name

    @property
    def name(self) -> str:
        """What calls the program."""
        return self._name or program()

    def __call__(self, text: str) -> str:
        """The text with the commands in it as they can be given here."""
        return _COMMAND.sub(lambda found: self.command(found["rest"]), text) if NAME in text else text

    def in_console(self, text: str) -> str:
        """The same for a person at a console, where a scripted command is a ``:`` line."""
        return self(_COLON.sub(lambda found: f"`:{found['words']}`", text)) if NAME in text else text

    def command(self, rest: str) -> str:
        """What runs these words: ``chorus-hap`` and a home where it takes one."""
        elsewhere = any(
            flag in rest for flag in ("--home", "--ticket", "--help")
        )  # of another home or machine, or of none
        words = _PLAIN.match(rest)
        at = words.end() if words else 0
        return self.name + (rest if elsewhere else rest[:at] + self._flag() + rest[at:])

    def _flag(self) -> str:
        from agent_core.home import default_home

        if self._home is None:
            return ""
        with suppress(ConfigError):  # without a default there is nothing that could be left out
            if self._home.absolute() == default_home().absolute():
                return ""
        return f" --home {shlex.quote(str(self._home))}"

    def second_node(self, addresses: Sequence[str], network: str) -> str:
        """The command that brings a second node on this machine to the cluster of the node with these addresses."""
        address = next((a for a in addresses if "/p2p/" in a), addresses[0] if addresses else "")
        words = ["--daemon", "--home", "~/chorus-second", "--agent-id", "agent-second"]
        if network and network != "chorus":
            words += ["--network", network]
        if address:
            words += ["--bootstrap", address]
        return self.command(
            "".join(" " + (w if w.startswith("~/") else shlex.quote(w)) for w in [*words, "--set", "p2p.port=0"])
        )
