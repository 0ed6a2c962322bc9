"""The tap on what passes: every message seen, sent or refused as one line, the newest few kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from agent_core.clock import rfc3339
from agent_core.shapes import Traffic
from agent_core.wire import catalogue
from agent_core.wire.envelope import Envelope, one_line

RING = 2_000
MAX_RAW = 8 * 1024

TrafficWatcher: TypeAlias = Callable[[Traffic], None]


class TrafficTap:
    """Counts and keeps what passes, and tells those who watch.

    Args:
        keep: how many messages.
        name: what a sender is called, by its peer id and the name it says it has: anybody may say any name.
    """

    def __init__(
        self, keep: int = RING, name: Callable[[str, str], str] = lambda peer, claimed: claimed or peer
    ) -> None:
        self._name = name
        self._ring: deque[Traffic] = deque(maxlen=keep)
        self._watchers: list[TrafficWatcher] = []
        self.count = 0  #: messages since the start
        self.failed_watchers = 0

    def watch(self, watcher: TrafficWatcher) -> Callable[[], None]:
        """Call the watcher with every message from now on, until the returned function is called."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    def newest(self, limit: int = RING) -> Sequence[Traffic]:
        """The newest messages, oldest first."""
        return list(self._ring)[-limit:] if limit > 0 else []

    def record(
        self,
        *,
        now_ms: int,
        topic: str,
        peer: str,
        payload: bytes,
        verdict: str,
        reason: str = "",
        envelope: Envelope | None = None,
    ) -> None:
        """Note one message. ``peer`` stands in for the sender of what isn't an envelope."""
        self.count += 1
        item = Traffic(
            n=self.count,
            at=rfc3339(now_ms),
            topic=one_line(topic),
            type=envelope.type if envelope else "?",
            sender=one_line(self._name(envelope.sender, envelope.agent_id) if envelope else peer, 80),
            size=len(payload),
            verdict=verdict,
            reason=one_line(reason, 300),
            text=catalogue.summary(envelope) if envelope else "not an envelope",
            raw=_raw(payload),
        )
        self._ring.append(item)
        for watcher in tuple(self._watchers):
            try:
                watcher(item)
            except Exception:
                self.failed_watchers += 1


def _raw(payload: bytes) -> str:
    try:
        pretty = msgspec.json.format(payload[: 2 * MAX_RAW], indent=2) if len(payload) <= 2 * MAX_RAW else payload
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        pretty = payload
    text = pretty[:MAX_RAW].decode("utf-8", "replace")
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)
