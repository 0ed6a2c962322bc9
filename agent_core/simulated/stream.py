"""One simulated stream: two ends joined by the world's delayed delivery."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import trio

from agent_core.network import StreamClosed

#: Brings an action to the other end of the link, in order, after the link's delay.
Carry: TypeAlias = Callable[[Callable[[], None]], None]

MAX_FRAME_BYTES = 512 * 1024
#: Frames a slow reader may leave waiting before its stream is cut, as a real window would stall and then reset it.
MAX_WAITING = 4096


class SimulatedStream:
    """One end of a stream. Implements :class:`agent_core.network.Stream`.

    Args:
        peer_id: the peer at the other end.
        carry: delivers an action to the other end.
        max_frame_bytes: longest frame; a longer one closes the stream at the receiver, as in the mesh.
    """

    def __init__(self, peer_id: str, carry: Carry, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._peer_id = peer_id
        self._carry = carry
        self._max = max_frame_bytes
        self._frames: deque[bytes] = deque()
        self._news = trio.Event()
        self._ended = False
        self._closed = False
        self.other: SimulatedStream | None = None

    @property
    def peer_id(self) -> str:
        return self._peer_id

    @property
    def is_over(self) -> bool:
        """Whether this end is closed for good."""
        return self._closed

    async def send(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._closed or self._ended or self.other is None:
            raise StreamClosed("the stream is closed")
        other, data = self.other, bytes(frame)
        self._carry(lambda: other.deliver(data))

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._frames:
            if self._ended or self._closed:
                raise StreamClosed("the stream is closed")
            self._news = trio.Event()
            await self._news.wait()
        return self._frames.popleft()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._news.set()
            if self.other is not None:
                self._carry(self.other.end)

    def deliver(self, frame: bytes) -> None:
        """A frame arrives at this end."""
        if self._ended or self._closed:
            return
        if len(frame) > self._max or len(self._frames) >= MAX_WAITING:
            self.break_off()
            return
        self._frames.append(frame)
        self._news.set()

    def end(self) -> None:
        """The other end closed: what has arrived can still be read."""
        self._ended = True
        self._news.set()

    def break_off(self) -> None:
        """The connection is gone: nothing more can be read or sent."""
        self._frames.clear()
        self._closed = self._ended = True
        self._news.set()
        if self.other is not None and not self.other._ended:
            self.other.end()
