"""Judging what arrives before it is relayed: accept, ignore or reject, and why (SPEC section 3). Pure but for its counters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import msgspec

from agent_core.clock import MAX_AHEAD_MS
from agent_core.errors import TooLarge, VerificationFailed
from agent_core.network import Verdict
from agent_core.strict_json import KeyTwice
from agent_core.wire import catalogue
from agent_core.wire.envelope import Envelope, NewerVersion, check_size, decode

#: A message may come from a clock this far off, either way.
MAX_CLOCK_OFF_MS = MAX_AHEAD_MS


class Standing(StrEnum):
    """What the roster says of an author."""

    MEMBER = "member"
    UNKNOWN = "unknown"
    REVOKED = "revoked"


#: The roster's word on a peer id.
RosterLookup: TypeAlias = Callable[[str], Standing]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of judging.

    Args:
        rate_per_s: an author's budget in tokens a second; a message costs one and one more for every 16 KiB.
        burst: how many tokens an author saves up.
        ids: how many accepted messages are remembered to know them again.
        authors: how many authors' budgets are remembered.
    """

    rate_per_s: float = 200.0
    burst: float = 1000.0
    ids: int = 20_000
    authors: int = 2_000


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of judging one message. ``wait``: it is ignored only because its author isn't known yet."""

    verdict: Verdict
    reason: str = ""
    envelope: Envelope | None = None
    data: msgspec.Struct | None = None
    wait: bool = False


class MessageJudge:
    """Judges every message once.

    *Reject* is what any honest relay would have seen: size, envelope, schema, somebody else's name. *Ignore* counts against
    nobody but the author. A type this version doesn't know is accepted: others may.

    Args:
        standing: the roster's word on an author.
        limits: bounds on rate and memory.
    """

    def __init__(self, standing: RosterLookup, limits: Limits = Limits()) -> None:
        self._standing = standing
        self._limits = limits
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._budgets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def judge(self, payload: bytes, now_ms: int, author: str = "") -> Judgement:
        """Judge a payload.

        Args:
            payload: what arrived.
            now_ms: Unix time in milliseconds.
            author: the peer whose signature the network checked; the envelope must name the same. Empty where the
                network vouches for that by itself.
        """
        try:
            check_size(payload)
            envelope = decode(payload)
            if author and author != envelope.sender:
                return Judgement(Verdict.REJECT, "the envelope names another author than the signature", envelope)
            data = catalogue.read(envelope)
        except (NewerVersion, KeyTwice) as exc:
            return Judgement(Verdict.IGNORE, exc.message)
        except (TooLarge, VerificationFailed) as exc:
            return Judgement(Verdict.REJECT, exc.message)
        return self.admit(envelope, data, len(payload), now_ms)

    def admit(self, envelope: Envelope, data: msgspec.Struct | None, size: int, now_ms: int) -> Judgement:
        """Judge a well-formed message by its author, clock, id and budget, and remember it if it is accepted.

        Args:
            envelope: the message.
            data: its payload, nothing for an unknown type.
            size: its bytes on the wire.
            now_ms: Unix time in milliseconds.
        """
        standing = self._standing(envelope.sender)
        if standing is not Standing.MEMBER:
            unknown = standing is Standing.UNKNOWN
            return Judgement(Verdict.IGNORE, f"the author is {standing}", envelope, data, wait=unknown)
        off = envelope.sent_ms - now_ms
        if abs(off) > MAX_CLOCK_OFF_MS:
            return Judgement(Verdict.IGNORE, f"its clock is {off / 1000:+.0f} s off", envelope, data)
        key = (envelope.sender, envelope.id)
        if key in self._seen:
            return Judgement(Verdict.IGNORE, "seen before", envelope, data)
        if not self._spend(envelope.sender, 1 + size // 16_384, now_ms):
            return Judgement(Verdict.IGNORE, "the author is over its budget", envelope, data)
        self._seen[key] = None
        if len(self._seen) > self._limits.ids:
            self._seen.popitem(last=False)
        return Judgement(Verdict.ACCEPT, "", envelope, data)

    def _spend(self, author: str, cost: int, now_ms: int) -> bool:
        limits = self._limits
        tokens, at = self._budgets.pop(author, (limits.burst, now_ms))
        tokens = min(limits.burst, tokens + max(0, now_ms - at) / 1000 * limits.rate_per_s)
        allowed = tokens >= cost
        self._budgets[author] = (tokens - cost if allowed else tokens, now_ms)
        if len(self._budgets) > limits.authors:
            self._budgets.popitem(last=False)
        return allowed
