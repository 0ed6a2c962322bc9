"""What a peer may send as yamux frames: a pure check of every header before its frame is taken, and a ration.

The muxer below takes unknown types, foreign stream numbers, data beyond the window and any number of frames. Nobody honest sends those.
"""

from __future__ import annotations

import struct

from agent_core.budget import Bucket
from agent_core.network import Offence

_HEADER = struct.Struct("!BBHII")
_DATA, _WINDOW, _PING, _GO_AWAY = 0, 1, 2, 3
_SYN, _ACK, _FIN, _RST = 1, 2, 4, 8

WINDOW_BYTES = 256 * 1024
#: A peer may grant no larger window: nobody has more under way.
MAX_GRANT_BYTES = 64 * 1024 * 1024
#: Frames a second and at once. Pings and streams beyond their ration are an offence; of all frames the rest merely waits.
PINGS, STREAMS, BARE, ALL = (10.0, 64.0), (100.0, 512.0), (500.0, 4096.0), (8000.0, 16_000.0)
#: Bytes a second and at once for streams that are closed here: what was under way when they closed.
STRAY_BYTES = (512.0 * 1024, 4.0 * 1024 * 1024)


class FrameRefused(Exception):
    """A frame that nobody honest sends. ``offence`` says which kind."""

    def __init__(self, offence: Offence, why: str) -> None:
        super().__init__(why)
        self.offence = offence


class FrameFence:
    """Checks the frame headers of one connection.

    Args:
        dialled: this side opened the connection, so the other side's streams have even numbers (yamux, Stream ID Field).
        now: seconds on any growing clock.
    """

    def __init__(self, dialled: bool, now: float) -> None:
        self._theirs = 0 if dialled else 1
        self._pings, self._streams, self._bare = _bucket(PINGS, now), _bucket(STREAMS, now), _bucket(BARE, now)
        self._all, self._stray = _bucket(ALL, now), _bucket(STRAY_BYTES, now)

    def take(self, header: bytes, window: int | None, granted: int, now: float) -> float:
        """Check one header.

        Args:
            header: the 12 bytes.
            window: what the peer may still send on that stream, bytes; nothing for a stream that isn't open.
            granted: what this side may still send on it, bytes.
            now: seconds.

        Returns:
            Seconds to wait before the frame is taken: the peer sends more frames than one connection is served.

        Raises:
            FrameRefused: the connection is to be closed.
        """
        version, kind, flags, stream, length = _HEADER.unpack(header)
        if version or kind > _GO_AWAY or (kind >= _PING) != (stream == 0):
            raise FrameRefused(Offence.FRAME, f"a frame of version {version}, type {kind}, stream {stream}")
        if kind == _PING:
            self._spend(self._pings, 1, now, "pings")
        elif kind != _GO_AWAY:
            self._check(kind, flags, stream, length, window, granted, now)
        return 0.0 if self._all.take(1, now) else (1 - self._all.level) / self._all.rate

    def _check(
        self, kind: int, flags: int, stream: int, length: int, window: int | None, granted: int, now: float
    ) -> None:
        if flags & _SYN:
            if stream % 2 != self._theirs:
                raise FrameRefused(Offence.FRAME, f"opens stream {stream}, which isn't its to open")
            self._spend(self._streams, 1, now, "streams")
            window = WINDOW_BYTES if window is None else window
        if kind == _DATA:
            if window is None:
                self._spend(self._stray, length, now, "bytes for closed streams")
                window = WINDOW_BYTES
            if length > window:
                raise FrameRefused(Offence.WINDOW, f"{length} bytes on stream {stream}, whose window is {window}")
        elif granted + length > MAX_GRANT_BYTES:
            raise FrameRefused(Offence.WINDOW, f"grants {length} bytes more than {granted}")
        if flags & _RST or not (length or flags & (_SYN | _ACK | _FIN)):
            self._spend(self._bare, 1, now, "frames that say nothing")

    def _spend(self, bucket: Bucket, amount: float, now: float, what: str) -> None:
        if not bucket.take(amount, now):
            raise FrameRefused(Offence.FLOOD, f"more {what} than {bucket.rate:g} a second")


def _bucket(ration: tuple[float, float], now: float) -> Bucket:
    bucket = Bucket(*ration)
    bucket.at = now
    return bucket
