"""The one filter grammar of every list: words, ``!word``, ``/regex/``, ``field:value``; all must hold.

Patterns that a person types are RE2's (https://github.com/google/re2/wiki/Syntax): a search takes time in proportion to the text,
whatever the pattern, so none can freeze a screen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: A filter, and one term of it, longer than this is cut: patterns come from a person, but a paste may be anything.
MAX_SOURCE, MAX_TERM = 2000, 200
#: What one pattern may take: bytes for its automaton, instructions of its program (RE2's worst case is their number times the text).
MAX_PATTERN_BYTES, MAX_PATTERN_STEPS = 2 * 1024 * 1024, 2000
#: Patterns in one filter.
MAX_PATTERNS = 16

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


class BadPattern(ValueError):
    """A pattern that can't be searched for; says why, and where in it."""


def pattern(source: str) -> Callable[[str], bool]:
    """A pattern that a person typed, as a test of texts; letters of either case are the same to it.

    Args:
        source: in RE2's syntax.

    Raises:
        BadPattern: it is broken, too large, or asks for what RE2 doesn't have (look-around, back-references).
    """
    import re2

    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = False
    options.never_capture = True
    options.max_mem = MAX_PATTERN_BYTES
    try:
        compiled: Any = re2.compile(source, options)
    except re2.error as exc:
        said = exc.args[0]
        raise BadPattern(_refusal(source, said.decode("utf-8", "replace"))) from None
    except UnicodeEncodeError as exc:
        raise BadPattern(f"character {exc.start + 1} is no text") from None
    finally:
        re2.purge()  # it would keep the last 128 patterns, and one comes with every key that is typed
    if compiled.programsize > MAX_PATTERN_STEPS:
        raise BadPattern("its repetitions make it too large")
    return lambda text: compiled.search(text if text.isascii() else _encodable(text)) is not None


def _encodable(text: str) -> str:
    """Without lone surrogates, which RE2 can't be given."""
    return text.encode("utf-8", "replace").decode()


#: What RE2 doesn't have, by the beginning of what it refuses, and what a person calls it.
_NOT_IN_RE2 = {
    "(?=": "look-ahead", "(?!": "look-ahead", "(?<=": "look-behind", "(?<!": "look-behind", "(?P=": "a back-reference",
    "(?>": "an atomic group", "(?(": "a condition", "\\k": "a back-reference",
    **{f"\\{digit}": "a back-reference" for digit in range(1, 10)},
}  # fmt: skip


def _refusal(source: str, said: str) -> str:
    """RE2's error as a person reads it, with the place in the pattern."""
    what, _, part = said.partition(": ")
    at = source.find(part) if part else -1
    for beginning, name in _NOT_IN_RE2.items():
        if at >= 0 and source.startswith(beginning, at):
            return (
                f"{name} ({beginning}, character {at + 1}) isn't possible: searches take time in proportion to the text"
            )
    if "too large" in what or "repetition size" in what:
        what = "its repetitions make it too large"
    place = f", character {at + 1}" if at > 0 else ""
    return f"{what} ({part}{place})" if part and part != source else what


def parse(source: str) -> Filter:
    """Compile a filter. Never raises: a broken regex is searched for as plain text, and ``problem`` says so."""
    tests: list[Test] = []
    words: list[str] = []
    problem = "" if len(source) <= MAX_SOURCE else f"Only the first {MAX_SOURCE:,} characters of the filter are used."
    patterns = 0
    for match in _TOKEN.finditer(source[:MAX_SOURCE]):
        token = match.group()[:MAX_TERM]
        negate = token.startswith("!") and len(token) > 1
        body = token[1:] if negate else token
        name, _, rest = body.partition(":")
        in_field = name.lower() if rest and name.isidentifier() else ""
        needle = rest if in_field else body
        test: Callable[[str], bool]
        if len(needle) > 2 and needle.startswith("/") and needle.rstrip("i").endswith("/"):
            patterns += 1
            try:
                if patterns > MAX_PATTERNS:
                    raise BadPattern(f"a filter may have {MAX_PATTERNS} of them")
                test = pattern(needle[1 : needle.rindex("/")])
            except BadPattern as error:
                problem = f"/{needle.strip('/')}/ is no regular expression that can be searched for: {error}. It is taken as a word."
                test = _contains(needle)
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
