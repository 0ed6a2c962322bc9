"""The one filter grammar of every list: words, ``!word``, ``/regex/``, ``field:value``; all must hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: A filter term longer than this is cut: patterns come from a person, but a paste may be anything.
MAX_TERM = 200

_TOKEN = re.compile(r"!?(?:\w+:)?(?:/(?:\\.|[^/\\])*/i?|\"[^\"]*\"?|\S+)")

Test = Callable[[str, Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """A compiled filter. ``problem`` is a sentence when a part couldn't be understood; that part is then taken as a word."""

    source: str = ""
    tests: tuple[Test, ...] = ()
    problem: str = ""
    words: tuple[str, ...] = field(default=())  #: what to highlight

    def __bool__(self) -> bool:
        return bool(self.tests)

    def matches(self, text: str, fields: Mapping[str, str] | None = None) -> bool:
        """Whether a row passes.

        Args:
            text: all that is seen of the row.
            fields: its values by name, for ``field:value``; the value matches when it contains what was asked for.
        """
        given = fields or {}
        return all(test(text, given) for test in self.tests)


NO_FILTER = Filter()


def parse(source: str) -> Filter:
    """Compile a filter. Never raises: a broken regex is searched for as plain text, and ``problem`` says so."""
    tests: list[Test] = []
    words: list[str] = []
    problem = ""
    for match in _TOKEN.finditer(source):
        token = match.group()[:MAX_TERM]
        negate = token.startswith("!") and len(token) > 1
        body = token[1:] if negate else token
        name, _, rest = body.partition(":")
        in_field = name.lower() if rest and name.isidentifier() else ""
        needle = rest if in_field else body
        test: Callable[[str], bool]
        if len(needle) > 2 and needle.startswith("/") and needle.rstrip("i").endswith("/"):
            try:
                pattern = re.compile(needle[1 : needle.rindex("/")], re.IGNORECASE)
            except re.error as error:
                problem = f"/{needle.strip('/')}/ is no regular expression: {error}"
                test = _contains(needle)
            else:
                test = _searches(pattern)
        else:
            plain = needle.strip('"')
            test = _contains(plain)
            if not negate and not in_field and plain:
                words.append(plain)
        tests.append(_term(test, in_field, negate, body))
    return Filter(source.strip(), tuple(tests), problem, tuple(words))


def _contains(needle: str) -> Callable[[str], bool]:
    lowered = needle.lower()
    return lambda text: lowered in text.lower()


def _searches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.search(text[:4096]) is not None


def _term(test: Callable[[str], bool], in_field: str, negate: bool, whole: str) -> Test:
    as_word = _contains(whole)

    def run(text: str, fields: Mapping[str, str]) -> bool:
        # `12:04` or `ucxl://…` look like fields; where the row has no such field they are words.
        found = test(text) if not in_field else test(fields[in_field]) if in_field in fields else as_word(text)
        return found != negate

    return run


class History:
    """Filters used before, recalled with the up arrow; the newest first, no doubles.

    Args:
        limit: how many are kept.
    """

    def __init__(self, limit: int = 50) -> None:
        self._items: list[str] = []
        self._at = -1
        self._limit = limit

    def add(self, source: str) -> None:
        """Remember one, and start recalling from it."""
        self._at = -1
        if source.strip():
            self._items = [source, *(i for i in self._items if i != source)][: self._limit]

    def older(self) -> str | None:
        """The next older one, None at the end."""
        if self._at + 1 >= len(self._items):
            return None
        self._at += 1
        return self._items[self._at]

    def newer(self) -> str:
        """The next newer one; empty past the newest."""
        self._at = max(-1, self._at - 1)
        return self._items[self._at] if self._at >= 0 else ""
