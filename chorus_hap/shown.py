"""Texts of others on a screen: one spelling for console and commands, in which everything shows and nothing is obeyed."""

from __future__ import annotations

import re

from agent_core.text import Unseen, marked, unseen

_TAB = "    "
_JSON_SAFE = re.compile(r"[\x20-\x7e\s]*\Z", re.ASCII)


def clean(text: str) -> str:
    """The text without anything a terminal could obey or hide, on one line.

    Control characters and changes of direction show as ``·``, tabs as four blanks; whatever else nobody would see shows as
    :func:`agent_core.text.marked` writes it: ``<U+200B>``, ``<hidden: …>`` for what tag characters spell. Cleaning twice changes
    nothing.
    """
    if text.isascii() and text.isprintable():
        return text
    dotted = "".join(map(_dot, text)) if not text.isprintable() else text
    return marked(dotted, keep="")


def clean_lines(text: str) -> str:
    """:func:`clean` for a text of several lines."""
    return text if text.isascii() and text.isprintable() else "\n".join(map(clean, text.split("\n")))


def one_line(text: str) -> str:
    """The text on one line, runs of white space as one blank."""
    return clean(" ".join(text.split()))


def json_safe(data: bytes) -> bytes:
    """JSON that says the same, with what nobody would see as ``\\u`` escapes, so that a terminal shows it and obeys nothing."""
    text = data.decode()
    if _JSON_SAFE.match(text):
        return data
    return "".join(c if c in "\n\r\t" or unseen(c) is None else _escaped(c) for c in text).encode()


def _dot(char: str) -> str:
    if char == "\t":
        return _TAB
    return "·" if (char > "~" and char in _TURNS) or unseen(char) is Unseen.CONTROL else char


#: Overrides and isolates: what makes a text read otherwise than it is written.
_TURNS = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def _escaped(char: str) -> str:
    return "".join(f"\\u{int.from_bytes(unit, 'big'):04x}" for unit in _units(char))


def _units(char: str) -> list[bytes]:
    wide = char.encode("utf-16-be", "surrogatepass")
    return [wide[at : at + 2] for at in range(0, len(wide), 2)]
