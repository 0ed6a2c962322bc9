"""Attacks on pubsub, and on what is gossiped."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio
from nacl.signing import SigningKey

from agent_core.clock import pack, rfc3339, wall_ms
from agent_core.ids import uuid7
from agent_core.wire import topics
from tests.hostile.catalogue import End, Outcome, attack
from tests.hostile.peer import Foul, Stream, Target, field, foul, message, prefixed, rpc, varint

MESHSUB = "/meshsub/1.1.0"
TOPIC = topics.COORDINATION


@asynccontextmanager
async def gossiping(to: Target) -> AsyncIterator[tuple[Foul, Stream]]:
    """A foul peer with an open gossip stream, subscribed to the topics everybody follows."""
    async with foul(to) as peer:
        stream = await peer.open(MESHSUB)
        await stream.send(prefixed(rpc(subscribe=[(True, t) for t in topics.STATIC])))
        yield peer, stream


async def _send(
    to: Target, out: Outcome, frames: Iterable[bytes], hung_up_s: float = 1.5, alive: End = End.IGNORED
) -> None:
    async with gossiping(to) as (peer, stream):
        with out.storm():
            for one in frames:
                await stream.send(one)
                out.sent_out()
        await out.settle(peer, hung_up_s, alive)


async def _messages(
    to: Target, out: Outcome, make: Callable[[Foul, int], bytes], n: int = 30, hung_up_s: float = 1.5
) -> None:
    """Messages, one a frame."""
    async with gossiping(to) as (peer, stream):
        with out.storm():
            for number in range(n):
                await stream.send(prefixed(rpc(make(peer, number))))
                out.sent_out()
        await out.settle(peer, hung_up_s)


def said(peer: Foul, **replaced: Any) -> dict[str, Any]:
    """A well-formed envelope of the attacker, as plain data."""
    now = wall_ms()
    plain = {
        "v": 1, "id": uuid7(now), "type": "availability_broadcast", "from": peer.peer_id, "agent_id": "foul", "role": "agent",
        "kind": "agent", "hlc": pack(now), "sent_at": rfc3339(now), "data": {},
    }  # fmt: skip
    return plain | replaced


def enveloped(peer: Foul, **replaced: Any) -> bytes:
    """A signed message with an envelope."""
    return message(peer.key, TOPIC, json.dumps(said(peer, **replaced)).encode())


# -- pubsub ------------------------------------------------------------------------------------------------------------


@attack("frames that are no protobuf", "pubsub", End.RESET, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Random bytes as a frame, on one stream after the other."""
    async with foul(to) as peer:
        with out.storm():
            for _ in range(40):
                stream = await peer.open(MESHSUB)
                await stream.send(prefixed(b"\xff\xfe\xfd" + os.urandom(500)))
                out.sent_out()
                await stream.ended(1)
        await out.settle(peer, 0.5, End.RESET)


@attack("a frame of 64 MiB", "pubsub", End.RESET, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Announces 64 MiB and sends two."""
    async with foul(to) as peer:
        stream = await peer.open(MESHSUB)
        with out.storm():
            await stream.send(varint(64 << 20) + b"x" * (2 << 20))
        out.sent_out()
        out.end = End.RESET if await stream.ended(2) else "taken"


@attack("fifty thousand messages in a frame", "pubsub", End.DISCONNECTED, End.IGNORED, cpu_s=3.0, grows_mib=24)
async def _(to: Target, out: Outcome) -> None:
    """A mebibyte of messages that are nothing but a topic."""
    tiny = field(2, field(4, TOPIC))
    body = tiny * ((1 << 20) // len(tiny) - 1)
    await _send(to, out, [prefixed(body)] * 2)


@attack("empty frames", "pubsub", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A million frames of no length at all."""
    await _send(to, out, [b"\x00" * 100_000] * 10)


@attack("subscription flood", "pubsub", End.DISCONNECTED, End.IGNORED, cpu_s=2.0)
async def _(to: Target, out: Outcome) -> None:
    """A hundred thousand topics."""
    frames = (prefixed(rpc(subscribe=[(True, f"topic/{n}/{m}") for m in range(1000)])) for n in range(100))
    await _send(to, out, frames)


@attack("comes and goes from topics", "pubsub", End.DISCONNECTED, End.IGNORED, cpu_s=3.0)
async def _(to: Target, out: Outcome) -> None:
    """Subscribes and unsubscribes fifty thousand times."""
    churn = prefixed(rpc(subscribe=[(True, TOPIC), (False, TOPIC)] * 500))
    await _send(to, out, [churn] * 50)


@attack("topics of 1 MB", "pubsub", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """A topic with a name of almost a megabyte, ten times."""
    await _send(to, out, (prefixed(rpc(subscribe=[(True, f"{n}" + "x" * 900_000)])) for n in range(10)), 0.3)


@attack("IHAVE flood", "pubsub", End.DISCONNECTED, End.IGNORED, cpu_s=2.0)
async def _(to: Target, out: Outcome) -> None:
    """Says it has five hundred thousand messages nobody knows."""

    def have(n: int) -> bytes:
        ids = b"".join(field(2, os.urandom(20).hex()) for _ in range(5000))
        return prefixed(rpc(control=field(1, field(1, TOPIC) + ids)))

    await _send(to, out, (have(n) for n in range(100)))


@attack("IWANT flood", "pubsub", End.DISCONNECTED, End.IGNORED, cpu_s=2.0)
async def _(to: Target, out: Outcome) -> None:
    """Asks a million times for messages."""
    ids = b"".join(field(1, os.urandom(20).hex()) for _ in range(5000))
    await _send(to, out, [prefixed(rpc(control=field(2, ids)))] * 200)


@attack("GRAFT flood to unknown topics", "pubsub", End.DISCONNECTED, End.IGNORED, cpu_s=2.0)
async def _(to: Target, out: Outcome) -> None:
    """Wants into the meshes of a hundred thousand topics that aren't."""
    frames = (prefixed(rpc(control=b"".join(field(3, field(1, f"t{n}.{m}")) for m in range(1000)))) for n in range(100))
    await _send(to, out, frames)


@attack("GRAFT and PRUNE churn", "pubsub", End.DISCONNECTED, End.IGNORED, cpu_s=2.0)
async def _(to: Target, out: Outcome) -> None:
    """Into the mesh of one topic and out of it, fifty thousand times."""
    turn = field(3, field(1, TOPIC)) + field(4, field(1, TOPIC) + field(3, 1))
    await _send(to, out, [prefixed(rpc(control=turn * 500))] * 100)


@attack("PRUNE flood of unknown topics", "pubsub", End.DISCONNECTED, End.IGNORED, cpu_s=2.0)
async def _(to: Target, out: Outcome) -> None:
    """Leaves a hundred thousand meshes that aren't: each would be remembered."""
    frames = (prefixed(rpc(control=b"".join(field(4, field(1, f"t{n}.{m}")) for m in range(1000)))) for n in range(100))
    await _send(to, out, frames)


@attack("peers to dial", "pubsub", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Recommends five hundred peers with each PRUNE."""
    peers = b"".join(field(2, field(1, b"\x00\x24\x08\x01\x12\x20" + os.urandom(32))) for _ in range(500))
    await _send(to, out, [prefixed(rpc(control=field(4, field(1, TOPIC) + peers)))] * 20, 0.3)


@attack("forged signatures", "pubsub", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Messages whose signature doesn't hold."""
    await _messages(to, out, lambda peer, n: message(peer.key, TOPIC, b"{}", signature=bytes(64)))


@attack("keys of garbage", "pubsub", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Messages with a key that is none and an author that is a hash."""
    await _messages(
        to, out, lambda peer, n: message(peer.key, TOPIC, b"{}", key=b"\x99garbage", from_id=b"\x12\x20" + bytes(32))
    )


@attack("no author", "pubsub", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Messages of nobody."""
    await _messages(to, out, lambda peer, n: message(peer.key, TOPIC, b"{}", from_id=b""))


@attack("in another's name", "pubsub", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Messages that name another author than whose key signed."""
    other = b"\x00\x24\x08\x01\x12\x20" + bytes(SigningKey.generate().verify_key)
    await _messages(to, out, lambda peer, n: message(peer.key, TOPIC, b"{}", from_id=other))


@attack("odd numbers", "pubsub", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Messages with a number of one byte."""
    await _messages(to, out, lambda peer, n: message(peer.key, TOPIC, b"%d" % n, seqno=b"%d" % (n % 10)))


@attack("messages to many topics", "pubsub", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Messages to five topics at once."""
    await _messages(to, out, lambda peer, n: message(peer.key, TOPIC, b"{}", topics=topics.STATIC))


@attack("one message again and again", "pubsub", End.DISCONNECTED, End.IGNORED, cpu_s=3.0)
async def _(to: Target, out: Outcome) -> None:
    """The same message fifty thousand times."""
    async with gossiping(to) as (peer, stream):
        same = rpc(*[enveloped(peer)] * 500)
        with out.storm():
            for _ in range(100):
                await stream.send(prefixed(same))
                out.sent_out(500)
        await out.settle(peer, 1.5)


@attack("storm of well-signed messages", "pubsub", End.DISCONNECTED, cpu_s=5.0, grows_mib=16)
async def _(to: Target, out: Outcome) -> None:
    """As many messages as can be signed, for three seconds."""
    async with gossiping(to) as (peer, stream):
        with out.storm(), trio.move_on_after(6):
            while True:
                await stream.send(prefixed(rpc(*(enveloped(peer) for _ in range(200)))))
                out.sent_out(200)
        await out.settle(peer, 1.5)


@attack("a message of 400 KB", "pubsub", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Messages over the limit of 256 KiB."""
    await _messages(to, out, lambda peer, n: message(peer.key, TOPIC, b"%d" % n + b"x" * 400_000), n=15)


# -- envelopes ---------------------------------------------------------------------------------------------------------


@attack("not an envelope", "wire", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Well-signed messages that hold no envelope."""
    await _messages(to, out, lambda peer, n: message(peer.key, TOPIC, b"hello %d" % n))


@attack("invalid UTF-8", "wire", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Envelopes with bytes that are no text."""
    await _messages(
        to, out, lambda peer, n: message(peer.key, TOPIC, json.dumps(said(peer)).encode().replace(b"foul", b"\xff\xfe"))
    )


@attack("deep nesting", "wire", End.DISCONNECTED, End.IGNORED)
async def _(to: Target, out: Outcome) -> None:
    """Envelopes with fifty thousand brackets within one another."""
    nested = b"[" * 50_000 + b"]" * 50_000
    await _messages(
        to,
        out,
        lambda peer, n: message(peer.key, TOPIC, json.dumps(said(peer, data=7)).encode().replace(b"7", nested, 1)),
        n=15,
    )


@attack("numbers without end", "wire", End.DISCONNECTED, End.IGNORED)
async def _(to: Target, out: Outcome) -> None:
    """Envelopes with numbers of ten thousand digits, infinities and what is no number."""
    odd = ("9" * 10_000, "1e999999", "-0.0e-99999", "NaN", "Infinity", "-" + "9" * 4301)

    def make(peer: Foul, n: int) -> bytes:
        raw = json.dumps(said(peer, hop_count="HERE", data={"x": "HERE"})).replace('"HERE"', odd[n % len(odd)])
        return message(peer.key, TOPIC, raw.encode())

    await _messages(to, out, make)


@attack("wrong schema", "wire", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Envelopes of a known type with the payload of another."""
    await _messages(to, out, lambda peer, n: enveloped(peer, type="task_claim", data={"no": "such"}))


@attack("the envelope names another", "wire", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Envelopes in the name of an honest member, signed by the attacker."""
    await _messages(to, out, lambda peer, n: enveloped(peer, **{"from": to.member}))


@attack("a stranger's messages", "wire", End.IGNORED, End.DISCONNECTED, cpu_s=2.0)
async def _(to: Target, out: Outcome) -> None:
    """A thousand valid messages of an author that is no member."""
    await _messages(to, out, lambda peer, n: enveloped(peer, type="something.new"), n=1000, hung_up_s=0.2)


@attack("many authors", "wire", End.IGNORED, End.DISCONNECTED, cpu_s=3.0)
async def _(to: Target, out: Outcome) -> None:
    """A thousand authors nobody knows, one message each."""

    def make(peer: Foul, n: int) -> bytes:
        key = SigningKey.generate()
        from agent_core.identity.peer_id import peer_id_of

        plain = said(peer, type="something.new") | {"from": peer_id_of(bytes(key.verify_key))}
        return message(key, TOPIC, json.dumps(plain).encode())

    await _messages(to, out, make, n=1000, hung_up_s=0.2)


@attack("ancient and future clocks", "wire", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Messages of 1970 and of 9999."""

    def make(peer: Foul, n: int) -> bytes:
        at = 1000 if n % 2 else 253_402_300_799_000
        return enveloped(peer, type="something.new", hlc=pack(at), sent_at=rfc3339(at))

    await _messages(to, out, make, n=200, hung_up_s=0.2)


@attack("types nobody knows", "wire", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Five hundred types nobody knows."""
    await _messages(to, out, lambda peer, n: enveloped(peer, type=f"none.{n}"), n=500, hung_up_s=0.2)


@attack("feed heads that lie", "wire", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Announces heads of an honest member's feed with garbage for checkpoints."""

    def make(peer: Foul, n: int) -> bytes:
        data = {"author": to.member, "epoch": 0, "size": 1 << 39, "root": "00" * 32, "checkpoint": "lies\n" * 50}
        return message(peer.key, topics.FEEDS, json.dumps(said(peer, type="feed.head", data=data)).encode())

    await _messages(to, out, make, n=200, hung_up_s=0.2)
