"""Framed streams: 4-byte length-prefixed frames over a libp2p stream, one exception for every way it can end."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import trio

from agent_core.network import StreamClosed

_LENGTH = struct.Struct(">I")
_CHUNK_BYTES = 64 * 1024


class FramedStream:
    """One end of a libp2p stream. Implements :class:`agent_core.network.Stream`.

    ``receive`` may be cancelled and called again without losing a frame; a cancelled ``send`` ends the stream, since half a frame may be out.

    Args:
        stream: libp2p's ``NetStream``.
        peer_id: the authenticated peer at the other end.
        max_frame_bytes: longest frame either way.
        pace: asked before each received frame is handed out: seconds to wait and ask again, 0 to go on.
    """

    def __init__(
        self, stream: Any, peer_id: str, max_frame_bytes: int, pace: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._pace = pace
        self._stream = stream
        self._peer_id = peer_id
        self._max = max_frame_bytes
        self._buffer = bytearray()
        self._sending = trio.Lock()
        self._over = False
        self._reading: trio.CancelScope | None = None

    @property
    def peer_id(self) -> str:
        return self._peer_id

    async def send(self, frame: bytes) -> None:
        if len(frame) > self._max:
            raise StreamClosed(f"a frame of {len(frame)} bytes is over the limit of {self._max}")
        async with self._sending:
            if self._over:
                raise StreamClosed("the stream is closed")
            try:
                await self._stream.write(_LENGTH.pack(len(frame)) + frame)
            except Exception as error:
                await self._break(f"sending failed: {error}")
            except BaseException:
                self._over = True
                raise

    async def receive(self) -> bytes:
        while True:
            if len(self._buffer) >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._buffer)
                if length > self._max:
                    await self._break(f"the peer announced a frame of {length} bytes; the limit is {self._max}")
                end = _LENGTH.size + length
                if len(self._buffer) >= end:
                    while wait_s := self._pace():  # noqa: ASYNC110 - waits for time, not for somebody
                        await trio.sleep(wait_s)
                    frame = bytes(self._buffer[_LENGTH.size : end])
                    del self._buffer[:end]
                    return frame
            if self._over:
                raise StreamClosed("the stream is closed")
            self._buffer += await self._read()

    async def _read(self) -> bytes:
        chunk = b""
        with trio.CancelScope() as self._reading:  # closing this end wakes a waiting reader
            try:
                chunk = await self._stream.read(_CHUNK_BYTES)
            except Exception as error:
                await self._break(f"the stream ended: {error or type(error).__name__}")
        if not chunk:
            await self._break("the stream ended")
        return chunk

    async def aclose(self) -> None:
        """Close both directions. What was sent before still arrives."""
        if not self._over:
            self._over = True
            if self._reading is not None:
                self._reading.cancel()
            with trio.move_on_after(1) as scope:
                scope.shield = True
                try:
                    await self._stream.close()
                except Exception:
                    return

    async def abort(self) -> None:
        """Reset the stream: the other end sees it at once."""
        self._over = True
        with trio.move_on_after(1) as scope:
            scope.shield = True
            try:
                await self._stream.reset()
            except Exception:
                return

    async def linger(self, seconds: float) -> None:
        """After :meth:`aclose`, wait for the other end to close as well, then reset: nothing is left behind by a peer that won't."""
        with trio.move_on_after(seconds):
            try:
                while await self._stream.read(_CHUNK_BYTES):
                    pass
            except Exception:
                return
        await self.abort()

    async def _break(self, why: str) -> None:
        await self.abort()
        raise StreamClosed(why)
