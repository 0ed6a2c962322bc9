"""Own gossip on its way out: a message leaves at once, and messages that come faster than frames do share one."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import trio

from agent_core.budget import Bucket
from agent_core.mesh.batch import fitting

#: Seconds between two frames of one topic: what comes within them goes with the next. Nothing waits for company.
FRAME_GAP_S = 0.002
#: Messages and bytes of one topic that may wait; whoever publishes more waits too.
MAX_WAITING, MAX_WAITING_BYTES = 1024, 1024 * 1024


class _Line:
    """One topic's messages that wait for the next frame."""

    def __init__(self) -> None:
        self.messages: deque[bytes] = deque()
        self.size = 0
        self.next_at = 0.0
        self.moving = False
        self.publishers = trio.lowlevel.ParkingLot()

    @property
    def is_full(self) -> bool:
        return len(self.messages) >= MAX_WAITING or self.size >= MAX_WAITING_BYTES

    def add(self, message: bytes) -> None:
        self.messages.append(message)
        self.size += len(message)

    def take(self) -> list[bytes]:
        """The messages of the next frame."""
        sizes = [len(message) for message, _ in zip(self.messages, range(256), strict=False)]
        taken = [self.messages.popleft() for _ in range(fitting(sizes))]
        self.size -= sum(len(message) for message in taken)
        return taken


class Publisher:
    """Puts messages of one topic into frames.

    Args:
        send: signs and sends messages as one frame; must not raise.
        room: waits while a topic's peers all take less than there is to send.
        messages, octets: rations of messages and of their bytes; whoever publishes more waits, as the peers would drop it.
    """

    def __init__(
        self,
        send: Callable[[str, Sequence[bytes]], None],
        room: Callable[[str], Awaitable[None]],
        messages: Bucket,
        octets: Bucket,
    ) -> None:
        self._send = send
        self._room = room
        self._messages = messages
        self._octets = octets
        self._lines: dict[str, _Line] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Move what waits; runs until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                await trio.sleep_forever()
        finally:
            self._nursery = None

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message, at once if the topic's last frame has gone; waits while too much was said or is waiting already."""
        await _spend(self._messages, 1)
        await _spend(self._octets, len(message))
        line = self._lines.get(topic)
        if line is None:
            line = self._lines[topic] = _Line()
        while line.is_full:
            await line.publishers.park()
        line.add(message)
        if line.moving:
            return
        if trio.current_time() >= line.next_at or self._nursery is None:
            self._send_next(topic, line)
        else:
            line.moving = True
            self._nursery.start_soon(self._move, topic, line)

    def flush(self) -> None:
        """Send what waits, without regard to who can take it."""
        for topic, line in self._lines.items():
            while line.messages:
                self._send_next(topic, line)

    def _send_next(self, topic: str, line: _Line) -> None:
        self._send(topic, line.take())
        line.next_at = trio.current_time() + FRAME_GAP_S
        if line.publishers and not line.is_full:
            line.publishers.unpark(count=MAX_WAITING - len(line.messages))

    async def _move(self, topic: str, line: _Line) -> None:
        try:
            while line.messages:
                await trio.sleep_until(line.next_at)
                await self._room(topic)
                if line.messages:
                    self._send_next(topic, line)
        finally:
            line.moving = False
            line.publishers.unpark_all()
        await trio.sleep_until(line.next_at)
        if not line.moving and not line.messages and not line.publishers and self._lines.get(topic) is line:
            del self._lines[topic]


async def _spend(ration: Bucket, amount: float) -> None:
    amount = min(amount, ration.burst)
    while not ration.take(amount, trio.current_time()):  # noqa: ASYNC110  (time is what is waited for)
        await trio.sleep(max((amount - ration.level) / ration.rate, 0.001))
