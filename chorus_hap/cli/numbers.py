"""The numbers a command line may hold: counts, lengths of time and shares, each read in one way by every command."""

from __future__ import annotations

import math
import re
from typing import Any

from agent_core.errors import InvalidInput
from agent_core.shapes.base import MAX_LIMIT

#: The longest time a command may be told to wait, or a ticket to last, seconds: a year.
MAX_SECONDS = 31_536_000.0
MAX_NUMBER = 2**53 - 1

_WHOLE = re.compile(r"[0-9]{1,16}\Z")
_TIME = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?|\.[0-9]{1,6})\s*(ms|s|min|m|h|d|)\Z")
_UNIT_S = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def count(text: str, name: str, most: int, least: int = 0) -> int:
    """A whole number.

    Raises:
        InvalidInput: it is none, or out of bounds.
    """
    if not _WHOLE.match(text.strip()) or not least <= int(text) <= most:
        raise InvalidInput(
            f"{name} = {text[:40]!r} is not a whole number from {least} to {most}.",
            f"For example {name} {max(least, min(most, 20))}.",
        )
    return int(text)


def seconds(text: str, name: str) -> float:
    """A length of time in seconds: ``90``, ``90s``, ``30m``, ``1h``, ``2d``.

    Raises:
        InvalidInput: it is none, nothing, or more than a year.
    """
    match = _TIME.match(text.strip().lower())
    found = float(match[1]) * _UNIT_S[match[2]] if match else -1.0
    if not 0 < found <= MAX_SECONDS:
        raise InvalidInput(
            f"{name} = {text[:40]!r} is no number of seconds or length of time up to 365d.",
            f"For example {name} 90s, 30m or 1h; a number alone is seconds.",
        )
    return found


def share(text: str, name: str) -> float:
    """A share from 0 to 1.

    Raises:
        InvalidInput: it is none.
    """
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found <= 1:  # nan isn't, either
        raise InvalidInput(f"{name} = {text[:40]!r} is no share.", f"Give one from 0 to 1, like {name} 0.5.")
    return found


def limit_option(default: int, *names: str, help: str) -> Any:
    """An option that says how many at most; 0 is none."""
    import typer

    return typer.Option(
        default,
        *names,
        metavar="N",
        help=f"{help}; 0 for none",
        parser=lambda text: count(str(text), names[0], MAX_LIMIT),
    )


def integer(name: str) -> Any:
    """What reads an argument or option that is the number of something: an epoch, a term."""
    return lambda text: count(str(text), name, MAX_NUMBER)
