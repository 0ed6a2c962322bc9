"""The grammar of UCXL addresses: reading, writing, one canonical spelling, wildcards (SPEC section 8).

::

    ucxl://agent:role@project:task/[temporal/]path[?query][#fragment]

    agent, role, project, task   letters, digits, - _ . (not dots alone)   or the wildcard any, *
    temporal                     *^  *~  ~~N  ^^N  @<RFC 3339>
    path                         segments like the components, between slashes; * for any one segment

The form ``…/#/path`` means ``…/path``. In listings a pattern covers what lies below its path, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from agent_core.clock import parse_rfc3339, rfc3339
from agent_core.errors import InvalidAddress
from agent_core.ucxl.model import MAX_ADDRESS_CHARS

SCHEME = "ucxl://"
ANY = "*"
MAX_COMPONENT_CHARS = 64
MAX_STEPS = 10**9
#: The first instant of the year 10000, which RFC 3339 can't write, in Unix milliseconds.
_END_OF_TIME_MS = 253_402_300_800_000

#: One of the characters is more than a dot: `.` and `..` mean a place elsewhere to whatever reads an address as a path.
_COMPONENT = re.compile(r"\*|[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_ONCE_A_COMPONENT = re.compile(r"\*|[A-Za-z0-9_.-]+")
_PRINTABLE = re.compile(r"[!-~]*")
_QUERY = re.compile(r"[!-\"$-~]*")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_EXAMPLE = "An address looks like ucxl://agent:role@project:task/path; `*` stands for anything in a listing."


class Moment(StrEnum):
    """Which way a temporal segment points."""

    LATEST = "*^"
    FIRST = "*~"
    BACK = "~~"
    FORWARD = "^^"
    AT = "@"


@dataclass(frozen=True, slots=True)
class Temporal:
    """A temporal segment. ``value`` is the number of versions, or for ``AT`` Unix milliseconds."""

    moment: Moment = Moment.LATEST
    value: int = 0

    def __str__(self) -> str:
        match self.moment:
            case Moment.BACK | Moment.FORWARD:
                return f"{self.moment}{self.value}"
            case Moment.AT:
                return f"@{rfc3339(self.value)}"
        return self.moment


LATEST = Temporal()


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address; its text is the one canonical spelling, so equal addresses have equal texts."""

    agent: str
    role: str
    project: str
    task: str
    path: str = ""  #: segments with slashes between; empty for the task itself
    temporal: Temporal = LATEST
    query: str = ""
    fragment: str = ""

    def __str__(self) -> str:
        temporal = "" if self.temporal == LATEST else f"{self.temporal}/"
        query = f"?{self.query}" if self.query else ""
        fragment = f"#{self.fragment}" if self.fragment else ""
        return f"{SCHEME}{self.agent}:{self.role}@{self.project}:{self.task}/{temporal}{self.path}{query}{fragment}"

    @property
    def components(self) -> tuple[str, str, str, str]:
        return (self.agent, self.role, self.project, self.task)

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's segments."""
        return tuple(self.path.split("/")) if self.path else ()

    @property
    def is_pattern(self) -> bool:
        """Whether it has a wildcard, so that it can be listed but not written."""
        return ANY in self.components or ANY in self.segments

    @property
    def place(self) -> Address:
        """The address itself: without version, query and fragment."""
        return replace(self, temporal=LATEST, query="", fragment="")

    def covers(self, other: Address) -> bool:
        """Whether the other address matches this pattern or lies below it."""
        mine, theirs = self.segments, other.segments
        return (
            len(mine) <= len(theirs)
            and all(_matches(m, t) for m, t in zip(self.components, other.components, strict=True))
            and all(_matches(m, t) for m, t in zip(mine, theirs, strict=False))
        )


def parse(text: str) -> Address:
    """Read an address.

    Raises:
        InvalidAddress: says at which position what was expected.
    """
    return _Reader(text).address()


def parse_stored(text: str) -> Address:
    """Read an address that stands in the log: once a component could be dots alone, and what was written so stays listed.

    Raises:
        InvalidAddress: as :func:`parse`.
    """
    return _Reader(text, dots=True).address()


def parse_pattern(text: str) -> Address:
    """Read a pattern for a listing; an empty one or ``*`` covers everything.

    Raises:
        InvalidAddress: as :func:`parse`.
    """
    return Address(ANY, ANY, ANY, ANY) if text.strip() in ("", ANY) else parse(text)


def parse_place(text: str) -> Address:
    """Read an address that one version can be written to or named by: no wildcards; version, query and fragment are dropped.

    Raises:
        InvalidAddress: as :func:`parse`, or it has wildcards.
    """
    address = parse(text).place
    if address.is_pattern:
        raise InvalidAddress(f"{address} has a wildcard, so it doesn't name one address.", "Name every part.")
    return address


def parse_temporal(text: str) -> Temporal | None:
    """Read a temporal segment alone; nothing if the text isn't meant as one.

    Raises:
        InvalidAddress: it begins like one and isn't.
    """
    if not text.startswith(tuple(Moment)):
        return None
    reader = _Reader(text)
    temporal = reader.temporal()
    if reader.at != len(text):
        raise reader.expected("the end of the version")
    return temporal


def component_of(name: str) -> str:
    """A free name as a component: what the grammar doesn't allow becomes ``-``."""
    made = _NOT_IN_A_NAME.sub("-", name)[:MAX_COMPONENT_CHARS].strip("-")
    return f"{made}-" if made == "any" else made if made.strip(".") else "x"


def _matches(pattern: str, text: str) -> bool:
    return pattern in (ANY, text)


class _Reader:
    """Reads an address from left to right and knows where it stands."""

    def __init__(self, text: str, *, dots: bool = False) -> None:
        if len(text) > MAX_ADDRESS_CHARS:
            raise InvalidAddress(
                f"An address of {len(text):,} characters is too long; the limit is {MAX_ADDRESS_CHARS:,}.", _EXAMPLE
            )
        self.text = text
        self.at = 0
        self._component = _ONCE_A_COMPONENT if dots else _COMPONENT

    def expected(self, what: str) -> InvalidAddress:
        found = f"not {self.text[self.at : self.at + 12]!r}" if self.at < len(self.text) else "but it ends there"
        shown = self.text if len(self.text) <= 80 else f"{self.text[:77]}…"
        return InvalidAddress(
            f"{shown!r} is no UCXL address: expected {what} at position {self.at + 1}, {found}.", _EXAMPLE
        )

    def skip(self, mark: str) -> bool:
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def take(self, mark: str, what: str) -> None:
        if not self.skip(mark):
            raise self.expected(f"{mark!r} {what}".strip())

    def ended(self) -> bool:
        return self.at == len(self.text)

    def address(self) -> Address:
        if self.text[: len(SCHEME)].lower() != SCHEME:
            raise self.expected(repr(SCHEME))
        self.at = len(SCHEME)
        agent = self.component("an agent")
        self.take(":", "and a role")
        role = self.component("a role")
        self.take("@", "and a project")
        project = self.component("a project")
        self.take(":", "and a task")
        task = self.component("a task")
        if not self.ended():
            self.take("/", "and a path")
        self.skip("#/")
        temporal = LATEST
        if self.text.startswith(tuple(Moment), self.at):
            temporal = self.temporal()
            if not self.ended() and self.text[self.at] not in "?#":
                self.take("/", "and a path")
        path = "/".join(self.path())
        query = self.rest(_QUERY) if self.skip("?") else ""
        fragment = self.rest(_PRINTABLE) if self.skip("#") else ""
        if not self.ended():
            raise self.expected("printable ASCII without spaces")
        if not path and fragment.startswith("/"):
            self.at -= len(fragment)
            raise self.expected("a fragment that doesn't begin with '/', since there is no path")
        return Address(agent, role, project, task, path, temporal, query, fragment)

    def component(self, what: str) -> str:
        match = self._component.match(self.text, self.at)
        if match is None:
            raise self.expected(f"{what} (letters, digits, - _ . but not dots alone)")
        if len(match.group()) > MAX_COMPONENT_CHARS:
            raise self.expected(f"{what} of at most {MAX_COMPONENT_CHARS} characters")
        self.at = match.end()
        return ANY if match.group() == "any" else match.group()

    def path(self) -> list[str]:
        segments: list[str] = []
        while not self.ended() and self.text[self.at] not in "?#":
            if segments:
                self.take("/", "or the end of the path")
                if self.ended() or self.text[self.at] in "?#":
                    break
            start = self.at
            match = self._component.match(self.text, start)
            if match is None or match.group() in (".", ".."):
                raise self.expected("a path segment (letters, digits, - _ . but not dots alone)")
            self.at = match.end()
            segments.append(match.group())
        return segments

    def rest(self, allowed: re.Pattern[str]) -> str:
        match = allowed.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return match.group()

    def temporal(self) -> Temporal:
        if self.skip(Moment.LATEST):
            return LATEST
        if self.skip(Moment.FIRST):
            return Temporal(Moment.FIRST)
        if self.skip(Moment.AT):
            return Temporal(Moment.AT, self.instant())
        moment = Moment.BACK if self.skip(Moment.BACK) else Moment.FORWARD
        if moment is Moment.FORWARD:
            self.take(Moment.FORWARD, "")
        match = re.compile(r"[0-9]{1,9}(?![0-9])").match(self.text, self.at)
        if match is None:
            raise self.expected(f"a number of versions below {MAX_STEPS:,}")
        self.at = match.end()
        return Temporal(moment, int(match.group()))

    def instant(self) -> int:
        end = next((i for i in range(self.at, len(self.text)) if self.text[i] in "/?#"), len(self.text))
        try:
            ms = parse_rfc3339(self.text[self.at : end])
        except (ValueError, OverflowError):
            ms = -1
        if not 0 <= ms < _END_OF_TIME_MS:
            raise self.expected("an RFC 3339 time from 1970 to 9999, like 2026-01-31T12:00:00Z,")
        self.at = end
        return ms
