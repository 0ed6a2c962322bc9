"""Attacks on the distributed hash table and on discovery by mDNS."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable

import trio
from nacl.signing import SigningKey

from agent_core.identity.peer_id import peer_id_of
from tests.hostile.catalogue import STORM_S, End, Outcome, attack
from tests.hostile.peer import Refused, Target, field, foul, prefixed, varint

KAD = "/chorus/kad/1.0.0"
PUT_VALUE, GET_VALUE, ADD_PROVIDER, GET_PROVIDERS, FIND_NODE, PING = range(6)


async def _ask(to: Target, out: Outcome, frames: Iterable[bytes]) -> None:
    async with foul(to) as peer:
        with out.storm(), trio.move_on_after(STORM_S):
            stream = await peer.open(KAD)
            for one in frames:
                if stream.over:
                    stream = await peer.open(KAD)
                try:
                    await stream.send(one)
                except Refused:
                    if peer.gone.is_set():
                        raise
                out.sent_out()
        await out.settle(peer, 0.3)


def _somebody() -> bytes:
    return b"\x00\x24\x08\x01\x12\x20" + os.urandom(32)


@attack("DHT garbage", "dht", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A hundred frames that are no question."""
    await _ask(to, out, (prefixed(os.urandom(200)) for _ in range(100)))


@attack("a record of 3 MB", "dht", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Puts a value of three megabytes."""
    record = field(1, b"/chorus/" + b"ab" * 32) + field(2, b"x" * (3 << 20))
    await _ask(to, out, [prefixed(field(1, PUT_VALUE) + field(2, b"/chorus/" + b"ab" * 32) + field(3, record))])


@attack("ADD_PROVIDER flood", "dht", End.IGNORED, End.DISCONNECTED, cpu_s=3.4)
async def _(to: Target, out: Outcome) -> None:
    """Says twenty thousand times that somebody has something."""

    def adds() -> Iterable[bytes]:
        for _ in range(100):
            yield b"".join(
                prefixed(field(1, ADD_PROVIDER) + field(2, os.urandom(34)) + field(9, field(1, _somebody())))
                for _ in range(200)
            )

    await _ask(to, out, adds())


@attack("FIND_NODE flood", "dht", End.IGNORED, End.DISCONNECTED, cpu_s=3.4)
async def _(to: Target, out: Outcome) -> None:
    """Asks twenty thousand times for somebody."""

    def finds() -> Iterable[bytes]:
        for _ in range(100):
            yield b"".join(prefixed(field(1, FIND_NODE) + field(2, _somebody())) for _ in range(200))

    await _ask(to, out, finds())


@attack("a DHT frame without end", "dht", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Announces the longest frame there can be."""
    await _ask(to, out, [varint(2**63) + b"x" * 100_000])


# -- mDNS, on loopback only --------------------------------------------------------------------------------------------

_GROUP, _PORT = "224.0.0.251", 5353
_SERVICE = b"\x07_chorus\x04_udp\x05local\x00"


def _announce(name: str, txt: bytes, ttl: int = 120) -> bytes:
    """An mDNS answer: a service of ours by that name, with that TXT record (RFC 6762, RFC 6763)."""
    full = bytes([len(name)]) + name.encode() + _SERVICE
    host = b"\x01h\x05local\x00"
    pointer = _SERVICE + struct.pack("!HHIH", 12, 1, ttl, len(full)) + full
    service = full + struct.pack("!HHIH", 33, 0x8001, ttl, 6 + len(host)) + struct.pack("!HHH", 0, 0, 9) + host
    text = full + struct.pack("!HHIH", 16, 0x8001, ttl, len(txt)) + txt
    address = host + struct.pack("!HHIH", 1, 0x8001, ttl, 4) + socket.inet_aton("127.0.0.1")
    return struct.pack("!HHHHHH", 0, 0x8400, 0, 4, 0, 0) + pointer + service + text + address


async def _say(to: Target, out: Outcome, packets: Iterable[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        sock.bind(("127.0.0.1", 0))
        for n, packet in enumerate(packets):
            sock.sendto(packet, (_GROUP, _PORT))
            if n % 20 == 0:
                await trio.sleep(0.01)
        with trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            await _is_heard(sock, listener, to, out)
    async with foul(to) as peer:  # it still lets people in
        await out.settle(peer)


async def _is_heard(sock: socket.socket, listener: trio.socket.SocketType, to: Target, out: Outcome) -> None:
    """The victim hears what is said here: it dials a listener that is announced last."""
    await listener.bind(("127.0.0.1", 0))
    listener.listen()
    with trio.fail_after(18):
        async with trio.open_nursery() as nursery:

            async def announce() -> None:
                while True:
                    port = listener.getsockname()[1]
                    sock.sendto(_announce(f"l{os.urandom(4).hex()}", _known(to, port)), (_GROUP, _PORT))
                    await trio.sleep(0.3)

            nursery.start_soon(announce)
            dialled, _ = await listener.accept()
            dialled.close()
            out.sent_out()
            nursery.cancel_scope.cancel()


def _txt(*pairs: str) -> bytes:
    return b"".join(bytes([len(p.encode())]) + p.encode() for p in pairs)


def _known(to: Target, port: int) -> bytes:
    """The text of a service of the victim's network: somebody new who listens on a port of loopback."""
    somebody = peer_id_of(bytes(SigningKey.generate().verify_key))
    address = f"addr0=/ip4/127.0.0.1/tcp/{port}/p2p/{somebody}"
    return _txt("tag=CHORUS-peer-discovery", f"network={to.network}", address)


@attack("names without end", "mdns", End.IGNORED, cpu_s=4.0, grows_mib=12)
async def _(to: Target, out: Outcome) -> None:
    """A thousand services of the network, each of somebody else who isn't there."""
    await _say(to, out, (_announce(f"foul{n}", _known(to, 9)) for n in range(1000)))


@attack("TXT that is none", "mdns", End.IGNORED, cpu_s=2.0)
async def _(to: Target, out: Outcome) -> None:
    """Two hundred services whose texts are cut off, endless or no text."""
    broken = (
        b"\xff",
        b"\xff\xfe" * 100,
        _txt("tag=CHORUS-peer-discovery", "network", "addr0=/ip4/"),
        b"",
        b"\x00" * 500,
    )
    await _say(to, out, (_announce(f"odd{n}", broken[n % len(broken)]) for n in range(200)))


@attack("packets that are no DNS", "mdns", End.IGNORED, cpu_s=2.0)
async def _(to: Target, out: Outcome) -> None:
    """Random bytes, and names that point to themselves."""
    loop = struct.pack("!HHHHHH", 0, 0x8400, 0, 50, 0, 0) + b"\xc0\x0c" * 600
    await _say(to, out, [os.urandom(1000) for _ in range(100)] + [loop] * 100)
