"""Which of many equal errors are said: the first one, then at ever longer intervals, with how many there were between."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

#: How long a failure is not said again after the first time, and at most, seconds; the time doubles each time it is said.
FIRST_S = 60.0
MAX_S = 3600.0
#: Different failures that are remembered; the one not heard of longest is forgotten first.
MAX_KNOWN = 256


@dataclass(slots=True)
class _Kind:
    due: float  #: when it may be said again
    wait_s: float
    room: int  #: how often it may be said before that
    kept: int = 0  #: how often it wasn't said since it was said last


class Repeats:
    """Counts equal failures and says which of them are to be heard. Pure: times come from outside, in monotonic seconds.

    Args:
        burst: how often one kind is said before it is counted, and again after each interval.
    """

    def __init__(self, burst: int = 1) -> None:
        self._burst = burst
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kinds)

    def judge(self, kind: Hashable, now: float) -> int | None:
        """Whether a failure is to be said now.

        Returns:
            how many like it were not said since the last one; nothing if this one is only counted.
        """
        known = self._kinds.pop(kind, None)
        if known is None or now - known.due > 2 * MAX_S:  # it was well for long
            kept = known.kept if known else 0
            known = _Kind(now + FIRST_S, FIRST_S, self._burst)
        else:
            kept = known.kept
            if now >= known.due:
                known.wait_s = min(2 * known.wait_s, MAX_S)
                known.due, known.room = now + known.wait_s, self._burst
        self._kinds[kind] = known
        while len(self._kinds) > MAX_KNOWN:
            self._kinds.popitem(last=False)
        if known.room == 0:
            known.kept += 1
            return None
        known.room -= 1
        known.kept = 0
        return kept

    def count(self, kind: Hashable, more: int) -> None:
        """Count further failures of a kind that was judged just now, and that aren't said."""
        self._kinds[kind].kept += more

    def overdue(self, now: float, everything: bool = False) -> list[tuple[Hashable, int]]:
        """The kinds that stopped with some of them unsaid, and how many; they are said with that.

        Args:
            now: the time.
            everything: also those whose interval isn't over, for the end.
        """
        found = [(kind, k) for kind, k in self._kinds.items() if k.kept and (everything or now >= k.due)]
        said = [(kind, k.kept) for kind, k in found]
        for _, k in found:
            k.kept = 0
        return said
