"""Clocks: the hybrid logical clock that stamps entries and envelopes, and the sources of time the node is given."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, TypeAlias

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


class Ahead(NamedTuple):
    """A home whose own newest entry is stamped more than :data:`MAX_AHEAD_MS` past the wall: what it writes now is held everywhere."""

    by_ms: int  #: how far ahead it is, milliseconds
    until_ms: int  #: when what it writes is no longer held, Unix milliseconds

    @property
    def sentence(self) -> str:
        """What people are told, the same wherever they look; the same words as long as it lasts."""
        until = f"{rfc3339(self.until_ms)[:19]}Z"
        return f"Writing waits until {until}: this home's log is ahead of its clock."

    @property
    def next(self) -> str:
        """What to do about it."""
        return "If the clock is right now, go on at once with `chorus-hap log renew`."


def ahead_of(last: Hlc, wall_ms: int) -> Ahead | None:
    """Whether a home is ahead of its clock.

    Args:
        last: the stamp of its own newest entry.
        wall_ms: what its clock shows, Unix milliseconds.
    """
    by_ms = unpack(last)[0] - wall_ms
    return Ahead(by_ms, wall_ms + by_ms - MAX_AHEAD_MS) if by_ms > MAX_AHEAD_MS else None


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

    def take(self, count: int, above: Hlc = ZERO) -> list[Hlc]:
        """The next stamps, for entries made at one moment: the wall is looked at once.

        Args:
            count: how many.
            above: a stamp that they have to be greater than: the one of the feed's last entry.
        """
        if count == 0:
            return []
        self._ms, self._counter = max((self._ms, self._counter), unpack(above))
        first = self.now()
        counter = self._counter
        if counter + count > 0x10000:
            return [first, *(self.now() for _ in range(count - 1))]
        self._counter += count - 1
        prefix = first[:13]
        return [f"{prefix}{n:04x}" for n in range(counter, counter + count)]

    def settle(self) -> None:
        """Follow a wall that was put back: what was issued or observed more than :data:`MAX_AHEAD_MS` past it is forgotten.

        Messages that don't last are of now again at once. Entries have to go on above those before them, see :meth:`take`.
        """
        if self._ms > self._wall() + MAX_AHEAD_MS:
            self._ms = self._counter = 0

    def wall_ms(self) -> int:
        """What the wall shows now, Unix milliseconds."""
        return self._wall()

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
