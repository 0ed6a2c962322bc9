"""Attacks on the muxer, and on what libp2p asks a peer about itself."""

from __future__ import annotations

import trio
from nacl.signing import SigningKey

from agent_core.identity.peer_id import peer_id_of
from tests.hostile.catalogue import End, Outcome, attack
from tests.hostile.peer import (
    ACK,
    DATA,
    GO_AWAY,
    PING,
    RST,
    SYN,
    WINDOW,
    Target,
    field,
    foul,
    frame,
    prefixed,
)


async def _frames(to: Target, out: Outcome, *frames: bytes, times: int = 1, hung_up_s: float = 1.0) -> None:
    async with foul(to) as peer:
        with out.storm():
            for _ in range(times):
                await peer.raw(b"".join(frames))
                out.sent_out(len(frames))
        await out.settle(peer, hung_up_s)


@attack("wrong version", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A frame of version 9."""
    await _frames(to, out, frame(DATA, 0, 1, 0, version=9))


@attack("unknown type", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A frame of a type that isn't."""
    await _frames(to, out, frame(77, 0, 1, 0))


@attack("unknown types flood", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Fifty thousand frames of a type that isn't."""
    await _frames(to, out, *[frame(9, 0, 1, 0)] * 1000, times=50)


@attack("data on stream zero", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """The session's own number used for data."""
    await _frames(to, out, frame(DATA, 0, 0, 4, b"data"))


@attack("streams in our name", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Opens streams with even numbers, which are the victim's to give."""
    await _frames(to, out, frame(WINDOW, SYN, 2, 0), frame(WINDOW, SYN, 4, 0))


@attack("data for unknown streams", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A gigabyte, in theory, for streams that were never opened."""
    body = b"x" * 60_000
    await _frames(to, out, *[frame(DATA, 0, 90_001, len(body), body)] * 4, times=250)


@attack("stream flood", "yamux", End.DISCONNECTED, cpu_s=2.0)
async def _(to: Target, out: Outcome) -> None:
    """Twenty thousand streams opened at once."""
    async with foul(to) as peer:
        with out.storm():
            for n in range(20):
                await peer.raw(b"".join(frame(WINDOW, SYN, 1001 + 2 * (1000 * n + m), 0) for m in range(1000)))
                out.sent_out(1000)
        await out.settle(peer, 1)


@attack("streams full of data", "yamux", End.DISCONNECTED, End.IGNORED, cpu_s=2.0)
async def _(to: Target, out: Outcome) -> None:
    """A thousand streams, each opened with 250 KB that nobody reads."""
    body = b"x" * 250_000
    async with foul(to) as peer:
        with out.storm():
            for n in range(1000):
                await peer.raw(frame(DATA, SYN, 1001 + 2 * n, len(body), body))
                out.sent_out()
        await out.settle(peer, 1)


@attack("streams of one number", "yamux", End.DISCONNECTED, End.IGNORED)
async def _(to: Target, out: Outcome) -> None:
    """The same stream opened ten thousand times."""
    await _frames(to, out, *[frame(WINDOW, SYN, 1001, 0)] * 1000, times=10)


@attack("beyond the window", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A million bytes at once on a stream whose window is a quarter of that."""
    async with foul(to) as peer:
        stream = await peer.open("/chorus/ping/1.0.0")
        with out.storm():
            await peer.raw(frame(DATA, 0, stream.number, 1_000_000, b"\x00" * 1_000_000))
            out.sent_out()
        await out.settle(peer, 1)


@attack("a frame of 4 GiB", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Announces the longest frame there can be."""
    async with foul(to) as peer:
        stream = await peer.open()
        with out.storm():
            await peer.raw(frame(DATA, 0, stream.number, 0xFFFFFFFF, b"x" * 1000))
            out.sent_out()
        await out.settle(peer, 1)


@attack("half a frame", "yamux", End.DISCONNECTED, within_s=18)
async def _(to: Target, out: Outcome) -> None:
    """Announces 200 KB, sends half and waits."""
    async with foul(to) as peer:
        stream = await peer.open()
        await peer.raw(frame(DATA, 0, stream.number, 200_000, b"x" * 100_000))
        out.sent_out()
        began = trio.current_time()
        out.end = End.DISCONNECTED if await peer.hung_up(18) else "held"
        out.after_s = trio.current_time() - began


@attack("window without end", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Grants a window of 4 GiB, a thousand times."""
    async with foul(to) as peer:
        stream = await peer.open()
        with out.storm():
            await peer.raw(frame(WINDOW, 0, stream.number, 0xFFFFFFFF) * 1000)
            out.sent_out(1000)
        await out.settle(peer, 1)


@attack("ping flood", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A hundred thousand pings."""
    await _frames(to, out, *[frame(PING, SYN, 0, 7)] * 1000, times=100)


@attack("pings that aren't read", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Pings whose answers are never read, without end."""
    async with foul(to) as peer:
        began = trio.current_time()
        out.end = End.DISCONNECTED if await peer.unheard(frame(PING, SYN, 0, 7) * 20, 18) else "held"
        out.after_s = trio.current_time() - began
        out.sent_out()


@attack("answers nobody asked for", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A hundred thousand answers to pings that weren't sent."""
    await _frames(to, out, *[frame(PING, ACK, 0, 7)] * 1000, times=100)


@attack("reset storm", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Fifty thousand streams opened and reset in one go."""
    async with foul(to) as peer:
        with out.storm():
            for n in range(50):
                pairs = (1001 + 2 * (1000 * n + m) for m in range(1000))
                await peer.raw(b"".join(frame(WINDOW, SYN, p, 0) + frame(WINDOW, RST, p, 0) for p in pairs))
                out.sent_out(1000)
        await out.settle(peer, 1)


@attack("go away", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Takes leave with every code, a thousand times."""
    await _frames(to, out, *[frame(GO_AWAY, 0, 0, n) for n in range(1000)])


@attack("empty data frames", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A hundred thousand data frames without data."""
    async with foul(to) as peer:
        stream = await peer.open()
        with out.storm():
            for _ in range(100):
                await peer.raw(frame(DATA, 0, stream.number, 0) * 1000)
                out.sent_out(1000)
        await out.settle(peer, 1)


@attack("streams held open", "yamux", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A hundred streams that never agree on a protocol, held."""
    async with foul(to) as peer:
        with out.storm():
            for _ in range(100):
                await peer.open()
                out.sent_out()
        await out.settle(peer, 0.5)


@attack("reads nothing", "yamux", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Echoes that are never read, sent whatever the window is."""
    async with foul(to) as peer:
        stream = await peer.open("/chorus/ping/1.0.0")
        began = trio.current_time()
        body = ((64).to_bytes(4, "big") + b"x" * 64) * 100
        out.end = End.DISCONNECTED if await peer.unheard(frame(DATA, 0, stream.number, len(body), body), 18) else "held"
        out.after_s = trio.current_time() - began
        out.sent_out()


# -- identify ----------------------------------------------------------------------------------------------------------

PUSH = "/ipfs/id/push/1.0.0"


async def _push(to: Target, out: Outcome, body: bytes, times: int = 1) -> None:
    async with foul(to) as peer:
        with out.storm():
            for _ in range(times):
                stream = await peer.open(PUSH)
                await stream.send(prefixed(body))
                await peer.raw(frame(DATA, 4, stream.number, 0))
                out.sent_out()
        await out.settle(peer, 0.3)


@attack("identify of 1 MB", "identify", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Tells 1 MB about itself."""
    await _push(to, out, field(5, "x" * 1_000_000))


@attack("identify, half", "identify", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Announces much about itself and says little."""
    async with foul(to) as peer:
        stream = await peer.open(PUSH)
        await stream.send(b"\xff\xff\x3f" + b"x" * 100)
        out.sent_out()
        await out.settle(peer)


@attack("ten thousand addresses", "identify", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Says it listens at ten thousand addresses, and speaks a thousand protocols."""
    addresses = b"".join(
        field(2, bytes([4, 10, n >> 16 & 255, n >> 8 & 255, n & 255, 6, 35, 40])) for n in range(10_000)
    )
    await _push(to, out, addresses + b"".join(field(3, f"/p/{n}") for n in range(1000)))


@attack("another's key", "identify", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Says its public key is another's."""
    other = bytes(SigningKey.generate().verify_key)
    await _push(to, out, field(1, b"\x08\x01\x12\x20" + other))
    assert peer_id_of(other)


@attack("identify push flood", "identify", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Tells of itself five hundred times, each time with other addresses."""
    async with foul(to) as peer:
        with out.storm():
            for n in range(500):
                stream = await peer.open(PUSH)
                body = b"".join(field(2, bytes([4, 10, n >> 8 & 255, n & 255, m, 6, 35, 40])) for m in range(100))
                await stream.send(prefixed(body))
                await peer.raw(frame(DATA, 4, stream.number, 0))
                out.sent_out()
        await out.settle(peer, 0.3)
