"""Lines from a byte stream, in bounded memory."""

from __future__ import annotations

import trio

#: So much of an over-long line is kept, to find out whose call it was.
_HEAD_BYTES = 300


class LineTooLong(Exception):
    """A line was over the limit and has been skipped; ``head`` is how it began."""

    def __init__(self, head: bytes) -> None:
        super().__init__("line too long")
        self.head = head


class LineReader:
    """Reads lines of at most a given length.

    Args:
        stream: where bytes come from.
        limit: the longest line, in bytes.
    """

    def __init__(self, stream: trio.abc.ReceiveStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0

    async def receive(self) -> bytes | None:
        """The next line that isn't blank, without its end; nothing when the stream has ended.

        Raises:
            LineTooLong: a line was over the limit. It has been skipped; reading can go on.
        """
        head = b""
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                self._searched = 0
                if head or len(line) > self._limit:
                    raise LineTooLong(head or line[:_HEAD_BYTES])
                if line.strip():
                    return line
                continue
            if len(self._buffer) > self._limit:
                head = head or bytes(self._buffer[:_HEAD_BYTES])
                self._buffer.clear()
            self._searched = len(self._buffer)
            try:
                chunk = await self._stream.receive_some(65536)
            except trio.BrokenResourceError:
                return None
            if not chunk:
                return None
            self._buffer += chunk
