"""Newcomers that wait for a person's approval, in the leader's memory: they ask again and again, so nothing is lost with it."""

from __future__ import annotations

from dataclasses import dataclass

from agent_core.wire.envelope import one_line
from agent_core.wire.families.cooee import CooeeEnrol, CooeeWaiting

#: Newcomers that wait at once.
MAX_WAITING = 32
#: Who hasn't asked for so long is gone; and how long a refusal by a person is remembered. Milliseconds.
GONE_MS = 60_000
REFUSED_MS = 600_000
_MAX_REFUSED = 256


@dataclass(frozen=True, slots=True)
class Waiting:
    """One newcomer: its last request, since when it asks, and when it last did (Unix milliseconds)."""

    enrol: CooeeEnrol
    since_ms: int
    seen_ms: int


class WaitingRoom:
    """Who waits, and whom a person refused."""

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}
        self._refused: dict[str, tuple[str, int]] = {}

    def take(self, enrol: CooeeEnrol, now_ms: int) -> Waiting | None:
        """A newcomer asks; nothing if too many wait already."""
        self._forget(now_ms)
        known = self._waiting.get(enrol.peer_id)
        if known is None and len(self._waiting) >= MAX_WAITING:
            return None
        waiting = Waiting(enrol, known.since_ms if known else now_ms, now_ms)
        self._waiting[enrol.peer_id] = waiting
        return waiting

    def get(self, peer_id: str, now_ms: int) -> Waiting | None:
        """One that waits."""
        self._forget(now_ms)
        return self._waiting.get(peer_id)

    def leave(self, peer_id: str) -> None:
        """It waits no longer."""
        self._waiting.pop(peer_id, None)

    def refuse(self, peer_id: str, by: str, now_ms: int) -> None:
        """A person said no; ``by`` is that person's name, and why if that was said."""
        self.leave(peer_id)
        self._refused[peer_id] = (by, now_ms + REFUSED_MS)
        while len(self._refused) > _MAX_REFUSED:
            del self._refused[next(iter(self._refused))]

    def refused_by(self, peer_id: str, now_ms: int) -> str:
        """Who refused it and why; empty if nobody did of late."""
        by, until_ms = self._refused.get(peer_id, ("", 0))
        return by if now_ms < until_ms else ""

    def forgive(self, peer_id: str) -> None:
        """A refusal is taken back."""
        self._refused.pop(peer_id, None)

    def told(self, now_ms: int) -> tuple[CooeeWaiting, ...]:
        """Who waits, as members are told: the one that asked first, first."""
        self._forget(now_ms)
        return tuple(
            CooeeWaiting(
                peer_id=w.enrol.peer_id,
                agent_id=w.enrol.agent_id,
                role=w.enrol.role,
                kind=w.enrol.kind,
                since_ms=w.since_ms,
                host=one_line(w.enrol.host, 120),
                capabilities=tuple(one_line(c, 64) for c in w.enrol.capabilities[:8]),
            )
            for w in sorted(self._waiting.values(), key=lambda w: (w.since_ms, w.enrol.peer_id))
        )

    def _forget(self, now_ms: int) -> None:
        self._waiting = {p: w for p, w in self._waiting.items() if now_ms - w.seen_ms < GONE_MS}
