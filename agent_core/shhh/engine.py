"""The matcher: which rules find something in a text, in time linear in its length (RE2, Cox 2010)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agent_core.errors import ConfigError
from agent_core.shapes import Finding
from agent_core.shhh.given import is_given, value_of
from agent_core.shhh.model import Glued, Rule, Severity, builtin_rules
from agent_core.shhh.reading import binary_readings, readings

#: A redaction can bring no new secret forth with the built-in rules; custom ones get this many rounds to settle.
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Hit:
    """A stretch of text that must not leave: ``text[start:end]``, and the worst rule that says so."""

    rule: Rule
    start: int
    end: int


class Engine:
    """Finds and redacts. Patterns are compiled when one of their keywords is first seen; the engine holds no text.

    Args:
        rules: the rules in force; the built-in set if not given.

    Raises:
        ConfigError: two rules share an id.
    """

    def __init__(self, rules: Sequence[Rule] | None = None) -> None:
        self.rules: tuple[Rule, ...] = builtin_rules() if rules is None else tuple(rules)
        if len({rule.id for rule in self.rules}) != len(self.rules):
            raise ConfigError("Two SHHH rules have the same id.", "Give every rule an id of its own.")
        self._compiled: dict[str, Any] = {}
        self._keywords: Any = None
        self._words: list[Rule] = []
        self._unkeyed = {rule.id for rule in self.rules if not rule.keywords}

    def suspects(self, text: str) -> bool:
        """Whether a keyword of any rule is in the text, however it is escaped: whether :meth:`scan` is worth its time."""
        return any(self._rules_for(_utf8(reading.text)) for reading in readings(text))

    def scan(self, text: str, *, binary: bool = False) -> tuple[Hit, ...]:
        """Every stretch to hide, in order and without overlap; overlapping ones are joined under the worst rule.

        The text is searched as it is and as it reads once escapes and unseen characters are undone
        (:func:`~agent_core.shhh.reading.readings`); places are those in the text given.

        Args:
            text: anything.
            binary: it is no text but bytes, one a character, in which nothing is escaped.
        """
        hits: list[Hit] = []
        for reading in binary_readings(text) if binary else readings(text):
            plain = _utf8(reading.text)
            for rule in self._rules_for(plain):
                hits += (Hit(rule, *reading.place(start, end)) for start, end in self._scan_rule(rule, plain))
        if not hits:
            return ()
        hits.sort(key=lambda hit: (hit.start, -hit.end))
        joined: list[Hit] = []
        for hit in hits:
            last = joined[-1] if joined else None
            if last is not None and hit.start < last.end:
                worse = hit.rule if hit.rule.severity.rank > last.rule.severity.rank else last.rule
                joined[-1] = Hit(worse, last.start, max(last.end, hit.end))
            else:
                joined.append(hit)
        return tuple(joined)

    def find(self, text: str) -> tuple[Finding, ...]:
        """What :meth:`scan` finds, by line and column (from 1, in characters), for people and the editor."""
        findings: list[Finding] = []
        line, line_start, seen = 1, 0, 0
        for hit in self.scan(text):
            line += text.count("\n", seen, hit.start)
            newline = text.rfind("\n", seen, hit.start)
            line_start = newline + 1 if newline >= 0 else line_start
            seen = hit.start
            findings.append(
                Finding(
                    rule=hit.rule.id,
                    severity=hit.rule.severity.value,
                    line=line,
                    column=hit.start - line_start + 1,
                    length=hit.end - hit.start,
                    message=f"Line {line} holds {hit.rule.title}.",
                )
            )
        return tuple(findings)

    def redact(self, text: str, *, binary: bool = False) -> str:
        """The text with every finding replaced by ``[REDACTED:<rule>]``; redacting twice changes nothing."""
        for _ in range(_ROUNDS):
            hits = self.scan(text, binary=binary)
            if not hits:
                break
            text = replace(text, hits)
        return text

    def _rules_for(self, text: str) -> tuple[Rule, ...]:
        """The rules whose keywords appear in the text: the only ones worth trying."""
        if self._keywords is None:
            import re2

            options = re2.Options()
            options.case_sensitive, options.literal, options.log_errors = False, True, False
            self._words = [rule for rule in self.rules for _ in rule.keywords]
            self._keywords = re2.Set.SearchSet(options)
            for word in (word for rule in self.rules for word in rule.keywords):
                self._keywords.Add(word)
            self._keywords.Compile()
        found = {self._words[index].id for index in self._keywords.Match(text) or ()} | self._unkeyed
        return tuple(rule for rule in self.rules if rule.id in found) if found else ()

    def _scan_rule(self, rule: Rule, text: str) -> Iterator[tuple[int, int]]:
        pattern = self._pattern(rule)
        groups = sorted(pattern.groupindex.values())
        for found in pattern.finditer(text):
            start, end = next((s for s in (found.span(g) for g in groups) if s[0] >= 0), found.span())
            if rule.given:
                end = start + len(value_of(text[start:end]))
            if end > start and _likely(rule, text, found.start(), start, end):
                yield start, end

    def _pattern(self, rule: Rule) -> Any:
        pattern = self._compiled.get(rule.id)
        if pattern is None:
            import re2

            options = re2.Options()
            options.log_errors = False
            try:
                pattern = self._compiled[rule.id] = re2.compile(rule.pattern, options)
            except re2.error as exc:
                raise ConfigError(
                    f"The pattern of the SHHH rule {rule.id} isn't RE2: {exc}.", "Correct the rule, or remove it."
                ) from exc
        return pattern


def _utf8(text: str) -> str:
    """The text with "?" for lone surrogates: RE2 reads UTF-8, and lengths stay."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _likely(rule: Rule, text: str, begin: int, start: int, end: int) -> bool:
    """Whether what a pattern found is a secret, by what it is made of and what stands beside it.

    Args:
        rule: whose pattern it was.
        text: where it was found.
        begin: where the match begins.
        start: where the secret in it begins.
        end: where that ends.
    """
    secret = text[start:end]
    if rule.digit and not any(character.isdigit() for character in secret):
        return False
    if rule.entropy and entropy(secret) < rule.entropy:
        return False
    if rule.after and end < len(text) and _one_of(rule.after).match(text[end]):
        return False
    if rule.given and not is_given(secret):
        return False
    if rule.glued is Glued.ANY or not _is_glued(text, begin):
        return True
    match rule.glued:
        case Glued.NEVER:
            return False
        case Glued.DIGIT:
            return any(character.isdigit() for character in secret)
        case Glued.MIXED:
            return all(any(map(kind, secret)) for kind in (str.isdigit, str.islower, str.isupper))
        case Glued.SHORT:
            return begin < _BLOB or not _BLOB_END.search(text, begin - _BLOB, begin)


#: So many characters of base64 directly before a match make it part of something longer.
_BLOB = 24
_BLOB_END = re.compile(rf"[A-Za-z0-9+/]{{{_BLOB}}}\Z")


@lru_cache(maxsize=64)
def _one_of(characters: str) -> Any:
    """The pattern of one character of a class. Raises ``ConfigError``: it is no class."""
    import re2

    try:
        return re2.compile(f"[{characters}]")
    except re2.error as exc:
        raise ConfigError(
            f"'after' of a SHHH rule, {characters!r}, is no class of characters.", "Mend the rule."
        ) from exc


def _is_glued(text: str, at: int) -> bool:
    """Whether a match continues a word: a letter or digit stands before it, and no capital begins a new one."""
    return at > 0 and text[at - 1].isalnum() and not (text[at - 1].islower() and text[at].isupper())


def replace(text: str, hits: Sequence[Hit]) -> str:
    """The text with the given hits (in order, without overlap) replaced by their marks."""
    pieces: list[str] = []
    at = 0
    for hit in hits:
        pieces += (text[at : hit.start], f"[REDACTED:{hit.rule.id}]")
        at = hit.end
    pieces.append(text[at:])
    return "".join(pieces)


def entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values()) if total else 0.0


def critical(hits: Sequence[Hit]) -> Hit | None:
    """The first hit that must block what carries it."""
    return next((hit for hit in hits if hit.rule.severity is Severity.CRITICAL), None)


@lru_cache(maxsize=1)
def builtin() -> Engine:
    """The engine with the built-in rules."""
    return Engine()


def find(text: str) -> tuple[Finding, ...]:
    """:meth:`Engine.find` with the built-in rules."""
    return builtin().find(text)


def redact(text: str) -> str:
    """:meth:`Engine.redact` with the built-in rules."""
    return builtin().redact(text)
