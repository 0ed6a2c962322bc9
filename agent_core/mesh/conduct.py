"""How peers behave: token buckets, a score that decays, and the graylist. Pure; time is passed in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

#: A peer is graylisted when its score falls to this.
GRAYLIST_AT = -100.0
#: Cost of a message that any honest relay would have refused, and of one over the budget.
REJECTED, OVER_BUDGET = -10.0, -0.05
#: Seconds in which a score halves.
HALF_LIFE_S = 60.0
#: Peers remembered at most; the least recently seen goes first.
MAX_REMEMBERED = 4096


@dataclass
class Bucket:
    """A token bucket: ``rate`` tokens a second up to ``burst``."""

    rate: float
    burst: float
    level: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.burst

    def take(self, amount: float, now: float) -> bool:
        """Take tokens if there are enough; ``now`` in seconds on any growing clock."""
        self.level = min(self.burst, self.level + max(0.0, now - self.at) * self.rate)
        self.at = now
        if self.level < amount:
            return False
        self.level -= amount
        return True


@dataclass
class GossipCounters:
    """What gossip did so far."""

    published: int = 0
    received: int = 0
    accepted: int = 0
    ignored: int = 0
    rejected: int = 0
    raised: int = 0


@dataclass
class _Record:
    messages: Bucket
    octets: Bucket
    score: float = 0.0
    scored_at: float = 0.0
    refused_until: float = -math.inf


class Conduct:
    """Judges peers by what they relay.

    Args:
        messages_per_s, message_burst: budget in messages.
        bytes_per_s, byte_burst: budget in bytes.
        graylist_s: how long a graylisted peer is refused, seconds.
    """

    def __init__(
        self, messages_per_s: float, message_burst: float, bytes_per_s: float, byte_burst: float, graylist_s: float
    ) -> None:
        self._messages = (messages_per_s, message_burst)
        self._octets = (bytes_per_s, byte_burst)
        self._graylist_s = graylist_s
        self._records: dict[str, _Record] = {}
        self.dropped = 0
        self.graylisted = 0

    def admit(self, peer: str, size: int, now: float) -> bool:
        """Whether a message of ``size`` bytes relayed by the peer is within its budget."""
        record = self._record(peer, now)
        if record.messages.take(1, now) and record.octets.take(size, now):
            return True
        self.dropped += 1
        self._add(record, OVER_BUDGET, now)
        return False

    def rejected(self, peer: str, now: float) -> None:
        """The peer relayed something no honest relay would have."""
        self._add(self._record(peer, now), REJECTED, now)

    def score(self, peer: str, now: float) -> float:
        """The peer's score now: 0 for good conduct, falling from there."""
        record = self._records.get(peer)
        return 0.0 if record is None else _decayed(record, now)

    def is_refused(self, peer: str, now: float) -> bool:
        """Whether the peer is graylisted."""
        record = self._records.get(peer)
        return record is not None and now < record.refused_until

    def _add(self, record: _Record, points: float, now: float) -> None:
        record.score = _decayed(record, now) + points
        record.scored_at = now
        if record.score <= GRAYLIST_AT and now >= record.refused_until:
            record.refused_until = now + self._graylist_s
            record.score = GRAYLIST_AT / 2
            self.graylisted += 1

    def _record(self, peer: str, now: float) -> _Record:
        record = self._records.pop(peer, None)
        if record is None:
            record = _Record(Bucket(*self._messages), Bucket(*self._octets))
            record.messages.at = record.octets.at = record.scored_at = now
            while len(self._records) >= MAX_REMEMBERED:
                del self._records[next(iter(self._records))]
        self._records[peer] = record
        return record


def _decayed(record: _Record, now: float) -> float:
    return record.score * math.exp2(-max(0.0, now - record.scored_at) / HALF_LIFE_S)
