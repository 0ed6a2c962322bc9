"""A foul peer, made by hand from the socket up: TCP, multistream, noise and yamux without libp2p, so that each can be broken."""

from __future__ import annotations

import hashlib
import itertools
import random
import socket
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import trio
from nacl.signing import SigningKey
from noise.connection import Keypair, NoiseConnection

from agent_core.identity.peer_id import peer_id_of

DATA, WINDOW, PING, GO_AWAY = 0, 1, 2, 3
SYN, ACK, FIN, RST = 1, 2, 4, 8
_HEADER = struct.Struct("!BBHII")
_NOISE_MAX = 65_519
#: How long one step of an attacker may take, seconds.
STEP_S = 6.0
_hosts = itertools.count(random.randrange(2**16))


class Refused(Exception):
    """The victim closed the connection or the stream."""


@dataclass(frozen=True)
class Target:
    """Whom to attack."""

    host: str
    port: int
    peer_id: str
    network: str = "chorus"
    cluster: str = ""
    member: str = ""  #: peer id of an honest member


def varint(number: int) -> bytes:
    """An unsigned LEB128."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: bytes | str | int) -> bytes:
    """A protobuf field, length-delimited or varint."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def line(text: str | bytes) -> bytes:
    """A multistream message."""
    raw = text.encode() if isinstance(text, str) else text
    return varint(len(raw) + 1) + raw + b"\n"


def frame(kind: int, flags: int, stream: int, length: int, body: bytes = b"", version: int = 0) -> bytes:
    """A yamux frame; nothing keeps the length to that of the body."""
    return _HEADER.pack(version, kind, flags, stream, length) + body


def framed(body: bytes) -> bytes:
    """A frame of CHORUS's own streams."""
    return len(body).to_bytes(4, "big") + body


def prefixed(body: bytes) -> bytes:
    """A frame of pubsub's streams."""
    return varint(len(body)) + body


class Tcp:
    """A TCP connection to the victim, from a loopback address of its own.

    Args:
        stream: connected.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = bytearray()
        self.sent = 0

    @classmethod
    async def connect(cls, to: Target, source: str = "") -> Tcp:
        """Connect; the source is a fresh address of 127.0.0.0/8 if none is given."""
        sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        n = next(_hosts) % (2**16)
        await sock.bind((source or f"127.77.{n >> 8}.{n & 255}", 0))
        try:
            await sock.connect((to.host, to.port))
        except OSError:
            sock.close()
            raise
        return cls(trio.SocketStream(sock))

    async def send(self, data: bytes) -> None:
        """Send, at most :data:`STEP_S` long."""
        try:
            with trio.fail_after(STEP_S):
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Refused("the victim closed the connection") from error
        self.sent += len(data)

    async def receive(self, n: int) -> bytes:
        """Exactly ``n`` bytes."""
        while len(self._buffer) < n:
            try:
                chunk = await self.stream.receive_some(65536)
            except trio.BrokenResourceError as error:
                raise Refused("the victim reset the connection") from error
            if not chunk:
                raise Refused("the victim closed the connection")
            self._buffer += chunk
        out = bytes(self._buffer[:n])
        del self._buffer[:n]
        return out

    async def line(self) -> bytes:
        """One multistream message."""
        return await _line(self)

    async def gone(self, within_s: float) -> bool:
        """Whether the victim closes the connection in time; what it still sends is read."""
        with trio.move_on_after(within_s):
            try:
                while True:
                    self._buffer.clear()
                    await self.receive(1)
            except Refused:
                return True
        return False

    async def aclose(self) -> None:
        """Close at once."""
        await trio.aclose_forcefully(self.stream)


async def _line(reader: Any) -> bytes:
    length = shift = 0
    while True:
        byte = (await reader.receive(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return bytes(await reader.receive(length))[:-1]


async def agree(channel: Any, protocol: str) -> None:
    """Dial a protocol by multistream on a connection or stream."""
    await channel.send(line("/multistream/1.0.0") + line(protocol))
    await _line(channel)
    if (answer := await _line(channel)).decode() != protocol:
        raise Refused(f"{protocol} is answered with {answer!r}")


class Secure:
    """A noise channel, and the identity that dials.

    Args:
        tcp: connected and agreed on noise.
        key: the identity.
    """

    def __init__(self, tcp: Tcp, key: SigningKey) -> None:
        self.tcp, self.key = tcp, key
        self.peer_id = peer_id_of(bytes(key.verify_key))
        self.noise = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
        self._static = hashlib.sha256(bytes(key)).digest()
        self.noise.set_keypair_from_private_bytes(Keypair.STATIC, self._static)
        self.noise.set_as_initiator()
        self.noise.start_handshake()
        self._buffer = bytearray()

    async def handshake(self, *, stop_before_last: bool = False, foul_signature: bool = False) -> None:
        """Noise XX as libp2p does it."""
        await self._packet(bytes(self.noise.write_message()))
        self.noise.read_message(await self._read_packet())
        if stop_before_last:
            return
        static = self.noise.noise_protocol.keypairs["s"].public_bytes
        signature = self.key.sign(b"noise-libp2p-static-key:" + static).signature
        signature = bytes(64) if foul_signature else signature
        identity = b"\x08\x01\x12\x20" + bytes(self.key.verify_key)
        await self._packet(bytes(self.noise.write_message(field(1, identity) + field(2, signature))))

    async def _packet(self, body: bytes) -> None:
        await self.tcp.send(len(body).to_bytes(2, "big") + body)

    async def _read_packet(self) -> bytes:
        return await self.tcp.receive(int.from_bytes(await self.tcp.receive(2), "big"))

    async def send(self, data: bytes) -> None:
        """Encrypt and send, in as few packets as can be."""
        packets = bytearray()
        for at in range(0, len(data), _NOISE_MAX):
            body = self.noise.encrypt(data[at : at + _NOISE_MAX])
            packets += len(body).to_bytes(2, "big") + body
        await self.tcp.send(bytes(packets))

    async def receive(self, n: int) -> bytes:
        """Exactly ``n`` bytes of plain text."""
        while len(self._buffer) < n:
            self._buffer += self.noise.decrypt(await self._read_packet())
        out = bytes(self._buffer[:n])
        del self._buffer[:n]
        return out


class Stream:
    """One yamux stream of a foul peer; it keeps to the window unless told otherwise."""

    def __init__(self, peer: Foul, number: int) -> None:
        self.peer, self.number = peer, number
        self.window = 256 * 1024
        self.over = False
        self.buffer = bytearray()
        self.heard = trio.Event()

    async def send(self, data: bytes, *, within_window: bool = True) -> None:
        """Send data, waiting for the window if it is to be kept to."""
        at = 0
        with trio.fail_after(STEP_S):
            while at < len(data):
                if self.over or self.peer.gone.is_set():
                    raise Refused("the victim reset the stream")
                room = min(len(data) - at, 60_000)
                if within_window:
                    room = min(room, self.window)
                if room <= 0:
                    await self._wait()
                    continue
                self.window -= room
                await self.peer.raw(frame(DATA, 0, self.number, room, data[at : at + room]))
                at += room
                if not within_window:
                    await trio.lowlevel.checkpoint()

    async def receive(self, n: int) -> bytes:
        """Exactly ``n`` bytes."""
        while len(self.buffer) < n:
            if self.over or self.peer.gone.is_set():
                raise Refused("the victim closed the stream")
            await self._wait()
        out = bytes(self.buffer[:n])
        del self.buffer[:n]
        return out

    async def frame(self) -> bytes:
        """One frame of CHORUS's streams."""
        with trio.fail_after(STEP_S):
            return await self.receive(int.from_bytes(await self.receive(4), "big"))

    async def ended(self, within_s: float) -> bool:
        """Whether the victim ends the stream in time."""
        with trio.move_on_after(within_s):
            while not (self.over or self.peer.gone.is_set()):
                await self._wait()
            return True
        return False

    async def _wait(self) -> None:
        event = self.heard = trio.Event()
        await event.wait()


class Foul:
    """A connection as far as yamux, with a reader that answers pings and notes what the victim does."""

    def __init__(self, secure: Secure, target: Target, nursery: trio.Nursery) -> None:
        self.secure, self.target, self._nursery = secure, target, nursery
        self.peer_id, self.key = secure.peer_id, secure.key
        self.gone = trio.Event()
        self.gone_at = 0.0
        self.streams: dict[int, Stream] = {}
        self.inbound: list[Stream] = []  #: those the victim opened
        self.answers_inbound: dict[str, bytes] = {}  #: what is said on a stream the victim opens, by protocol
        self.stopped = False  #: nothing more is read of the socket
        self._numbers = itertools.count(1, 2)
        self._pongs: defaultdict[int, trio.Event] = defaultdict(trio.Event)
        self.pings = itertools.count(1_000_000)
        self.writing = trio.Lock()

    async def raw(self, data: bytes) -> None:
        """Send bytes of yamux as they are."""
        async with self.writing:
            if self.gone.is_set():
                raise Refused("the victim closed the connection")
            await self.secure.send(data)

    async def settled(self, within_s: float = STEP_S) -> str:
        """Wait until the victim has taken everything that was sent: ``answered``, or ``disconnected`` if it hung up."""
        number = next(self.pings)
        with suppress(Refused):
            await self.raw(frame(PING, SYN, 0, number))
        with trio.move_on_after(within_s):
            async with trio.open_nursery() as nursery:
                for event in (self._pongs[number], self.gone):
                    nursery.start_soon(self._either, event, nursery.cancel_scope)
            return "disconnected" if self.gone.is_set() else "answered"
        return "silent"

    async def unheard(self, data: bytes, within_s: float) -> bool:
        """Send the same again and again without reading; whether the victim closes the connection in time."""
        self.stopped = True
        with trio.move_on_after(within_s):
            try:
                while True:
                    await self.secure.tcp.stream.send_all(self._sealed(data))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return True
        return False

    def _sealed(self, data: bytes) -> bytes:
        body = self.secure.noise.encrypt(data)
        return len(body).to_bytes(2, "big") + bytes(body)

    async def hung_up(self, within_s: float) -> bool:
        """Whether the victim closes the connection in time."""
        with trio.move_on_after(within_s):
            await self.gone.wait()
        return self.gone.is_set()

    async def open(self, protocol: str = "") -> Stream:
        """A stream, agreed on a protocol if one is given."""
        stream = Stream(self, next(self._numbers))
        self.streams[stream.number] = stream
        await self.raw(frame(WINDOW, SYN, stream.number, 0))
        if protocol:
            with trio.fail_after(STEP_S):
                await agree(stream, protocol)
        return stream

    async def hello(self, network: str = "") -> None:
        """Say hello like an honest node."""
        stream = await self.open("/chorus/hello/1.0.0")
        await stream.send(framed(b'{"v":1,"network":"%s"}' % (network or self.target.network).encode()))
        await stream.frame()

    async def read(self) -> None:
        """Take what the victim sends, until it hangs up."""
        try:
            while not self.stopped:
                _, kind, flags, number, length = _HEADER.unpack(await self.secure.receive(12))
                body = await self.secure.receive(length) if kind == DATA else b""
                await self._take(kind, flags, number, length, body)
            return
        except Exception:  # whatever it was: this connection is over
            self.gone_at = trio.current_time()
            self.gone.set()
            for stream in self.streams.values():
                stream.heard.set()

    async def _take(self, kind: int, flags: int, number: int, length: int, body: bytes) -> None:
        if kind == PING:
            if flags & SYN:
                self._nursery.start_soon(self._quietly, frame(PING, ACK, 0, length))
            else:
                self._pongs[length].set()
        elif kind == GO_AWAY:
            raise Refused("go away")
        else:
            stream = self.streams.get(number)
            if stream is None and flags & SYN:
                stream = self.streams[number] = Stream(self, number)
                self.inbound.append(stream)
                self._nursery.start_soon(self._serve, stream)
            if stream is not None:
                stream.buffer += body
                stream.window += length if kind == WINDOW else 0
                stream.over = stream.over or bool(flags & (RST | FIN))
                stream.heard.set()
                if body:
                    self._nursery.start_soon(self._quietly, frame(WINDOW, 0, number, len(body)))

    async def _serve(self, stream: Stream) -> None:
        """Agree to whatever the victim asks for, and say what was set for it."""
        with suppress(Exception):
            await self.raw(frame(WINDOW, ACK, stream.number, 0))
            await stream.send(line("/multistream/1.0.0"))
            await _line(stream)
            protocol = (await _line(stream)).decode()
            await stream.send(line(protocol))
            if protocol in self.answers_inbound:
                await stream.send(self.answers_inbound[protocol])
                await self.raw(frame(DATA, FIN, stream.number, 0))

    async def _quietly(self, data: bytes) -> None:
        with suppress(Exception):
            await self.raw(data)

    @staticmethod
    async def _either(event: trio.Event, scope: trio.CancelScope) -> None:
        await event.wait()
        scope.cancel()


@asynccontextmanager
async def secured(to: Target, key: SigningKey | None = None, source: str = "") -> AsyncIterator[Secure]:
    """A connection as far as noise. Who is turned away at the socket, because others flood it, knocks again."""
    async with entered(to, source) as tcp:
        with trio.fail_after(STEP_S):
            secure = Secure(tcp, key or SigningKey.generate())
            await secure.handshake()
        yield secure


@asynccontextmanager
async def entered(to: Target, source: str = "", tries: int = 60) -> AsyncIterator[Tcp]:
    """A connection that was let in and agreed on noise."""
    for left in reversed(range(tries)):
        tcp = await Tcp.connect(to, source)
        try:
            with trio.fail_after(STEP_S):
                await agree(tcp, "/noise")
            break
        except Refused:
            await tcp.aclose()
            if not left:
                raise
            await trio.sleep(0.1)
    try:
        yield tcp
    finally:
        await tcp.aclose()


@asynccontextmanager
async def foul(
    to: Target, *, hello: bool = True, key: SigningKey | None = None, source: str = ""
) -> AsyncIterator[Foul]:
    """A connection as far as yamux, and the hello if wanted."""
    async with secured(to, key, source) as secure, trio.open_nursery() as nursery:
        with trio.fail_after(STEP_S):
            await agree(secure, "/yamux/1.0.0")
        peer = Foul(secure, to, nursery)
        nursery.start_soon(peer.read)
        if hello:
            await peer.hello()
        yield peer
        nursery.cancel_scope.cancel()


# -- pubsub ------------------------------------------------------------------------------------------------------------

_seqno = itertools.count(random.getrandbits(48))


def message(signer: SigningKey, topic: str, data: bytes, *, topics: Iterable[str] = (), **replaced: bytes) -> bytes:
    """A correctly signed pubsub message (protobuf), or one with some fields replaced."""
    public = bytes(signer.verify_key)
    fields = {
        "from_id": b"\x00\x24\x08\x01\x12\x20" + public,
        "data": data,
        "seqno": next(_seqno).to_bytes(8, "big"),
    } | {name: value for name, value in replaced.items() if name in ("from_id", "data", "seqno")}
    body = field(1, fields["from_id"]) + field(2, fields["data"]) + field(3, fields["seqno"])
    for one in topics or (topic,):
        body += field(4, one)
    signature = replaced.get("signature") or signer.sign(b"libp2p-pubsub:" + body).signature
    body += field(5, signature)
    return body + (field(6, replaced["key"]) if "key" in replaced else b"")


def rpc(*publish: bytes, subscribe: Iterable[tuple[bool, str]] = (), control: bytes = b"") -> bytes:
    """A pubsub RPC."""
    out = b"".join(field(1, field(1, int(on)) + field(2, topic)) for on, topic in subscribe)
    out += b"".join(field(2, one) for one in publish)
    return out + (field(3, control) if control else b"")
