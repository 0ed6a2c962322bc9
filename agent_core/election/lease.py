"""The leader's claim: it lives on numbered heartbeats that a majority acknowledged (SPEC section 5)."""

from __future__ import annotations


class Lease:
    """When the newest heartbeat that each voter acknowledged was sent, and until when a majority of them carries the claim.

    Args:
        me: the leader, who acknowledges its own.
        length_s: how long a heartbeat carries the claim after it was sent.
    """

    def __init__(self, me: str, length_s: float) -> None:
        self._me = me
        self._length = length_s
        self._sent: dict[int, float] = {}
        self._acked_at: dict[str, float] = {}
        self._carried: float | None = None
        self.n = 0
        self.until: float | None = None

    def send(self, now: float) -> int:
        """Number the next heartbeat, sent now (s)."""
        self.n += 1
        self._sent[self.n] = now
        self._sent.pop(self.n - 64, None)
        self._acked_at[self._me] = now
        return self.n

    def acknowledge(self, voter: str, n: int) -> None:
        """A voter acknowledged heartbeat n; numbers never sent or long past are ignored."""
        at = self._sent.get(n)
        if at is not None and at > self._acked_at.get(voter, float("-inf")):
            self._acked_at[voter] = at

    def acknowledged_at(self, voter: str) -> float | None:
        """When the newest heartbeat that the voter acknowledged was sent (s)."""
        return self._acked_at.get(voter)

    def count(self, voters: tuple[str, ...]) -> None:
        """Reckon the claim's end by the voters in force."""
        ends = [e for e in (self._end(voters), self._carried) if e is not None]
        self.until = max(ends, default=None)

    def change(self, before: tuple[str, ...]) -> None:
        """The voters changed: what the ones before acknowledged carries on.

        Their majorities overlap every majority that may elect another now; the next change ends that.
        """
        self._carried = self._end(before)

    def _end(self, voters: tuple[str, ...]) -> float | None:
        times = sorted((t for v in voters if (t := self._acked_at.get(v)) is not None), reverse=True)
        need = len(voters) // 2 + 1
        return times[need - 1] + self._length if voters and len(times) >= need else None
