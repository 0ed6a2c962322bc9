"""The door in front of every exit: appends, publishes and log lines pass here, redacted or refused (SPEC section 11)."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace as with_fields
from typing import Any

import msgspec

from agent_core.errors import SecretFound
from agent_core.feeds.model import Draft
from agent_core.shhh.engine import Engine, Hit, builtin, critical, replace
from agent_core.shhh.reading import encoding_of

#: So many audit records are kept in memory for the console; the audit callback gets every one.
AUDIT_KEPT = 500
#: Log records nest no deeper than this; what lies below is shown as its redacted text.
_MAX_DEPTH = 8


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """That a secret was stopped, and where; never the secret."""

    rule: str
    severity: str
    digest: str  #: HMAC-SHA256 of the secret with the cluster's key, hex: equal secrets can be told, none can be read
    exit: str  #: feed, gossip, text, log
    place: str  #: what carried it: ``body``, or the path of a field
    line: int
    blocked: bool


class DoorStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What went through the door since it was made."""

    passed: int  #: things looked at
    redacted: int  #: secrets replaced
    blocked: int  #: things refused
    by_rule: dict[str, int]


class Door:
    """Looks at everything that leaves.

    Args:
        key: the secret key of the audit hashes, per cluster; at least 16 bytes.
        engine: the rules in force; the built-in set if not given.
        audit: called synchronously with every record, and must not raise.
    """

    def __init__(
        self, key: bytes, engine: Engine | None = None, audit: Callable[[AuditRecord], None] | None = None
    ) -> None:
        if len(key) < 16:
            raise ValueError("the audit key has fewer than 16 bytes")
        self._key = key
        self._engine = engine or builtin()
        self._audit = audit
        self._passed = self._redacted = self._blocked = 0
        self._by_rule: Counter[str] = Counter()
        self.records: deque[AuditRecord] = deque(maxlen=AUDIT_KEPT)

    def draft(self, draft: Draft) -> Draft:
        """A draft that may be appended: secrets in its body and in the strings of its header data are redacted.

        Raises:
            SecretFound: it holds a critical secret; the sentence names rule and line.
        """
        data = draft.data
        # Most headers hold nothing suspicious: one look at their JSON saves taking them apart.
        encoded = msgspec.json.encode(data)
        if self._engine.suspects(encoded.decode()):
            # By way of JSON, since a header may hold raw JSON of its own.
            plain = msgspec.json.decode(encoded)
            clean = self._walk(plain, "feed", "")
            if clean != plain:
                data = msgspec.json.decode(msgspec.json.encode(clean), type=type(data))
        body = draft.body if draft.body is None else self._bytes(draft.body, "feed", "body")
        self._passed += 1
        return draft if data is draft.data and body is draft.body else with_fields(draft, data=data, body=body)

    def payload(self, payload: bytes) -> bytes:
        """A gossip payload that may be published, redacted.

        Raises:
            SecretFound: it holds a critical secret.
        """
        self._passed += 1
        return self._bytes(payload, "gossip", "payload")

    def text(self, text: str) -> str:
        """A text that may leave by any other exit (HTTP, exports), redacted.

        Raises:
            SecretFound: it holds a critical secret.
        """
        self._passed += 1
        return self._text(text, "text", "text")

    def log(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A log record with every string in it redacted, critical ones too: a log line is never refused. Never raises."""
        try:
            self._passed += 1
            clean = self._clean_log(dict(record), "", 0)
        except Exception as exc:
            return {"event": "a log record could not be checked and was left out", "reason": type(exc).__name__}
        return clean if isinstance(clean, dict) else {"event": clean}

    def statistics(self) -> DoorStatistics:
        """Counters since the door was made."""
        return DoorStatistics(
            passed=self._passed, redacted=self._redacted, blocked=self._blocked, by_rule=dict(self._by_rule)
        )

    # --- the ways through ---------------------------------------------------------------------------------------------

    def _bytes(self, data: bytes, exit: str, place: str) -> bytes:
        encoding = encoding_of(data)
        if encoding is not None:
            text = data.decode(encoding)
            clean = self._text(text, exit, place)
            if clean is not text:
                return clean.encode(encoding)
        if encoding != "utf-8":
            # What is no text is read as Latin-1, so that a token inside a binary file is seen too and the rest stays as it is.
            text = data.decode("latin-1")
            clean = self._text(text, exit, place, binary=True)
            if clean is not text:
                return clean.encode("latin-1")
        return data

    def _text(
        self, text: str, exit: str, place: str, *, may_block: bool = True, binary: bool = False, name: str = ""
    ) -> str:
        """The text itself when there is nothing in it, else a redacted one.

        Args:
            text: what is to leave.
            exit: the way by which.
            place: where it stands in what leaves.
            may_block: whether a critical secret refuses it.
            binary: it is bytes, one a character.
            name: what it is the value of, where that is data of its own: ``{"password": "…"}``.
        """
        hits = self._engine.scan(text, binary=binary)
        if name and not hits and self._engine.suspects(name):
            lead = len(name) + 1
            hits = tuple(
                Hit(hit.rule, hit.start - lead, hit.end - lead)
                for hit in self._engine.scan(f"{name}={text}")
                if hit.start >= lead
            )
        if not hits:
            return text
        worst = critical(hits) if may_block else None
        for hit in hits:
            self._note(hit, text, exit, place, blocked=worst is not None)
        if worst is not None:
            self._blocked += 1
            line = text.count("\n", 0, worst.start) + 1
            where = f"line {line}" if place in ("body", "payload", "text") else f"line {line} of {place}"
            raise SecretFound(
                f"SHHH found {worst.rule.title} in {where} (rule {worst.rule.id}), so this was not sent.",
                "Take the secret out and send it again.",
            )
        self._redacted += len(hits)
        return self._engine.redact(replace(text, hits), binary=binary)

    def _walk(self, value: Any, exit: str, place: str, name: str = "") -> Any:
        """Plain JSON-like data with its strings checked; keys are the schema's and stay."""
        match value:
            case str():
                return self._text(value, exit, place or "text", name=name)
            case dict():
                return {key: self._walk(item, exit, f"{place}.{key}".lstrip("."), key) for key, item in value.items()}
            case list() | tuple():
                return [self._walk(item, exit, place, name) for item in value]
            case _:
                return value

    def _clean_log(self, value: Any, place: str, depth: int) -> Any:
        match value:
            case str():
                return self._text(value, "log", place or "event", may_block=False, name=place)
            case None | bool() | int() | float():
                return value
            case dict() if depth < _MAX_DEPTH:
                return {
                    self._text(str(key), "log", place, may_block=False): self._clean_log(item, str(key), depth + 1)
                    for key, item in value.items()
                }
            case list() | tuple() if depth < _MAX_DEPTH:
                return [self._clean_log(item, place, depth + 1) for item in value]
            case bytes():
                text = value.decode(encoding_of(value) or "utf-8", "replace")
                return self._text(text, "log", place, may_block=False, name=place)
            case _:
                return self._text(str(value), "log", place, may_block=False, name=place)

    def _note(self, hit: Hit, text: str, exit: str, place: str, *, blocked: bool) -> None:
        secret = text[hit.start : hit.end].encode("utf-8", "replace")
        record = AuditRecord(
            rule=hit.rule.id,
            severity=hit.rule.severity.value,
            digest=hmac.new(self._key, secret, hashlib.sha256).hexdigest(),
            exit=exit,
            place=place,
            line=text.count("\n", 0, hit.start) + 1,
            blocked=blocked,
        )
        self._by_rule[hit.rule.id] += 1
        self.records.append(record)
        if self._audit is not None:
            self._audit(record)
