"""Attacks below the muxer: sockets, multistream, noise."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, suppress

import trio
from nacl.signing import SigningKey

from tests.hostile.catalogue import End, Outcome, attack
from tests.hostile.peer import Refused, Secure, Target, Tcp, entered, foul, line, secured, varint

MS = line("/multistream/1.0.0")


async def _closed(outcome: Outcome, tcp: Tcp, within_s: float) -> None:
    began = trio.current_time()
    outcome.end = End.DISCONNECTED if await tcp.gone(within_s) else "held"
    outcome.after_s = trio.current_time() - began


@attack("connect and hold", "tcp", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """Four connections that never say a word."""
    held = [await Tcp.connect(to) for _ in range(4)]
    out.sent_out(len(held))
    began = trio.current_time()
    out.end = End.DISCONNECTED if all([await tcp.gone(8) for tcp in held]) else "held"
    out.after_s = trio.current_time() - began
    for tcp in held:
        await tcp.aclose()


@attack("one byte a second", "tcp", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """The first line of the handshake, byte by byte."""
    tcp = await Tcp.connect(to)
    began = trio.current_time()
    with out.storm():
        for byte in MS:
            await tcp.send(bytes([byte]))
            out.sent_out()
            if await tcp.gone(0.5):
                break
    out.end, out.after_s = End.DISCONNECTED if await tcp.gone(1) else "held", trio.current_time() - began
    await tcp.aclose()


@attack("connection flood", "tcp", End.DISCONNECTED, cpu_s=1.5)
async def _(to: Target, out: Outcome) -> None:
    """Four hundred connections from one address, opened as fast as they can be and left open."""
    held: list[Tcp] = []
    with suppress(OSError):
        for _ in range(400):
            held.append(await Tcp.connect(to, "127.66.0.2"))
    out.sent_out(len(held))
    gone = 0
    began = trio.current_time()
    for tcp in held:
        gone += await tcp.gone(0.05 if trio.current_time() - began < 2 else 0.001)
    out.end = End.DISCONNECTED if gone > 300 else f"{gone} closed"
    for tcp in held:
        await tcp.aclose()


@attack("connect and reset", "tcp", End.IGNORED)
async def _(to: Target, out: Outcome) -> None:
    """Three hundred connections, each reset at once."""
    for _ in range(300):
        with suppress(OSError):
            tcp = await Tcp.connect(to, "127.66.0.3")
            tcp.stream.setsockopt(1, 13, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # SO_LINGER 0: RST
            await tcp.aclose()
            out.sent_out()
    out.end = End.IGNORED


@attack("another protocol", "tcp", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """A web browser."""
    await _say(to, out, b"GET / HTTP/1.1\r\nHost: mesh\r\n\r\n")


@attack("random bytes", "tcp", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """64 KiB of them."""
    await _say(to, out, os.urandom(65536))


@attack("full handshakes, many keys", "tcp", End.REFUSED, cpu_s=4.0, grows_mib=12)
async def _(to: Target, out: Outcome) -> None:
    """A hundred connections of a hundred identities from one address, each shaken hands on and held without a hello."""
    async with AsyncExitStack() as stack:
        held = []
        for _ in range(100):
            held.append(await stack.enter_async_context(secured(to, source="127.66.0.4")))
            out.sent_out()
        left = [secure for secure in held if not await secure.tcp.gone(0.01)]
        out.note = f"{len(left)} left"
        out.end = End.REFUSED if len(left) <= 32 else "all let in"


@attack("comes and goes", "tcp", End.IGNORED, cpu_s=4.0, grows_mib=10)
async def _(to: Target, out: Outcome) -> None:
    """A hundred identities connect from many addresses, say hello and hang up: what a node keeps of each is looked at."""
    refused = 0
    for _ in range(100):
        try:
            async with foul(to) as peer:
                out.sent_out(bool(peer.peer_id))
        except* (Refused, OSError, trio.TooSlowError):
            refused += 1
    out.end = End.IGNORED if refused < 10 else f"{refused} of 100 turned away"


# -- multistream -------------------------------------------------------------------------------------------------------


async def _say(to: Target, out: Outcome, body: bytes, within_s: float = 6) -> None:
    tcp = await Tcp.connect(to)
    with out.storm():
        await tcp.send(body)
    out.sent_out(tcp.sent or len(body))
    await _closed(out, tcp, within_s)
    await tcp.aclose()


@attack("plaintext", "multistream", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """Asks for no encryption."""
    tcp = await Tcp.connect(to)
    await tcp.send(MS + line("/plaintext/2.0.0"))
    await tcp.line()
    answer = await tcp.line()
    out.sent_out()
    out.note = answer.decode()
    assert answer == b"na", answer
    await _closed(out, tcp, 6)
    await tcp.aclose()


@attack("endless length", "multistream", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """A length of a hundred continued bytes."""
    await _say(to, out, b"\xff" * 100)


@attack("a line of 1 GiB", "multistream", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """Announces a line of 1 GiB and sends 4 MiB of it."""
    await _say(to, out, varint(1 << 30) + b"x" * (4 << 20))


@attack("flood of empty lines", "multistream", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """A megabyte of lines without a word."""
    await _say(to, out, MS + b"\x01\n" * 500_000)


@attack("endless list of protocols", "multistream", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """Fifty thousand protocols nobody knows, before encryption."""
    await _say(to, out, MS + b"".join(line(f"/none/{n}") for n in range(50_000)))


@attack("unknown protocols on a stream", "multistream", End.RESET, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Twenty thousand protocols nobody knows, on one stream."""
    async with foul(to) as peer:
        stream = await peer.open()
        with out.storm():
            await stream.send(MS)
            for n in range(20):
                await stream.send(b"".join(line(f"/none/{n}/{m}") for m in range(1000)))
                out.sent_out(1000)
        out.end = End.RESET if await stream.ended(3) else "endless"
        await peer.settled()


@attack("ls flood", "multistream", End.RESET, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Asks for the list of protocols ten thousand times."""
    async with foul(to) as peer:
        stream = await peer.open()
        with out.storm():
            await stream.send(MS)
            for _ in range(10):
                await stream.send(line("ls") * 1000)
                out.sent_out(1000)
        out.end = End.RESET if await stream.ended(3) else "endless"


@attack("protocols that are no text", "multistream", End.RESET, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A line of bytes that are no UTF-8."""
    async with foul(to) as peer:
        stream = await peer.open()
        with out.storm():
            await stream.send(MS + line(b"\xff\xfe\xfd"))
            out.sent_out()
        out.end = End.RESET if await stream.ended(3) else "endless"


# -- noise -------------------------------------------------------------------------------------------------------------


@attack("half a handshake", "noise", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """Two of three messages, then silence."""
    async with entered(to) as tcp:
        await Secure(tcp, SigningKey.generate()).handshake(stop_before_last=True)
        out.sent_out()
        await _closed(out, tcp, 8)


@attack("handshake of garbage", "noise", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """Random bytes where the handshake's first message goes."""
    async with entered(to) as tcp:
        with suppress(Refused):
            await tcp.send((1000).to_bytes(2, "big") + os.urandom(1000))
            out.sent_out()
        await _closed(out, tcp, 8)


@attack("a key that isn't proven", "noise", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """An identity whose signature doesn't hold."""
    async with entered(to) as tcp:
        with suppress(Refused):
            await Secure(tcp, SigningKey.generate()).handshake(foul_signature=True)
            out.sent_out()
        await _closed(out, tcp, 6)


@attack("packets that don't decrypt", "noise", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A handshake, then packets of the greatest length filled with noise."""
    async with secured(to) as secure:
        with out.storm():
            for _ in range(16):
                await secure.tcp.send(b"\xff\xff" + os.urandom(65535))
                out.sent_out()
        await _closed(out, secure.tcp, 6)


@attack("half a packet", "noise", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """A packet of the greatest length of which only half comes, before the muxer is agreed on."""
    async with secured(to) as secure:
        await secure.tcp.send(b"\xff\xff" + os.urandom(30000))
        out.sent_out()
        await _closed(out, secure.tcp, 8)


@attack("empty packets", "noise", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """Packets that decrypt to nothing, fifty thousand of them."""
    async with secured(to) as secure:
        with out.storm():
            for _ in range(50):
                body = b""
                for _ in range(1000):
                    packet = secure.noise.encrypt(b"")
                    body += len(packet).to_bytes(2, "big") + packet
                await secure.tcp.send(body)
                out.sent_out(1000)
        await _closed(out, secure.tcp, 8)
