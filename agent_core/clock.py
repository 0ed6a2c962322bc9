"""Clocks: the hybrid logical clock that stamps entries and envelopes, and the sources of time the node is given."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeAlias

#: An HLC in its text form: 12 hex digits of Unix milliseconds, a dot, 4 hex digits of counter. Text order is time order.
Hlc: TypeAlias = str

ZERO: Hlc = "000000000000.0000"
#: No received stamp moves a clock further past the wall than this, and an entry stamped further ahead is held (SPEC section 2).
MAX_AHEAD_MS = 120_000

#: The last millisecond that RFC 3339 can write; stamps have 48 bits and go beyond.
_LAST_MS = 253_402_300_799_999

_FORM = re.compile(r"[0-9a-f]{12}\.[0-9a-f]{4}\Z")


def is_hlc(text: str) -> bool:
    """Whether the text is a well-formed stamp."""
    return _FORM.match(text) is not None


def pack(ms: int, counter: int = 0) -> Hlc:
    """The text form of a stamp: Unix milliseconds (48 bits) and counter (16 bits)."""
    return f"{ms & 0xFFFF_FFFF_FFFF:012x}.{counter & 0xFFFF:04x}"


def unpack(stamp: Hlc) -> tuple[int, int]:
    """Unix milliseconds and counter of a stamp.

    Raises:
        ValueError: the text isn't a stamp.
    """
    if not is_hlc(stamp):
        raise ValueError(f"not a hybrid logical clock stamp: {stamp[:40]!r}")
    return int(stamp[:12], 16), int(stamp[13:], 16)


def wall_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def off_median_s(ahead_s: Iterable[float]) -> float:
    """How far this clock is off the median of all clocks known, its own among them (SPEC section 2).

    Of two middle ones the nearer to this clock counts: with one other, nobody can tell which of the two is wrong.

    Args:
        ahead_s: by how much this clock is ahead of each other one, seconds; negative where it is behind.

    Returns:
        Seconds ahead, negative for behind.
    """
    clocks = sorted((0.0, *ahead_s))
    return min(clocks[(len(clocks) - 1) // 2], clocks[len(clocks) // 2], key=abs)


def boottime_s() -> float:
    """Seconds on ``CLOCK_BOOTTIME``, which goes on while the machine sleeps: leases are counted on it (SPEC section 5)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def rfc3339(ms: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC with milliseconds; what no calendar can write is the last instant of 9999."""
    seconds, millis = divmod(min(ms, _LAST_MS), 1000)
    return f"{_second(seconds)}.{millis:03}Z"


@lru_cache(maxsize=64)  # what is written is mostly of this very second
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def parse_rfc3339(text: str) -> int:
    """RFC 3339 as Unix milliseconds; a time without offset is taken as UTC.

    Raises:
        ValueError: the text isn't a date and time.
    """
    at = datetime.fromisoformat(text)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


class HybridClock:
    """A hybrid logical clock (Kulkarni et al. 2014): strictly growing, near the wall, moved by what is received.

    Args:
        wall: returns Unix time in milliseconds.
        last: the greatest stamp this home ever issued, so that a restart goes on above it.
    """

    def __init__(self, wall: Callable[[], int] = wall_ms, last: Hlc = ZERO) -> None:
        self._wall = wall
        self._ms, self._counter = unpack(last)

    def now(self) -> Hlc:
        """The next stamp: greater than every one issued or observed before."""
        wall = self._wall()
        if wall > self._ms:
            self._ms, self._counter = wall, 0
        elif self._counter < 0xFFFF:
            self._counter += 1
        else:
            self._ms, self._counter = self._ms + 1, 0
        return pack(self._ms, self._counter)

    def take(self, count: int) -> list[Hlc]:
        """The next stamps, for entries made at one moment: the wall is looked at once."""
        if count == 0:
            return []
        first = self.now()
        counter = self._counter
        if counter + count > 0x10000:
            return [first, *(self.now() for _ in range(count - 1))]
        self._counter += count - 1
        prefix = first[:13]
        return [f"{prefix}{n:04x}" for n in range(counter, counter + count)]

    def observe(self, stamp: Hlc) -> None:
        """Move past a received stamp, but never more than :data:`MAX_AHEAD_MS` past the wall; malformed ones are ignored."""
        if not is_hlc(stamp):
            return
        ms, counter = unpack(stamp)
        if ms > self._wall() + MAX_AHEAD_MS:
            return
        if (ms, counter) > (self._ms, self._counter):
            self._ms, self._counter = ms, counter

    def observe_all(self, stamps: Sequence[Hlc]) -> None:
        """Observe many stamps: the greatest is enough, unless it is one to be ignored."""
        greatest = max(stamps, default=ZERO)
        if is_hlc(greatest) and self.ahead_ms(greatest) <= MAX_AHEAD_MS:
            self.observe(greatest)
        else:
            for stamp in stamps:
                self.observe(stamp)

    def ahead_ms(self, stamp: Hlc) -> int:
        """How far the stamp is ahead of this machine's wall clock, in milliseconds; negative for the past."""
        return unpack(stamp)[0] - self._wall()
