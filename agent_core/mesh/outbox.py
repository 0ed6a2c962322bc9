"""What waits to be sent to one peer as gossip: serialised frames, taken many at a time, bounded in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import trio
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.utils import encode_varint_prefixed

#: Bytes of messages that may wait for one peer; what is over makes the oldest of them go.
MAX_BYTES = 4 * 1024 * 1024
#: Bytes of the mesh's own control messages that may wait.
MAX_CONTROL_BYTES = 1024 * 1024
#: A publisher waits while this much waits for every peer.
FULL_BYTES = 256 * 1024
#: Bytes written at once.
_PIECE_BYTES = 128 * 1024


class Outbox(RpcQueue):  # type: ignore[misc]  # libp2p is untyped
    """Takes the place of libp2p's queue, which would keep whole messages, serialise each for each peer, and write one by one."""

    def __init__(self) -> None:
        super().__init__()
        self._control: deque[bytes] = deque()
        self._messages: deque[bytes] = deque()
        self._control_bytes = 0
        self.waiting_bytes = 0  #: of messages
        self.dropped = 0  #: frames of messages that went because the peer took too little
        self.on_drop: Callable[[int], None] = lambda frames: None
        self._wake = trio.Event()
        self._room = trio.Event()

    def __len__(self) -> int:
        return len(self._control) + len(self._messages)

    def push(self, rpc: Any, priority: bool = False) -> bool:
        """Let one of the router's own messages wait; false when there is no room for it."""
        frame = encode_varint_prefixed(rpc.SerializeToString())
        if rpc.publish:
            return self.push_frame(frame)
        if self._closed or self._control_bytes + len(frame) > MAX_CONTROL_BYTES:
            return False
        self._control.append(frame)
        self._control_bytes += len(frame)
        self._wake.set()
        return True

    def push_frame(self, frame: bytes) -> bool:
        """Let a frame of messages wait; the oldest go when there are too many. False when nobody takes any more."""
        if self._closed:
            return False
        self._messages.append(frame)
        self.waiting_bytes += len(frame)
        before = self.dropped
        while self.waiting_bytes > MAX_BYTES and len(self._messages) > 1:
            self.waiting_bytes -= len(self._messages.popleft())
            self.dropped += 1
        if self.dropped > before:
            self.on_drop(self.dropped - before)
        self._wake.set()
        return True

    async def take(self) -> bytes:
        """What waits, control first, as much as is written at once; empty when the outbox is closed and empty."""
        while not len(self):
            if self._closed:
                return b""
            self._wake = trio.Event()
            await self._wake.wait()
        pieces, size = list(self._control), self._control_bytes
        self._control.clear()
        self._control_bytes = 0
        while self._messages and size < _PIECE_BYTES:
            frame = self._messages.popleft()
            pieces.append(frame)
            size += len(frame)
            self.waiting_bytes -= len(frame)
        if self.waiting_bytes < FULL_BYTES:
            self._room.set()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def is_full(self) -> bool:
        """Whether a publisher should wait for this peer, if it isn't alone with that."""
        return self.waiting_bytes >= FULL_BYTES and not self._closed

    async def has_room(self) -> None:
        """Wait until it isn't full."""
        while self.is_full:
            self._room = trio.Event()
            await self._room.wait()

    def close(self) -> None:
        """Nothing is taken in any more."""
        super().close()
        self._wake.set()
        self._room.set()
