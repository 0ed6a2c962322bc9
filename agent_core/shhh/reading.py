"""Readings of a text: what it says once escapes, encodings of the web and unseen characters are undone, and where that stands.

A token that passes through a terminal log, a JSON string, a URL or a word processor is still the token to whoever takes it
out again. So a text is searched as it is and, where it holds anything to undo, as its readers would read it. Every reading
knows the place of each of its stretches in the text it came from, so that what is hidden is the right part of the original.
"""

from __future__ import annotations

import codecs
import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

from agent_core.text import Unseen, unseen

#: JSON in JSON in a URL: so many layers are undone.
LAYERS = 4

#: Where something to undo may begin; nearly every text holds nothing of it and is only looked at once.
_BEGINS = re.compile(
    r"[^\t\n\r -$'-\[\]_-~"
    # Letters that read as themselves: Latin, Greek, Cyrillic, kana, Chinese, Korean; and emoji.
    "\xc0-\u0131\u0391-\u03c9\u0400-\u0482\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3\U0001f300-\U0001f6ff]"
)
_UNDO = re.compile(
    r"(?P<drop>(?:\x1b\[|\x9b|\^\[\[)[0-?]{0,64}[ -/]{0,8}[@-~]"  # CSI, also as `cat -v` shows it (ECMA-48)
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]{0,512}(?:\x07|\x1b\\|\x9c)"  # OSC
    r"|\x1b[ -/]{0,8}[0-Z\\-~])"
    r"|(?P<bytes>%[0-9A-Fa-f]{2}|\\x[0-9A-Fa-f]{2}|\\[0-3][0-7]{2})"
    r"|\\u[dD](?P<high>[89abAB][0-9A-Fa-f]{2})\\u[dD](?P<low>[c-fC-F][0-9A-Fa-f]{2})"
    r"|\\(?:u\{(?P<braced>[0-9A-Fa-f]{1,6})\}|u(?P<four>[0-9A-Fa-f]{4})|U(?P<eight>[0-9A-Fa-f]{8}))"
    r"|\\(?P<one>[abefnrtv0!-/:-@\[-`{-~])"
    r"|&(?:\#[xX](?P<hex>[0-9A-Fa-f]{1,6})|\#(?P<dec>[0-9]{1,7})|(?P<name>[A-Za-z]{2,12}));"
    r"|(?P<back>\x08)"
    r"|(?P<chars>[^\x08\x1b\x9b\x9d\t\n\r -~]+|[\x1b\x9b\x9d])"
)
_ONE_BYTE = re.compile(r"%([0-9A-Fa-f]{2})|\\x([0-9A-Fa-f]{2})|\\([0-3][0-7]{2})")
_ONE = {"a": "", "b": "", "e": "\x1b", "f": "\n", "n": "\n", "r": "\r", "t": "\t", "v": "\n", "0": ""}
#: What word processors make of the quotes and hyphens of program text; NFKC leaves them.
_TYPESET = str.maketrans(
    {**dict.fromkeys("‘’‚‛′", "'"), **dict.fromkeys("“”„‟″«»", '"'), **dict.fromkeys("‐‑‒–—―−", "-")}
)


_TAGS_OR_NOT = re.compile("[\U000e0020-\U000e007e]+|[^\U000e0020-\U000e007e]+")
_TAGS = re.compile("[\U000e0020-\U000e007e]")
_Stretches: TypeAlias = tuple[Sequence[int], Sequence[tuple[int, int, bool]]]


@dataclass(slots=True)
class Reading:
    """One way to read a text.

    Args:
        text: what is read.
        before: the reading it was made of; none for the text itself.
        stretches: where in ``text`` each stretch begins, and where it stands in the text of ``before``: start, end and
            whether it is there letter by letter. Called when something was found, and once.
    """

    text: str
    before: Reading | None = None
    stretches: Callable[[], _Stretches] = lambda: ((), ())
    _known: _Stretches | None = None

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where ``text[start:end]``, which isn't empty, stands in the original."""
        if self.before is None:
            return start, end
        if self._known is None:
            self._known = self.stretches()
        starts, spans = self._known
        first, last = bisect_right(starts, start) - 1, bisect_right(starts, end - 1) - 1
        begin, _, exact = spans[first]
        if exact:
            begin += start - starts[first]
        at, stop, exact = spans[last]
        if exact:
            stop = at + end - starts[last]
        return self.before.place(begin, stop)


def readings(text: str) -> Iterator[Reading]:
    """The text itself, then each layer undone, while that changes anything; in time linear in its length."""
    reading = Reading(text)
    yield reading
    if not _BEGINS.search(text):
        return
    for layer in range(LAYERS + 1):
        if _TAGS.search(reading.text):
            # Tag characters may spell a token, or stand about in one.
            yield from filter(None, [_undone(reading, spell_tags=False)])
        undone = _undone(reading, spell_tags=True) if layer < LAYERS else None
        if undone is None:
            return
        yield undone
        reading = undone


def binary_readings(text: str) -> Iterator[Reading]:
    """What isn't text, a byte a character: as it is, and without zero bytes, which is how text of wide characters reads there."""
    reading = Reading(text)
    yield reading
    if "\0" in text:
        runs = re.compile(r"[^\0]+")

        def stretches() -> _Stretches:
            spans = [(*found.span(), True) for found in runs.finditer(text)]
            starts = accumulate((end - start for start, end, _ in spans[:-1]), initial=0)
            return list(starts), spans

        yield Reading(text.replace("\0", ""), reading, stretches)


def _undone(reading: Reading, *, spell_tags: bool) -> Reading | None:
    text, chars = reading.text, _SPELLED if spell_tags else _DROPPED
    pieces: list[str] = []
    starts: list[int] = []
    spans: list[tuple[int, int, bool]] = []
    length = at = copied = 0

    def add(piece: str, start: int, end: int, exact: bool = False) -> None:
        nonlocal length, copied
        if start > copied:
            before, copied = copied, start
            add(text[before:start], before, start, True)
        if piece:
            pieces.append(piece)
            starts.append(length)
            spans.append((start, end, exact))
            length += len(piece)
        copied = end

    while (begin := _BEGINS.search(text, at)) is not None:
        found = _UNDO.match(text, begin.start())
        if found is None:
            at = begin.end()
            continue
        start, at = found.span()
        match found.lastgroup:
            case "bytes":
                for piece, first, at in _from_bytes(text, start):
                    add(piece, first, at)
            case "chars":
                run = found.group()
                if spell_tags and _TAGS.search(run):
                    # What is spelled out of sight is a text of its own, no end of the word before it.
                    for tags in _TAGS_OR_NOT.finditer(run):
                        spelled = [char.translate(chars) for char in tags.group()]
                        if _TAGS.match(run, tags.start()):
                            spelled[0], spelled[-1] = "\n" + spelled[0], spelled[-1] + "\n"
                        for place, piece in enumerate(spelled, start + tags.start()):
                            add(piece, place, place + 1)
                elif run.translate(chars) != run:
                    for place, char in enumerate(run, start):
                        add(char.translate(chars), place, place + 1)
            case "back":  # overstruck, as man pages print bold
                add("", start - 1 if start > copied and text[start - 1] != "\n" else start, at)
            case _:
                add(_piece(found), start, at)
    if not copied:
        return None
    add("", len(text), len(text))
    return Reading("".join(pieces), reading, lambda: (starts, spans))


def _piece(found: re.Match[str]) -> str:
    """What an escape stands for."""
    group, value = found.lastgroup, found[found.lastgroup or 0]
    match group:
        case "drop":
            return ""
        case "one":
            return _ONE.get(value, value)
        case "low":
            return chr(0x10000 + ((int(found["high"], 16) - 0x800) << 10) + int(value, 16) - 0xC00)
        case "name":
            return html.unescape(found.group())
        case _:
            code = int(value, 10 if group == "dec" else 16)
            return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else "\ufffd"


def _from_bytes(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """A run of escaped bytes read as UTF-8: each character, and where its bytes begin and end."""
    places: list[tuple[int, int]] = []
    data = bytearray()
    for found in iter(lambda: _ONE_BYTE.match(text, places[-1][1] if places else at), None):
        percent, hexed, octal = found.groups()
        data.append(int(octal, 8) if octal else int(percent or hexed, 16))
        places.append(found.span())
    first = 0
    for char in data.decode("utf-8", "surrogateescape"):
        wide = 1 if "\udc80" <= char <= "\udcff" else len(char.encode())
        start, end = places[first][0], places[first + wide - 1][1]
        yield (text[start:end] if "\udc80" <= char <= "\udcff" else char), start, end
        first += wide


class _Chars(dict[int, str]):
    """One character beyond plain ASCII as it reads: full-width forms as their twins, what nobody sees as nothing."""

    def __init__(self, *, spell_tags: bool) -> None:
        super().__init__({ord(char): "\n" for char in "\v\f\x85\u2028\u2029"})
        if spell_tags:
            self.update({code + 0xE0000: chr(code) for code in range(0x20, 0x7F)})

    def __missing__(self, code: int) -> str:
        char = chr(code)
        kind = unseen(char)
        if kind is None:
            piece = unicodedata.normalize("NFKC", char).translate(_TYPESET)
        else:  # of private use or not assigned: drawn as something, it parts what it stands between
            piece = char if kind in (Unseen.UNASSIGNED, Unseen.BROKEN) else ""
        if len(self) < _REMEMBERED:
            self[code] = piece
        return piece


_REMEMBERED = 4096
_SPELLED, _DROPPED = _Chars(spell_tags=True), _Chars(spell_tags=False)


def encoding_of(data: bytes) -> str | None:
    """The encoding of a body: UTF-8, or UTF-16 or UTF-32 in either order, with a byte order mark or without; none if it is no text.

    A mark stays in the decoded text as U+FEFF, so that the same encoding gives the same bytes back.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark) and _decodes(data, encoding):
            return encoding
    if b"\0" in data:
        zeros = [data[place::4].count(0) * 4 / len(data) for place in range(4)]
        # Of ASCII in UTF-16 every other byte is zero, in UTF-32 three of four: half of that tells, since other letters are among it.
        for encoding, share in (
            ("utf-32-le", min(zeros[2:])),
            ("utf-32-be", min(zeros[:2])),
            ("utf-16-le", min(zeros[1::2])),
            ("utf-16-be", min(zeros[::2])),
        ):
            if share >= 0.5 and _decodes(data, encoding):
                return encoding
    return "utf-8" if _decodes(data, "utf-8") else None


_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
