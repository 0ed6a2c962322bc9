"""What commands print: data on stdout (JSON or calm text), narration on stderr. Colours only on a terminal, and not with NO_COLOR."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from io import TextIOWrapper
from typing import Any, NamedTuple

import msgspec

from agent_core.grammar import plural as plural
from agent_core.text import from_system, unseen
from chorus_hap.program import Here
from chorus_hap.shown import clean as clean
from chorus_hap.shown import clean_lines, json_safe
from chorus_hap.shown import one_line as one_line
from chorus_hap.streams import say

_SGR = {"bold": "1", "dim": "2", "good": "32", "warn": "33", "bad": "31", "name": "36"}


class Cell(NamedTuple):
    """Text and the role it is painted in: bold, dim, good, warn, bad, name."""

    text: str
    role: str = ""


class Output:
    """Where one command writes.

    Args:
        json: whether data is printed as JSON.
    """

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.here = Here()
        self.colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def data(self, value: Any) -> None:
        """One JSON value on a line of its own, at once."""
        try:
            line = msgspec.json.encode(value)
        except UnicodeEncodeError:  # a path, most likely: what the system gave in bytes that are no text
            line = msgspec.json.encode(_textual(msgspec.to_builtins(value)))
        self.raw(json_safe(line) + b"\n")

    def raw(self, data: bytes) -> None:
        """Bytes as they are; on a terminal without what it would obey."""
        if sys.stdout.isatty() and not self.json:
            self.line(data.decode("utf-8", "replace").removesuffix("\n"))
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def line(self, *parts: str | Cell) -> None:
        """One line of text, or several; whatever is in it shows, and nothing is obeyed."""
        print("".join(map(self._paint, parts)), flush=True)

    def say(self, text: str) -> None:
        """Narration, on stderr; commands in it are named as they can be given here."""
        say(clean_lines(self.here(text)))

    def facts(self, pairs: Iterable[tuple[str, str | Cell]]) -> None:
        """Names and values, the values aligned."""
        shown = [(name, Cell(value) if isinstance(value, str) else value) for name, value in pairs]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            self.line(Cell(name.ljust(width), "dim"), "  ", value)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str | Cell]], empty: str = "") -> None:
        """A table without lines; ``empty`` is narrated when there are no rows."""
        cells = [[_cell(c) for c in row] for row in rows]
        if not cells:
            self.say(empty)
            return
        widths = [max(map(width_of, (head, *(row[n].text for row in cells)))) for n, head in enumerate(heads)]
        for row in ([Cell(head, "dim") for head in heads], *cells):
            while len(row) > 1 and not row[-1].text:
                row = row[:-1]  # no blanks at a line's end
            parts: list[str | Cell] = []
            for cell, width in zip(row[:-1], widths, strict=False):
                parts += [cell, " " * (width - width_of(cell.text) + 2)]
            self.line(*parts, row[-1])

    def _paint(self, part: str | Cell) -> str:
        text, role = part if isinstance(part, Cell) else (part, "")
        text, code = clean_lines(text), _SGR.get(role)
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text else text


def _cell(part: str | Cell) -> Cell:
    return Cell(clean(part.text), part.role) if isinstance(part, Cell) else Cell(clean(part))


def _textual(value: Any) -> Any:
    match value:
        case str():
            return from_system(value)
        case dict():
            return {_textual(key): _textual(item) for key, item in value.items()}
        case list() | tuple():
            return [_textual(item) for item in value]
    return value


def forgive_encodings() -> None:
    """Print what the terminal's encoding can't carry as an escape, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def block(text: str, indent: str = "  ") -> str:
    """A text of several lines, indented."""
    return "\n".join(indent + clean(line) for line in text.splitlines())


def width_of(text: str) -> int:
    """Columns a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) or unseen(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def when(at: str) -> str:
    """An RFC 3339 time as a person reads it here: the time of day, with the date when it isn't today's."""
    if not at:
        return "-"
    try:
        local = datetime.fromisoformat(at).astimezone()
    except ValueError:
        return clean(at)
    return local.strftime("%H:%M:%S" if local.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M")


def span(seconds: float) -> str:
    """A duration in its two greatest units."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    for size, unit, smaller, sign in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {sign}" if rest else "")
    return f"{whole} s"
