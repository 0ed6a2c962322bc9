"""Messages of authors nobody knows yet: they wait a few seconds while the roster is fetched, in bounded room."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import msgspec

from agent_core.wire.envelope import Envelope


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message that waits."""

    topic: str
    peer: str
    payload: bytes
    envelope: Envelope
    data: msgspec.Struct | None
    until_ms: int


class WaitingRoom:
    """A bounded waiting room: so many messages, so many of one author, so many bytes.

    Args:
        wait_ms: how long a message may wait, in milliseconds.
        messages: how many may wait in all.
        of_one: how many of one author.
        size_bytes: how many bytes in all.
    """

    def __init__(
        self, wait_ms: int = 5_000, messages: int = 256, of_one: int = 16, size_bytes: int = 4 * 1024 * 1024
    ) -> None:
        self.wait_ms = wait_ms
        self._messages = messages
        self._of_one = of_one
        self._room = size_bytes
        self._waiting: dict[tuple[str, str], Waiting] = {}
        self._authors: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, message: Waiting) -> bool:
        """Let a message wait; false when there is no room for it, or it waits already."""
        key = (message.envelope.sender, message.envelope.id)
        full = len(self._waiting) >= self._messages or len(message.payload) > self._room
        if full or key in self._waiting or self._authors[key[0]] >= self._of_one:
            return False
        self._waiting[key] = message
        self._authors[key[0]] += 1
        self._room -= len(message.payload)
        return True

    def take_all(self) -> list[Waiting]:
        """Everybody out, in the order of arrival."""
        out = list(self._waiting.values())
        self._room += sum(len(m.payload) for m in out)
        self._waiting.clear()
        self._authors.clear()
        return out
