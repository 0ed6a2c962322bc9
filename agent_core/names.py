"""Names: one rule for what members, roles, capabilities and networks may be called, whoever gives the name and wherever it enters.

A name is letters and digits of any script with a few signs between them, in normal form NFC, and all of it can be seen. What a
person wrote is refused with a suggestion (:func:`judged`); what the system gave is made into a name (:func:`made`); what a peer sent is
asked for its :func:`objection`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from agent_core.errors import InvalidInput
from agent_core.text import from_system, normal, unseen

MAX_NAME_CHARS = 64
#: What a terminal is told by in a name from elsewhere: the whole of it is dropped, not only its first character.
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.")
#: Marks that may sit on one letter.
_MAX_MARKS = 4


@dataclass(frozen=True, slots=True)
class NameRule:
    """What one sort of names may hold beside letters and digits.

    Args:
        what: the sort, for messages.
        signs: the signs that are allowed, but not at the beginning (``_`` is allowed there).
        ascii: only the letters and digits of ASCII.
    """

    what: str
    signs: str
    ascii: bool = False

    @property
    def allowed(self) -> str:
        """What a name may hold, for messages."""
        signs = " ".join(self.signs.replace(" ", ""))
        blanks = ", with single blanks between" if " " in self.signs else ""
        letters = "ASCII letters, digits" if self.ascii else "Letters, digits"
        return f"{letters} and {signs}{blanks}, at most {MAX_NAME_CHARS}, beginning with a letter or digit."


#: ``~`` is left out: equal names are told apart by it and the peer id's end. So is ``:``, which begins mentions of roles.
AGENT = NameRule("agent id", "._-+@")
ROLE = NameRule("role", "._-")
CAPABILITY = NameRule("capability", "._-+@#/ ")
NETWORK = NameRule("network's name", "._-", ascii=True)


def objection(text: str, rule: NameRule) -> str:
    """Why a text can't be such a name, half a sentence; empty if it can."""
    if not text.strip():
        return "is empty" if not text else "is blank"
    if len(text) > MAX_NAME_CHARS:
        return f"has {len(text)} characters; the limit is {MAX_NAME_CHARS}"
    if text != normal(text):
        return "isn't in Unicode's normal form NFC"
    for at, char in enumerate(text):
        if (kind := unseen(char)) is not None:
            return f"has a character that nobody sees (U+{ord(char):04X}, {kind})"
        if not _fits(char, at, rule):
            return f"has {_shown(char)} in it" if at else f"begins with {_shown(char)}"
    if "  " in text or text != text.strip():
        return "has blanks where they can't be seen"
    if _marks(text) > _MAX_MARKS:
        return "has too many marks on one letter"
    return ""


def judged(text: str, rule: NameRule) -> str:
    """What a person wrote as a name, in normal form.

    Raises:
        InvalidInput: no such name can be; says why and suggests one.
    """
    name = normal(text)
    if why := objection(name, rule):
        suggestion = made(name, rule)
        hint = f"For example {suggestion}. " if suggestion else ""
        raise InvalidInput(f"The {rule.what} {why}.", f"{hint}{rule.allowed}")
    return name


def made(text: str, rule: NameRule = AGENT, otherwise: str = "", limit: int = MAX_NAME_CHARS) -> str:
    """What the system gave as a name: what can't be in one becomes ``-``.

    Args:
        text: a login, a host; anything.
        rule: what the name is for.
        otherwise: the name if nothing is left of the text.
        limit: characters at most.
    """
    plain = _ESCAPE.sub("", normal(text[: 8 * MAX_NAME_CHARS]))
    out: list[str] = []
    for char in plain:
        fits = (
            unseen(char) is None
            and _fits(char, len(out), rule)
            and not (out and _marks("".join(out[-9:]) + char) > _MAX_MARKS)
        )
        if fits:
            out.append(char)
        elif out and out[-1] != "-" and unicodedata.category(char) not in ("Cf", "Mn", "Me"):
            out.append("-")
    return normal("".join(out)[:limit]).strip(f"{rule.signs} -") or otherwise


def default_agent_id(login: str, host: str) -> str:
    """``<login>-<host>`` out of whatever the system says; each has its share of the room, so that neither is lost."""
    end = made(from_system(host).split(".")[0], AGENT, "host", 23)
    return f"{made(login, AGENT, 'user', MAX_NAME_CHARS - 1 - len(end))}-{end}"


def _fits(char: str, at: int, rule: NameRule) -> bool:
    if char.isascii():
        return char.isalnum() or char == "_" or (at > 0 and char in rule.signs)
    # A mark needs a letter to sit on; Indic vowels are marks, too.
    return not rule.ascii and (char.isalnum() or (at > 0 and unicodedata.category(char)[0] == "M"))


def _marks(text: str) -> int:
    """The most marks in a row."""
    most = run = 0
    for char in text:
        run = run + 1 if not char.isascii() and unicodedata.category(char)[0] == "M" else 0
        most = max(most, run)
    return most


def _shown(char: str) -> str:
    return "a blank" if char.isspace() else f"{char!r}" if char.isprintable() else f"U+{ord(char):04X}"
