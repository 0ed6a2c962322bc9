"""How peers behave: token buckets, a score that decays, and the graylist. Pure; time is passed in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent_core.budget import Bucket
from agent_core.network import Offence

#: A peer is graylisted when its score falls to this.
GRAYLIST_AT = -100.0
#: Of one peer, a second and at once: frames on our streams (the rest waits), gossip frames, messages in them seen before or
#: not, and entries of gossip's control.
FRAMES, RPCS, ARRIVALS, CONTROL = (200.0, 1000.0), (1000.0, 4000.0), (2000.0, 4000.0), (100.0, 1000.0)
#: Seconds in which a score halves.
HALF_LIFE_S = 60.0
#: Each time on the graylist is twice as long as the one before, up to this many times the first.
MAX_LONGER = 16
#: Peers remembered at most; the least recently seen goes first.
MAX_REMEMBERED = 4096


#: What each costs.
POINTS: Mapping[Offence, float] = {
    Offence.MESSAGE: -10.0,
    Offence.BUDGET: -0.05,
    Offence.CONTROL: -5.0,
    Offence.FRAME: -50.0,
    Offence.WINDOW: -50.0,
    Offence.FLOOD: -50.0,
    Offence.STALL: -25.0,
    Offence.NEGOTIATION: -20.0,
    Offence.HELLO: -25.0,
    Offence.QUESTION: -10.0,
    Offence.REQUESTS: -1.0,
}


@dataclass
class GossipCounters:
    """What gossip did so far."""

    published: int = 0
    received: int = 0
    accepted: int = 0
    ignored: int = 0
    rejected: int = 0
    raised: int = 0
    unsent: int = 0  #: messages that a peer was too slow to take

    def note_unsent(self, messages: int) -> None:
        """Count messages that went because their peer took too little."""
        self.unsent += messages


@dataclass
class _Record:
    messages: Bucket
    octets: Bucket
    frames: Bucket = field(default_factory=lambda: Bucket(*FRAMES))
    rpcs: Bucket = field(default_factory=lambda: Bucket(*RPCS))
    arrivals: Bucket = field(default_factory=lambda: Bucket(*ARRIVALS))
    control: Bucket = field(default_factory=lambda: Bucket(*CONTROL))
    score: float = 0.0
    scored_at: float = 0.0
    refused_until: float = -math.inf
    times: int = 0  #: on the graylist
    offences: Counter[Offence] = field(default_factory=Counter)


@dataclass(frozen=True)
class Standing:
    """How one peer stands: score, how often it was refused for what, and for how many seconds it stays on the graylist."""

    peer_id: str
    score: float
    offences: Mapping[Offence, int]
    graylisted_s: float

    @property
    def most(self) -> tuple[tuple[str, int], ...]:
        """The offences with their number, most often first."""
        return tuple(sorted(((o.value, n) for o, n in self.offences.items()), key=lambda pair: -pair[1]))


class Conduct:
    """Judges peers by what they relay.

    Args:
        messages_per_s, message_burst: budget in messages.
        bytes_per_s, byte_burst: budget in bytes.
        graylist_s: how long a graylisted peer is refused the first time, seconds.
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
        self.refused: Counter[Offence] = Counter(dict.fromkeys(Offence, 0))

    def admit(self, peer: str, size: int, now: float, messages: int = 1) -> bool:
        """Whether a frame of ``size`` bytes with so many messages, relayed by the peer, is within its budget."""
        record = self._record(peer, now)
        if record.messages.take(messages, now) and record.octets.take(size, now):
            return True
        self.dropped += messages
        self._add(record, Offence.BUDGET, now, messages)
        return False

    def pace(self, peer: str, now: float) -> float:
        """Take one frame of a peer's share of our streams; seconds to wait and ask again if it is used up."""
        frames = self._record(peer, now).frames
        return 0.0 if frames.take(1, now) else (1 - frames.level) / frames.rate

    def rations(self, peer: str, now: float) -> tuple[Bucket, Bucket, Bucket]:
        """A peer's rations of gossip frames, of messages in them, and of control entries."""
        record = self._record(peer, now)
        return record.rpcs, record.arrivals, record.control

    def offended(self, peer: str, offence: Offence, now: float, times: int = 1) -> bool:
        """The peer did what nobody honest does, so many times; returns whether it is on the graylist now."""
        self._add(self._record(peer, now), offence, now, times)
        return self.is_refused(peer, now)

    def standing(self, peer: str, now: float) -> Standing:
        """How one peer stands."""
        record = self._records.get(peer)
        if record is None:
            return Standing(peer, 0.0, {}, 0.0)
        return Standing(peer, _decayed(record, now), dict(record.offences), max(0.0, record.refused_until - now))

    def standings(self, now: float) -> list[Standing]:
        """All peers that were refused anything and aren't forgotten, the worst first."""
        found = [
            self.standing(peer, now)
            for peer, r in self._records.items()
            if r.offences and (_decayed(r, now) < -0.5 or now < r.refused_until)
        ]
        return sorted(found, key=lambda s: (-s.graylisted_s, s.score))

    def refuse(self, peer: str, for_s: float, now: float) -> None:
        """Let the peer in no more for so many seconds, whatever its conduct."""
        record = self._record(peer, now)
        record.refused_until = max(record.refused_until, now + for_s)

    def score(self, peer: str, now: float) -> float:
        """The peer's score now: 0 for good conduct, falling from there."""
        record = self._records.get(peer)
        return 0.0 if record is None else _decayed(record, now)

    def is_refused(self, peer: str, now: float) -> bool:
        """Whether the peer is graylisted, or refused for another reason."""
        record = self._records.get(peer)
        return record is not None and now < record.refused_until

    def _add(self, record: _Record, offence: Offence, now: float, times: int = 1) -> None:
        self.refused[offence] += times
        record.offences[offence] += times
        record.score = max(2 * GRAYLIST_AT, _decayed(record, now) + POINTS[offence] * times)
        record.scored_at = now
        if record.score <= GRAYLIST_AT and now >= record.refused_until:
            record.refused_until = now + self._graylist_s * min(2**record.times, MAX_LONGER)
            record.times += 1
            record.score = GRAYLIST_AT / 2
            self.graylisted += 1

    def _record(self, peer: str, now: float) -> _Record:
        record = self._records.pop(peer, None)
        if record is None:
            record = _Record(Bucket(*self._messages), Bucket(*self._octets))
            record.messages.at = record.octets.at = record.scored_at = now
            record.frames.at = record.rpcs.at = record.arrivals.at = record.control.at = now
            while len(self._records) >= MAX_REMEMBERED:
                del self._records[next(iter(self._records))]
        self._records[peer] = record
        return record


def _decayed(record: _Record, now: float) -> float:
    return record.score * math.exp2(-max(0.0, now - record.scored_at) / HALF_LIFE_S)
