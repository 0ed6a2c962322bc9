"""The matcher: which rules find something in a text, in time linear in its length (RE2, Cox 2010)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agent_core.errors import ConfigError
from agent_core.shapes import Finding
from agent_core.shhh.model import Rule, Severity, builtin_rules

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

    def suspects(self, text: str) -> tuple[Rule, ...]:
        """The rules whose keywords appear in the text: the only ones worth trying."""
        lowered = text.lower()
        return tuple(rule for rule in self.rules if any(word in lowered for word in rule.keywords))

    def scan(self, text: str) -> tuple[Hit, ...]:
        """Every stretch to hide, in order and without overlap; overlapping ones are joined under the worst rule."""
        rules = self.suspects(text)
        if not rules:
            return ()
        text = text.encode("utf-8", "replace").decode()  # a lone surrogate becomes "?": RE2 reads UTF-8, lengths stay
        hits = [hit for rule in rules for hit in self._scan_rule(rule, text)]
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

    def redact(self, text: str) -> str:
        """The text with every finding replaced by ``[REDACTED:<rule>]``; redacting twice changes nothing."""
        for _ in range(_ROUNDS):
            hits = self.scan(text)
            if not hits:
                break
            text = replace(text, hits)
        return text

    def _scan_rule(self, rule: Rule, text: str) -> list[Hit]:
        pattern = self._pattern(rule)
        groups = sorted(pattern.groupindex.values())
        hits: list[Hit] = []
        for found in pattern.finditer(text):
            start, end = next((s for s in (found.span(g) for g in groups) if s[0] >= 0), found.span())
            if end > start and _likely(rule, text[start:end]):
                hits.append(Hit(rule, start, end))
        return hits

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


def _likely(rule: Rule, secret: str) -> bool:
    if rule.digit and not any(character.isdigit() for character in secret):
        return False
    return not rule.entropy or entropy(secret) >= rule.entropy


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
