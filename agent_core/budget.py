"""Token buckets: how much of something may pass. Pure; time is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field


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
        self._fill(now)
        if self.level < amount:
            return False
        self.level -= amount
        return True

    def wait_s(self, amount: float, now: float) -> float:
        """Take tokens that may be owed, and say how long to wait until they are there, seconds."""
        self._fill(now)
        self.level -= amount
        return max(0.0, -self.level / self.rate)

    def _fill(self, now: float) -> None:
        self.level = min(self.burst, self.level + max(0.0, now - self.at) * self.rate)
        self.at = now
