"""The hot path of py-libp2p, replaced where it is slow: the same bytes on the wire, taken and given many at a time.

Stock, each yamux frame costs two reads of the socket for its length and its body, a dozen scheduler turns for locks that nobody
else wants, a task for every gossip message and an encrypted frame for every window update. Here

- Noise reads what the socket has and decrypts all whole messages of it (:func:`_read_noise`), and sends with one call;
- plain yamux frames go from there straight into their stream's buffer (:class:`_Frames`); what opens, closes or resets a
  stream still passes through libp2p's own state machine, which sees nothing but those frames;
- frames that are sent wait for a writer, which takes all of them at once (:class:`_Outgoing`): a caller that is cancelled
  leaves no half message behind;
- a lock that nobody holds is taken without giving the others a turn (:class:`_Lock`), and nobody is told of streams.

:func:`apply` is called by :mod:`agent_core.mesh.compat`, which checks first that libp2p's internals are those relied on here.
"""

from __future__ import annotations

import functools
import logging
import math
import struct
from collections.abc import Callable
from typing import Any

import libp2p.pubsub.gossipsub as gossipsub_module
import libp2p.pubsub.pubsub as pubsub_module
import trio
from libp2p.io.exceptions import ConnectionClosedError, IncompleteReadError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.stream.net_stream import NetStream
from libp2p.network.swarm import Swarm
from libp2p.peer.peerstore import env_to_send_in_RPC
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.mcache import MessageCache
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.pubsub.utils import maybe_consume_signed_record
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH, NoiseTransportReadWriter
from libp2p.security.secure_session import SecureSession
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError, MuxedStreamReset
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream

from agent_core.mesh import fencing
from agent_core.mesh.outbox import Outbox

log = logging.getLogger("chorus.mesh")

#: What is asked of a socket at once.
_READ_BYTES = 128 * 1024
#: Bytes that may wait for a connection's writer before those who send have to wait.
MAX_WAITING_BYTES = 256 * 1024
#: The receive window is topped up when this much of it has been read.
_TOP_UP_BYTES = yamux.DEFAULT_WINDOW_SIZE // 2
#: Seconds a writer waits for a window that stays shut before the stream counts as broken (libp2p's own), and between two looks.
_WINDOW_S, _LOOK_S = 5.0, 0.25
#: Seconds a connection's last words may take; a peer that takes nothing isn't waited for to be told so.
_FLUSH_S = 0.5
#: Seconds for which our own signed address record is reused.
_RECORD_S = 30.0
#: Peers whose last record is remembered as verified.
_RECORDS = 512

_HEADER = struct.Struct(yamux.YAMUX_HEADER_FORMAT)
_LENGTH = struct.Struct(">H")

#: What is replaced, or called although it is private, with the parameters relied on.
RELIED_ON: tuple[tuple[Callable[..., Any], tuple[str, ...]], ...] = (
    (NoiseTransportReadWriter.read_msg, ("self", "prefix_encoded")),
    (NoiseTransportReadWriter.write_msg, ("self", "msg", "prefix_encoded")),
    (NoiseTransportReadWriter.encrypt, ("self", "data")),
    (NoiseTransportReadWriter.decrypt, ("self", "data")),
    (SecureSession.read, ("self", "n")),
    (SecureSession.write, ("self", "data")),
    (Yamux.start, ("self",)),
    (Yamux.handle_incoming, ("self",)),
    (Yamux._read_data_body, ("self", "length")),
    (Yamux._write_frame, ("self", "data")),
    (Yamux._measure_rtt_loop, ("self",)),
    (Yamux._finalize_stream_locked, ("self", "stream", "fully_closed")),
    (YamuxStream.read, ("self", "n")),
    (YamuxStream.write, ("self", "data")),
    (NetStream.__init__, ("self", "muxed_stream", "swarm_conn", "metric_send_channel")),
    (TrioTCPStream.__init__, ("self", "stream")),
    (Swarm._notify, ("self", "method", "args")),
    (Pubsub.write_msg, ("self", "stream", "rpc_msg")),
    (Pubsub.handle_sending_messages, ("self", "peer_id", "stream", "queue")),
    (Pubsub.handle_subscription, ("self", "origin_id", "sub_message")),
    (RpcQueue.__init__, ("self", "max_size", "max_message_size")),
    (RpcQueue.push, ("self", "rpc", "priority")),
    (RpcQueue.split_rpc, ("self", "rpc")),
    (GossipSub._get_peers_to_send, ("self", "topic_ids", "msg_forwarder", "origin", "msg_id")),
    (GossipSub.handle_rpc, ("self", "rpc", "sender_peer_id")),
    (MessageCache.put, ("self", "msg")),
    (env_to_send_in_RPC, ("host",)),
    (maybe_consume_signed_record, ("msg", "host", "peer_id")),
)


def apply() -> None:
    """Put it in place; once a process."""
    NoiseTransportReadWriter.read_msg = _read_noise
    NoiseTransportReadWriter.write_msg = _write_noise
    for owner, locks in _LOCKS.items():
        owner.__init__ = _with_own_locks(owner.__init__, locks)
    Swarm._notify = _but_of_streams(Swarm._notify)
    Yamux._measure_rtt_loop = _write_waiting
    Yamux.start = _started(Yamux.start)
    Yamux._write_frame = _write_frame
    YamuxStream.read = _read_stream
    YamuxStream.write = _write_stream
    pubsub_module.RpcQueue = Outbox
    pubsub_module.env_to_send_in_RPC = gossipsub_module.env_to_send_in_RPC = own_record
    pubsub_module.maybe_consume_signed_record = gossipsub_module.maybe_consume_signed_record = consume_record


# -- turns -----------------------------------------------------------------------------------------------------------


class _Lock:
    """trio's lock, but taken at once where nobody holds it: each turn of the scheduler costs as much as the work between two."""

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *error: object) -> None:
        self._lock.release()


#: Locks that are seldom held when somebody wants them: what they guard waits for the socket, or for nothing.
_LOCKS: dict[Any, tuple[str, ...]] = {
    TrioTCPStream: ("read_lock", "write_lock"),
    NetStream: ("_state_lock",),
    Yamux: ("streams_lock", "_write_lock"),
    YamuxStream: ("close_lock",),
}


def _with_own_locks(inner: Callable[..., None], names: tuple[str, ...]) -> Callable[..., None]:
    @functools.wraps(inner)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        inner(self, *args, **kwargs)
        for name in names:
            if type(getattr(self, name)) is not trio.Lock:
                raise RuntimeError(f"libp2p's {type(self).__name__}.{name} is no trio.Lock")
            setattr(self, name, _Lock())

    return __init__


def _but_of_streams(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def _notify(self: Any, method: str, *args: Any) -> None:
        """Nobody here or in libp2p does anything when a stream opens or closes, and being told takes a task each."""
        if method not in ("opened_stream", "closed_stream"):
            await inner(self, method, *args)

    return _notify


# -- noise -----------------------------------------------------------------------------------------------------------


async def _read_noise(self: Any, prefix_encoded: bool = False) -> bytes:
    """Everything that has arrived whole, decrypted; waits only when that is nothing."""
    buffer: bytearray = self.__dict__.setdefault("chorus_in", bytearray())
    source = self.read_writer.read_write_closer
    while True:
        plain, at = [], 0
        while len(buffer) - at >= _LENGTH.size:
            end = at + _LENGTH.size + _LENGTH.unpack_from(buffer, at)[0]
            if len(buffer) < end:
                break
            plain.append(self.decrypt(bytes(buffer[at + _LENGTH.size : end])))
            at = end
        if at:
            del buffer[:at]
        if said := b"".join(plain):
            return said
        chunk = await source.read(_READ_BYTES)
        if not chunk:
            raise IncompleteReadError("the connection ended", expected_bytes=_LENGTH.size, received_bytes=len(buffer))
        buffer += chunk


async def _write_noise(self: Any, msg: bytes, prefix_encoded: bool = False) -> None:
    """Encrypt in as few noise messages as it takes, and send them with one call."""
    parts = []
    for at in range(0, len(msg), MAX_PLAINTEXT_LENGTH):
        sealed = self.encrypt(msg[at : at + MAX_PLAINTEXT_LENGTH])
        parts += [_LENGTH.pack(len(sealed)), sealed]
    await self.read_writer.read_write_closer.write(b"".join(parts))


# -- yamux: what comes in --------------------------------------------------------------------------------------------


class _Frames:
    """Stands between a secured connection and yamux, and takes the plain frames out of what yamux reads.

    Data and window updates without flags for a stream that is open go to the stream at once. Any other frame is given to
    yamux as it came.

    Args:
        secured: the connection; everything but reading is passed on to it.
        conn: yamux's.
    """

    def __init__(self, secured: Any, conn: Any) -> None:
        self._secured = secured
        self._conn = conn
        self._buffer = b""
        self._at = 0
        self._owed = 0  # bytes of a frame that yamux has begun to read
        self._pause_s = 0.0
        #: The fence's: checks a header and gives the seconds to wait; raises for one that nobody honest sends.
        self.chorus_check: Callable[[bytes], float] = lambda header: 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._secured, name)

    async def read(self, n: int | None = None) -> bytes:
        """Up to ``n`` bytes of the next frame that isn't a plain one."""
        while not self._owed:
            self._owed = self._take_plain()
            if self._pause_s:
                await trio.sleep(self._pause_s)
                self._pause_s = 0.0
            elif not self._owed:
                await self._fill()
        if self._at >= len(self._buffer):
            await self._fill()
        end = self._at + (self._owed if n is None or n < 0 else min(n, self._owed))
        piece = self._buffer[self._at : end]
        self._at += len(piece)
        self._owed -= len(piece)
        return piece

    async def _fill(self) -> None:
        try:
            chunk = await self._secured.read(None)
        except IncompleteReadError:
            if _is_closed_here(self._secured):
                self._conn.chorus_closed_here = True
            raise
        self._buffer = self._buffer[self._at :] + chunk if self._at < len(self._buffer) else chunk
        self._at = 0

    def _take_plain(self) -> int:
        """Deliver plain frames; the length of the frame that follows them if it has begun and is for yamux, else 0."""
        conn, buffer, at = self._conn, self._buffer, self._at
        header = yamux.HEADER_SIZE
        owed = 0
        while len(buffer) - at >= header and not self._pause_s:
            version, kind, flags, stream_id, length = _HEADER.unpack_from(buffer, at)
            stream = conn.streams.get(stream_id)
            plain = not version and not flags and stream is not None
            if kind == yamux.TYPE_DATA:
                if not plain or stream.recv_closed or not 0 < length <= stream.recv_window:
                    owed = header + length
                    break
                if len(buffer) - at < header + length:
                    break
                self._pause_s = self.chorus_check(buffer[at : at + header])
                conn.stream_buffers[stream_id] += buffer[at + header : at + header + length]
                stream.recv_window -= length
                conn.stream_events[stream_id].set()
                at += header + length
            elif kind == yamux.TYPE_WINDOW_UPDATE and plain:
                self._pause_s = self.chorus_check(buffer[at : at + header])
                stream.send_window += length
                if (shut := stream.__dict__.pop("chorus_shut", None)) is not None:
                    shut.set()
                at += header
            else:
                owed = header
                break
        self._at = at
        return owed


def _is_closed_here(secured: Any) -> bool:
    """Whether a connection ended because this side closed its socket: reading gives the same nothing either way."""
    tcp = getattr(getattr(secured.conn.read_writer.read_write_closer, "stream", None), "stream", None)
    return isinstance(tcp, trio.SocketStream) and tcp.socket.fileno() < 0


async def _read_stream(self: Any, n: int | None = -1) -> bytes:
    """What the stream's buffer holds, up to ``n`` bytes; waits only when that is nothing.

    Raises:
        MuxedStreamEOF, MuxedStreamReset: it ended.
    """
    conn = self.conn
    while True:
        buffer = conn.stream_buffers.get(self.stream_id)
        if buffer and not (self.reset_received and not self.recv_closed):
            data = bytes(buffer) if n is None or n < 0 else bytes(buffer[:n])
            del buffer[: len(data)]
            _top_up(self, len(data))
            if self.closed and not buffer:
                conn._finalize_stream_locked(self, fully_closed=True)  # no lock is needed where nothing is awaited
            return data
        if self.reset_received:
            raise MuxedStreamReset("Stream was reset")
        event = conn.stream_events.get(self.stream_id)
        if buffer is None or event is None or self.recv_closed or conn.event_shutting_down.is_set():
            raise MuxedStreamEOF("Stream is closed for receiving")
        if self.closed:
            raise MuxedStreamReset("Stream is closed")
        await event.wait()
        if conn.stream_events.get(self.stream_id) is event:
            conn.stream_events[self.stream_id] = trio.Event()


def _top_up(stream: Any, bytes_read: int) -> None:
    """Give the sender new window once half of it has been read, not at every read; the window stays at 256 KiB."""
    stream._pending_recv_release += bytes_read
    pending = stream._pending_recv_release
    out = stream.conn.__dict__.get("chorus_out")
    if pending >= _TOP_UP_BYTES and out is not None and not out.over:
        stream._pending_recv_release = 0
        stream.recv_window += pending
        out.add(_HEADER.pack(0, yamux.TYPE_WINDOW_UPDATE, 0, stream.stream_id, pending))


# -- yamux: what goes out --------------------------------------------------------------------------------------------


class _Outgoing:
    """Frames that wait for a connection's writer."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._size = 0
        self._under_way = 0
        self._wake = trio.Event()
        self._moved = trio.Event()
        self.over = False  #: nobody writes any more

    def add(self, frame: bytes) -> None:
        """Let a frame wait."""
        self._frames.append(frame)
        self._size += len(frame)
        self._wake.set()

    async def take(self) -> bytes:
        """Everything that waits, once there is something."""
        if not self._frames:
            self._wake = trio.Event()
            await self._wake.wait()
        data = self._frames[0] if len(self._frames) == 1 else b"".join(self._frames)
        self._frames, self._size, self._under_way = [], 0, len(data)
        return data

    def written(self) -> None:
        """What was taken last is with the operating system."""
        self._under_way = 0
        self._tell()

    def end(self) -> None:
        """Nobody writes any more; those who wait are told."""
        self.over = True
        self._frames, self._size = [], 0
        self._tell()

    async def wait_below(self, size: int) -> None:
        """Wait until at most ``size`` bytes haven't been written.

        Raises:
            ConnectionClosedError: they won't be.
        """
        while self._size + self._under_way > size:
            if self.over:
                raise ConnectionClosedError("the connection is closed")
            await self._moved.wait()

    def _tell(self) -> None:
        self._moved.set()
        self._moved = trio.Event()


def _started(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def start(self: Any) -> None:
        """Yamux's ``start``, reading through :class:`_Frames` and writing through :class:`_Outgoing`."""
        if not self.event_started.is_set() and "chorus_out" not in self.__dict__:
            self.secured_conn = _Frames(self.secured_conn, self)
            self.chorus_out = _Outgoing()
        await inner(self)

    return start


async def _write_waiting(self: Any) -> None:
    """A connection's writer. Takes the place of yamux's task that measures round trips, which nothing here asks for."""
    out = self.chorus_out
    try:
        while True:
            data = await out.take()
            async with self._write_lock:
                await fencing.write_in_time(self, data)
            out.written()
    except Exception as error:
        log.debug("writing to %s failed: %s", self.peer_id, error)
    finally:
        out.end()


async def _write_frame(self: Any, data: bytes) -> None:
    """Hand a frame to the writer; waits while too much is waiting already, and for the last frame of all until it is out."""
    out = self.__dict__.get("chorus_out")
    last = data[1] == yamux.TYPE_GO_AWAY
    with trio.move_on_after(_FLUSH_S if last else math.inf):
        if out is None or out.over:
            async with self._write_lock:
                await fencing.write_in_time(self, data)
        else:
            out.add(data)
            await out.wait_below(0 if last else MAX_WAITING_BYTES)


async def _write_stream(self: Any, data: bytes) -> None:
    """Send data on a stream in frames of at most 64 KiB, within the window the peer gives.

    Raises:
        MuxedStreamError: the stream is closed, or the peer gave no window for five seconds.
    """
    total, sent = len(data), 0
    while sent < total:
        if self.send_closed or self.closed:
            raise MuxedStreamError("Stream is closed for sending")
        if self.send_window <= 0:
            await _wait_for_window(self)
            continue
        size = min(self.send_window, yamux.MAX_MESSAGE_SIZE - yamux.HEADER_SIZE, total - sent)
        self.send_window -= size
        frame = _HEADER.pack(0, yamux.TYPE_DATA, 0, self.stream_id, size) + data[sent : sent + size]
        sent += size
        await self.conn._write_frame(frame)


async def _wait_for_window(stream: Any) -> None:
    until = trio.current_time() + _WINDOW_S
    while stream.send_window <= 0 and not stream.closed and not stream.send_closed:
        if trio.current_time() >= until:
            raise MuxedStreamError("Timed out waiting for window update after 5 seconds.")
        opened: trio.Event = stream.__dict__.setdefault("chorus_shut", trio.Event())
        with trio.move_on_after(_LOOK_S):  # a stream that closes tells nobody
            await opened.wait()


# -- gossip's address records ----------------------------------------------------------------------------------------


def own_record(host: Any) -> tuple[bytes, bool]:
    """Our signed address record, rebuilt every half minute instead of with every message."""
    cached = getattr(host, "chorus_record", None)
    now = trio.current_time()
    if cached is None or cached[1] < now:
        cached = host.chorus_record = (env_to_send_in_RPC(host)[0], now + _RECORD_S)
    return cached[0], False


def consume_record(msg: Any, host: Any, peer_id: Any) -> bool:
    """A peer's record is verified when it differs from the one verified last, not with every message."""
    if not msg.HasField("senderRecord"):
        return True
    verified: dict[Any, bytes] = host.__dict__.setdefault("chorus_verified", {})
    if verified.get(peer_id) == msg.senderRecord:
        return True
    if not maybe_consume_signed_record(msg, host, peer_id):
        return False
    if len(verified) >= _RECORDS:
        verified.clear()
    verified[peer_id] = msg.senderRecord
    return True
