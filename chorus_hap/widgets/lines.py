"""Lines of styled text as plain data: what panes build and viewports paint. Pure; no Textual."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from rich.cells import cell_len, set_cell_size

from agent_core.grammar import plural as plural
from chorus_hap.shown import clean as clean
from chorus_hap.shown import one_line as one_line

#: Text and the roles it is painted in (see :func:`chorus_hap.themes.style`).
Span: TypeAlias = tuple[str, str]
Line: TypeAlias = list[Span]


def width_of(line: Iterable[Span]) -> int:
    """Columns a line takes."""
    return sum(cell_len(text) for text, _ in line)


def cut(text: str, width: int, more: str = "…") -> str:
    """The text in at most ``width`` columns; what was cut off shows as ``…``."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + more if width > 1 else more[:width]


def fit(text: str, width: int, right: bool = False) -> str:
    """The text in exactly ``width`` columns."""
    text = cut(text, width)
    gap = " " * (width - cell_len(text))
    return gap + text if right else text + gap


def clip(line: Sequence[Span], width: int) -> Line:
    """The line in at most ``width`` columns."""
    if width_of(line) <= width:
        return list(line)
    out: Line = []
    left = width
    for text, roles in line:
        size = cell_len(text)
        if size >= left:
            out.append((cut(text + " ", left), roles))
            break
        out.append((text, roles))
        left -= size
    return out


def spread(left: Line, right: Line, width: int) -> Line:
    """One line with something at each end; the left gives way."""
    room = width - width_of(right)
    if room <= 1:
        return clip(right, width)
    head = clip(left, room - 1)
    return [*head, (" " * (room - width_of(head)), ""), *right]


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width`` columns, broken at blanks; words that are too long are broken anywhere."""
    width = max(1, width)
    out: list[str] = []
    for paragraph in text.split("\n"):
        words = clean(paragraph)
        line = " " * min(width // 2, len(words) - len(words.lstrip(" ")))
        for word in words.lstrip(" ").split(" "):
            rest = word
            if line.strip() and cell_len(line) + 1 + cell_len(rest) > width:
                out.append(line)
                line = ""
            while cell_len(rest) > width:
                head = _prefix(rest, width)
                out.append(head)
                rest = rest[len(head) :]
            line = f"{line} {rest}" if line.strip() else line + rest
        out.append(line)
    return out


def _prefix(text: str, width: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += cell_len(char)
        if used > width:
            return text[: max(1, index)]
    return text


def wrap_spans(spans: Sequence[Span], width: int, indent: str = "") -> list[Line]:
    """Styled text in lines of at most ``width`` columns, broken at blanks; lines after the first begin with ``indent``."""
    lines: list[Line] = [[]]
    used = 0
    for text, roles in spans:
        for piece in _pieces(clean(text)):
            size = cell_len(piece)
            if used + cell_len(piece.rstrip()) > width and used > len(indent) and piece.strip():
                lines.append([(indent, "")] if indent else [])
                used = len(indent)
            while size > width - used > 0 and used <= len(indent):
                head = _prefix(piece, width - used)
                lines[-1].append((head, roles))
                lines.append([(indent, "")] if indent else [])
                piece, used = piece[len(head) :], len(indent)
                size = cell_len(piece)
            if used + size > width:
                piece = piece.rstrip()  # the blank at a line's end needs no column
            lines[-1].append((piece, roles))
            used += size
    return lines


def _pieces(text: str) -> list[str]:
    out: list[str] = []
    word = ""
    for char in text:
        word += char
        if char == " ":
            out.append(word)
            word = ""
    return [*out, word] if word else out


def plain(line: Iterable[Span]) -> str:
    """The line's text alone."""
    return "".join(text for text, _ in line)


def facts(pairs: Iterable[tuple[str, Line | str]], label_width: int = 11, width: int = 0) -> list[Line]:
    """Labelled values, one under the other, the labels dim and of one width; values wrap when a width is given."""
    out: list[Line] = []
    for label, value in pairs:
        head: Span = (fit(label, label_width), "dim")
        spans: Line = [(value, "text")] if isinstance(value, str) else value
        out += wrap_spans([head, *spans], width, " " * label_width) if width else [[head, *spans]]
    return out


# --- times and sizes --------------------------------------------------------------------------------------------------


def parse_at(at: str) -> datetime | None:
    """An RFC 3339 time, None for an empty or malformed one."""
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def clock(at: str, seconds: bool = True, now: datetime | None = None) -> str:
    """A time of day in the reader's zone, never more than eight columns: ``23:50:07``, ``23:50`` without seconds, ``Sa 23:50`` in
    the week before today, ``21 Nov`` of another day, ``Nov 2025`` of another year.
    """
    found = parse_at(at)
    if found is None:
        return ""
    local, today = found.astimezone(), (now or datetime.now(UTC)).astimezone()
    days = (today.date() - local.date()).days
    if not days:
        return local.strftime("%H:%M:%S" if seconds else "%H:%M")
    if 0 < days < 7:
        return local.strftime("%a")[:2] + local.strftime(" %H:%M")
    if abs(days) < 180:
        return local.strftime("%d %b  ") if seconds else local.strftime("%d %b")
    return local.strftime("%b %Y")


def ago(seconds: float) -> str:
    """A duration in one or two units: ``3 s``, ``4 min``, ``2 h 10 min``, ``3 d``."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


def since(at: str, now: datetime) -> str:
    """How long ago an RFC 3339 time was, in one short word: ``now``, ``40s``, ``12m``, ``3h``, ``5d``."""
    found = parse_at(at)
    if found is None:
        return ""
    seconds = (now - found).total_seconds()
    if seconds < 5:
        return "now"
    return short(seconds)


def short(seconds: float) -> str:
    """A duration in one unit without blank: ``40s``, ``12m``, ``3h``, ``5d``."""
    seconds = max(0.0, seconds)
    for limit, unit, size in ((100, "s", 1), (6000, "m", 60), (48 * 3600, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds / 86400:.0f}d"


def size(count: int) -> str:
    """A number of bytes: ``812 B``, ``3.4 kB``, ``12 MB``."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{value:.0f} GB"


def words_of(name: str) -> str:
    """A name of the protocol as words: ``no_quorum`` is no quorum."""
    return name.replace("_", " ")
