"""Rules: what a secret looks like, how bad it is, and examples that prove the rule."""

from __future__ import annotations

import hashlib
import re
import string
import tomllib
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from pathlib import Path

import msgspec

from agent_core.errors import ConfigError
from agent_core.inputs import read_text


class Severity(StrEnum):
    """How bad a leak would be. ``critical`` blocks what carries it (SPEC section 11)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for low to 3 for critical."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Glued(StrEnum):
    """When a match counts that continues a word, as ``sk-`` does in ``task-``."""

    ANY = "any"  #: always: the pattern is nobody's word
    DIGIT = "digit"  #: when the secret holds a digit
    MIXED = "mixed"  #: when it holds a digit and letters of both cases
    SHORT = "short"  #: when only a short run of letters and digits stands before it, so that it is no part of a longer encoding
    NEVER = "never"  #: not at all


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of secret.

    Args:
        id: stable name, shown as ``[REDACTED:<id>]``.
        pattern: RE2 syntax. The secret is the named group that took part, or the whole match without one. No ``\\b``, which
            takes ``_`` and what is left of an escape for the beginning of the word: ``glued`` and ``after`` say what may stand beside it.
        keywords: lower-case literals; the pattern is tried only on texts with one of them, or on all if there are none.
        entropy: least Shannon entropy of the secret in bits a character; 0 takes any.
        digit: whether the secret has a digit; tells generated ones from names in program text.
        given: whether placeholders (``changeme``, ``<your-token>``), references (``${NAME}``, paths) and names in program text are left out.
        glued: when a match that continues a word counts.
        after: characters, as in a class of a pattern, that may not follow the secret.
        match: examples that must be found, in the notation of :func:`example`.
        no_match: examples in which this rule must find nothing.
    """

    id: str
    severity: Severity
    title: str
    pattern: str
    keywords: tuple[str, ...]
    tags: tuple[str, ...] = ()
    entropy: float = 0.0
    digit: bool = False
    given: bool = False
    glued: Glued = Glued.ANY
    after: str = ""
    match: tuple[str, ...]
    no_match: tuple[str, ...] = ()


class _RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...]


def parse_rules(text: str, source: str = "rules") -> tuple[Rule, ...]:
    """Rules from TOML.

    Args:
        text: a TOML document with one ``[[rule]]`` table a rule.
        source: what to call the document in errors.

    Raises:
        ConfigError: the document doesn't parse or isn't one of rules.
    """
    try:
        rules = msgspec.convert(tomllib.loads(text), _RuleFile).rule
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
        raise ConfigError(f"{source} can't be used: {exc}.", "Correct the rule, or remove it.") from exc
    ids = [rule.id for rule in rules]
    twice = {id for id in ids if ids.count(id) > 1}
    if twice:
        raise ConfigError(f"{source} names the rule {min(twice)} twice.", "Give every rule an id of its own.")
    return rules


#: What a file of rules has at most.
MAX_RULES_BYTES = 4 * 1024 * 1024


def load_rules(path: Path) -> tuple[Rule, ...]:
    """Rules from a TOML file.

    Raises:
        ConfigError: the file can't be read, or isn't one of rules.
    """
    text = read_text(path, MAX_RULES_BYTES)
    if text is None:
        raise ConfigError(f"The rule file {path} can't be read: there is none.", "Check the path.")
    return parse_rules(text, str(path))


@lru_cache(maxsize=1)
def builtin_rules() -> tuple[Rule, ...]:
    """The rules that ship with the program."""
    return parse_rules((resources.files(__package__) / "rules.toml").read_text("utf-8"), "The built-in rule set")


_PLACEHOLDER = re.compile(r"<([ahUdb])(\d+)>")
_ALPHABETS = {
    "a": string.ascii_letters + string.digits,
    "h": "0123456789abcdef",
    "U": string.ascii_uppercase + "234567",
    "d": string.digits,
    "b": string.ascii_letters + string.digits + "-_",
}


def example(text: str) -> str:
    """An example with its placeholders filled, so that no rule file holds anything that other scanners take for a secret.

    ``<a36>`` is 36 letters and digits, ``h`` lower-case hex, ``U`` upper-case base32, ``d`` digits, ``b`` base64url. The
    filling is the same at every call.
    """

    def fill(found: re.Match[str]) -> str:
        alphabet, length = _ALPHABETS[found[1]], int(found[2])
        stream = b"".join(hashlib.sha256(f"{found.start()}/{n}".encode()).digest() for n in range(length // 32 + 1))
        return "".join(alphabet[byte % len(alphabet)] for byte in stream[:length])

    return _PLACEHOLDER.sub(fill, text)
