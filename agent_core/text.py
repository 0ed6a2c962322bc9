"""Text from others: its normal form, which of its characters nobody sees, and a spelling in which everything shows.

A terminal draws nothing for some characters, and programs read them all the same: blanks of no width, marks that turn the
direction of writing, the tag characters of Unicode, letters that are blank. Names and options may not hold them; texts may,
and show them as a mark. What Unicode counts as unseen follows ``Default_Ignorable_Code_Point`` (UAX 44) and the general
categories; what is left unmarked in texts (emoji, Persian, Indic scripts) follows UTS 51 and RFC 5892, appendix A.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum


class Unseen(StrEnum):
    """Why nobody sees a character."""

    CONTROL = "control"  #: C0, C1 and DEL; also the line and paragraph separators
    DIRECTION = "direction"  #: it turns the direction of writing
    TAG = "tag"  #: a tag character: ASCII that isn't drawn
    INVISIBLE = "invisible"  #: no width, a filler, a variation selector
    UNASSIGNED = "unassigned"  #: no character of this Unicode version, or of private use
    BROKEN = "broken"  #: half a character: a surrogate, which also stands for bytes that are no UTF-8


_DIRECTION = frozenset({0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)})
#: Ignorable although their category says letter, mark or symbol; the last is the blank of Braille.
_BLANK = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2065, 0x3164, 0xFFA0, *range(0xFFF0, 0xFFF9)}
    | {*range(0xFE00, 0xFE10), 0x2800}
)
_FILLERS = re.compile(f"[{''.join(map(chr, sorted(_BLANK)))}\U000e0100-\U000e01ef]")
#: Signs of Arabic, Syriac and Kaithi that are format characters and drawn all the same.
_DRAWN = frozenset({*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD})
#: Where Unicode keeps room for pictures: those of a newer version than this program's are drawn too.
_PICTURES = range(0x1F000, 0x1FC00)

_JOINERS = "\u200c\u200d"
_SELECTORS = "\ufe0e\ufe0f"
#: The one use of tag characters that is drawn: the flags of England, Scotland and Wales (UTS 51, RGI).
_FLAG = re.compile(
    "\U0001f3f4\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074|\U000e0077\U000e006c\U000e0073)\U000e007f"
)


def normal(text: str) -> str:
    """The text in normal form NFC, so that what is the same to the eye is the same to a program."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def unseen(char: str) -> Unseen | None:
    """Why nobody sees this one character; nothing if it is drawn, a blank included."""
    if " " <= char <= "~":
        return None
    code, category = ord(char), unicodedata.category(char)
    if 0xE0000 <= code <= 0xE007F:
        return Unseen.TAG
    if code in _DIRECTION:
        return Unseen.DIRECTION
    if category in ("Cc", "Zl", "Zp"):
        return Unseen.CONTROL
    if code in _BLANK or 0xE0080 <= code <= 0xE0FFF or (category == "Cf" and code not in _DRAWN):
        return Unseen.INVISIBLE
    if category == "Cs":
        return Unseen.BROKEN
    return Unseen.UNASSIGNED if category in ("Cn", "Co") else None


def has_unseen(text: str) -> bool:
    """Whether a text holds any character that isn't drawn; line ends and tabs count too."""
    return _unseen_in(text)


def marked(text: str, keep: str = "\n\t", mark: Callable[[str], str] | None = None) -> str:
    """The text with a visible mark in place of all that nobody would see, safe to print on a terminal.

    ``<U+200B>`` is a blank of no width, ``<U+200B ×12>`` twelve of them, ``<hidden: …>`` what tag characters spell, ``<0xE9>`` a byte that is
    no UTF-8. What makes emoji, flags, Persian and Indic words look right stays as it is.

    Args:
        text: anything.
        keep: control characters that stay.
        mark: makes another mark of a run of equal characters, or of a run of tag characters.
    """
    if not _unseen_in(text.translate(dict.fromkeys(map(ord, keep)))):
        return text
    mark = mark or _mark
    out: list[str] = []
    at, end = 0, len(text)
    while at < end:
        char = text[at]
        if char in keep or (kind := unseen(char)) is None:
            flag = _FLAG.match(text, at) if char == "\U0001f3f4" else None
            out.append(flag.group() if flag else char)
            at += len(out[-1])
            continue
        if _is_proper(text, at, kind):
            out.append(char)
            at += 1
            continue
        start = at
        while at < end and (text[at] == char or (kind is Unseen.TAG and unseen(text[at]) is Unseen.TAG)):
            at += 1
        out.append(mark(text[start:at]))
    return "".join(out)


def seen(text: str) -> str:
    """The text in normal form without the characters that aren't drawn; runs of white space, of whatever width, become one blank."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    kept = "".join(" " if c.isspace() else c for c in text if c.isspace() or unseen(c) is None)
    return " ".join(normal(kept).split())


def from_system(text: str) -> str:
    """What the system gave (a variable, an argument, a name of a file, host or login) as text that UTF-8 can carry.

    Python brings bytes that are no UTF-8 as lone surrogates (PEP 383), which can't be encoded, hence not be stored, sent or
    printed. They become ``\\xe9``, as Python's ``backslashreplace`` writes them.
    """
    if text.isascii():
        return text
    return "".join(_escaped(c) if "\ud800" <= c <= "\udfff" else c for c in text)


def is_text(text: str) -> bool:
    """Whether UTF-8 can carry it: no lone surrogates, so nothing that came of other bytes."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _unseen_in(text: str) -> bool:
    # Long texts are nearly always plain, and this is quick to see; what is printable and unseen all the same is few.
    return not (text.isprintable() and not _FILLERS.search(text)) and any(map(unseen, text))


def _escaped(char: str) -> str:
    return f"\\x{ord(char) - 0xDC00:02x}" if "\udc80" <= char <= "\udcff" else f"\\u{ord(char):04x}"


def _mark(run: str) -> str:
    kind, times = unseen(run[0]), f" ×{len(run)}" if len(run) > 1 else ""
    if kind is Unseen.TAG:
        spelled = "".join(chr(ord(c) - 0xE0000) for c in run)
        shown = "".join(c if c.isprintable() else "·" for c in spelled)
        return f"<hidden: {shown}>" if shown.strip("·") else f"<U+{ord(run[0]):04X}{times}>"
    if "\udc80" <= run[0] <= "\udcff":
        return f"<0x{ord(run[0]) - 0xDC00:02X}{times}>"
    return f"<U+{ord(run[0]):04X}{times}>"


def _is_proper(text: str, at: int, kind: Unseen) -> bool:
    """Whether an unseen character does what it is there for: it joins emoji or letters, or picks how a picture is drawn."""
    char, before, after = text[at], text[at - 1 : at], text[at + 1 : at + 2]
    if kind is Unseen.UNASSIGNED:
        return ord(char) in _PICTURES
    if char in _SELECTORS:
        return bool(before) and (_is_picture(before) or (before in "0123456789#*" and after == "\u20e3"))
    if char not in _JOINERS or not before or not after:
        return False
    if char == "\u200d" and _is_picture(after):
        return _is_picture(before) or (before in _SELECTORS and _is_picture(text[at - 2 : at - 1]))
    if unicodedata.combining(before) == 9:  # a virama: RFC 5892 A.1, A.2
        return True
    return _joins(text, at, -1) and _joins(text, at, 1)


def _is_picture(char: str) -> bool:
    return (
        bool(char)
        and (ord(char) in _PICTURES or unicodedata.category(char) in ("So", "Sm", "Sk"))
        and not char.isascii()
    )


def _joins(text: str, at: int, step: int) -> bool:
    """Whether the next letter in a direction is of a script whose letters join."""
    at += step
    while 0 <= at < len(text) and unicodedata.category(text[at]) == "Mn":
        at += step
    return 0 <= at < len(text) and unicodedata.bidirectional(text[at]) == "AL"
