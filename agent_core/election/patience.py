"""Local patience: a node whose own loop runs late waits longer before it holds a leader's silence against the leader.

As Lifeguard's local health (Dadgar, Phillips and Currey 2017): who is starved hears heartbeats late, so it is the last to accuse.
Only asking for an election waits; claims, promises and votes don't know of it.
"""

from __future__ import annotations

#: Lateness below this share of the timeout is every machine's; above it, so many times the lateness is waited.
NOISE, GAIN = 0.01, 3.0
#: In this share of the timeout it counts half: a machine that was only paused is soon as quick to notice as the others.
HALF = 0.2


class Patience:
    """How much longer than the timeout this node waits: at most one timeout more.

    Args:
        timeout_s: the election timeout.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._late_s = 0.0
        self._at = 0.0

    def late(self, late_s: float, now: float) -> None:
        """Something that was due ran so much later (s); what is worst counts, and fades."""
        if late_s >= self._faded(now):
            self._late_s, self._at = min(late_s, self._timeout_s / GAIN), now

    def extra_s(self, now: float) -> float:
        """What is waited beyond the timeout now (s)."""
        late_s = self._faded(now)
        return min(GAIN * late_s, self._timeout_s) if late_s > NOISE * self._timeout_s else 0.0

    def factor(self, now: float) -> float:
        """By what the timeout is widened, from 1 to 2."""
        return 1.0 + self.extra_s(now) / self._timeout_s

    def _faded(self, now: float) -> float:
        return float(self._late_s * 0.5 ** (max(0.0, now - self._at) / (HALF * self._timeout_s)))
