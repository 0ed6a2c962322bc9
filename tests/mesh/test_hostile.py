"""What a hostile or broken peer may do to a node: nothing. Each attacker is a bare libp2p host; each victim also serves an honest peer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio

from agent_core.mesh import LibP2PNetwork
from agent_core.network import Stream, StreamClosed, Verdict
from tests.support.meshes import config, running
from tests.support.network_conformance import ECHO, TOPIC, Ear, ears_of, echo, eventually

pytestmark = pytest.mark.real

MESHSUB = "/meshsub/1.1.0"


class Attacker:
    """A bare libp2p host that says hello like an honest node, and then doesn't behave."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.peer_id = str(host.get_id())

    async def connect(self, victim: LibP2PNetwork) -> None:
        """Connect and say hello."""
        from libp2p.peer.peerinfo import info_from_p2p_addr
        from multiaddr import Multiaddr

        await self.host.connect(info_from_p2p_addr(Multiaddr(victim.addresses[0])))
        stream = await self.open(victim, "/chorus/hello/1.0.0")
        await stream.send(b'{"v":1,"network":"test"}')
        await stream.receive()

    async def open(self, victim: LibP2PNetwork, protocol: str) -> Any:
        """A framed stream to the victim."""
        from agent_core.mesh.streams import FramedStream

        return FramedStream(await self.raw(victim, protocol), victim.peer_id, 1 << 24)

    async def raw(self, victim: LibP2PNetwork, protocol: str) -> Any:
        """A libp2p stream to the victim."""
        from libp2p.peer.id import ID

        return await self.host.new_stream(ID.from_base58(victim.peer_id), [protocol])

    def message(self, number: int, data: bytes, **fields: Any) -> Any:
        """A correctly signed gossip message, or one with some fields replaced."""
        from libp2p.pubsub.pb import rpc_pb2

        message = rpc_pb2.Message(
            data=data, topicIDs=[TOPIC], from_id=self.host.get_id().to_bytes(), seqno=number.to_bytes(8, "big")
        )
        message.signature = self.host.get_private_key().sign(b"libp2p-pubsub:" + message.SerializeToString())
        for name, value in fields.items():
            setattr(message, name, value)
        return message


def framed(body: bytes) -> bytes:
    """A varint-prefixed frame."""
    from libp2p.utils import encode_varint_prefixed

    return bytes(encode_varint_prefixed(body))


@asynccontextmanager
async def attacker(seed: int = 9, **security: Any) -> AsyncIterator[Attacker]:
    """Run an attacker's host."""
    from libp2p import new_host
    from libp2p.crypto.ed25519 import create_new_key_pair
    from multiaddr import Multiaddr

    from agent_core.mesh.entrance import Entrance
    from agent_core.mesh.host import build_host
    from agent_core.mesh.peers import PeerTable

    if security:
        host = new_host(key_pair=create_new_key_pair(bytes([seed]) * 32), **security)
    else:
        host = build_host(config(seed), PeerTable(), Entrance())
    async with host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        sockets: list[Any] = []
        for transport in host.get_network().transport_manager.get_transports():
            transport.dial = _recording(transport.dial, sockets)
        try:
            yield Attacker(host)
        finally:
            with trio.CancelScope(shield=True):
                await host.get_network().close()
            for sock in sockets:
                sock.socket.close()


def _recording(dial: Any, sockets: list[Any]) -> Any:
    async def recorded(address: Any) -> Any:
        raw = await dial(address)
        sockets.append(raw.stream.stream)
        return raw

    return recorded


@pytest.fixture
async def pair() -> AsyncIterator[list[LibP2PNetwork]]:
    """A victim and its honest peer, with gossip flowing."""
    async with running(config(1)) as (victim,), running(config(2, victim.addresses[0])) as (honest,):
        await eventually(lambda: victim.peers() and honest.peers())
        victim.handle(ECHO, echo)
        yield [victim, honest]


async def all_is_well(victim: LibP2PNetwork, honest: LibP2PNetwork, ears: list[Ear]) -> None:
    """Gossip and streams work as before, and nothing was rebuilt."""
    for source, ear in ((honest, ears[0]), (victim, ears[1])):
        payload = b"all is well, says " + source.peer_id.encode() + b"%f" % trio.current_time()
        await source.publish(TOPIC, payload)
        await ear.hears(payload)
    stream = await honest.open(victim.peer_id, ECHO)
    await stream.send(b"frame")
    with trio.fail_after(5):
        assert await stream.receive() == b"frame"
    assert victim.statistics().rebuilds == honest.statistics().rebuilds == 0


async def test_gossip_frames_of_garbage_cost_their_stream(pair: list[LibP2PNetwork]) -> None:
    ears = await ears_of(pair)
    victim = pair[0]
    async with attacker() as bad:
        await bad.connect(victim)
        await eventually(lambda: len(victim.peers()) == 2)
        from libp2p.pubsub.pb import rpc_pb2

        garbage = [
            framed(b"\xff\xfe\xfd this is not protobuf"),
            b"\xff" * 32,
            framed(b"\x00" * 1000),
            b"\x80\x80\x80\x10" + b"x" * 100,
        ]
        messages = [
            bad.message(1, b"no key", key=b"\x99garbage", from_id=b"\x12\x20" + b"\x00" * 32),
            bad.message(2, b"no author", from_id=b""),
            bad.message(3, b"forged", signature=bytes(64)),
            bad.message(4, b"in the victim's name", from_id=b"\x00\x24\x08\x01\x12\x20" + bytes(32)),
            bad.message(5, b"odd number", seqno=b"\x01"),
        ]
        for frame in garbage + [framed(rpc_pb2.RPC(publish=[m]).SerializeToString()) for m in messages]:
            try:
                stream = await bad.raw(victim, MESHSUB)
                await stream.write(frame)
            except Exception:
                break  # by now it may be refused
            await trio.sleep(0.02)
        await all_is_well(victim, pair[1], ears)
    heard = set(ears[0].payloads()) | set(ears[1].payloads())
    assert heard.isdisjoint({b"no key", b"no author", b"forged", b"odd number", b"in the victim's name"})


async def test_a_signed_message_of_an_attacker_is_judged_like_any_other(pair: list[LibP2PNetwork]) -> None:
    """The attacker's messages do get through when they are valid: so the tests around this one show something."""
    from libp2p.pubsub.pb import rpc_pb2

    ears = await ears_of(pair)
    async with attacker() as bad:
        await bad.connect(pair[0])
        stream = await bad.raw(pair[0], MESHSUB)
        await stream.write(framed(rpc_pb2.RPC(publish=[bad.message(1, b"valid")]).SerializeToString()))
        await ears[1].hears(b"valid")


async def test_a_plaintext_dialer_is_refused(pair: list[LibP2PNetwork]) -> None:
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport

    ears = await ears_of(pair)
    plain = {PLAINTEXT_PROTOCOL_ID: InsecureTransport(create_new_key_pair(bytes([9]) * 32))}
    async with attacker(sec_opt=plain) as bad:
        with pytest.raises(Exception, match=r"unable to connect|fail"):
            await bad.connect(pair[0])
        assert bad.peer_id not in {peer.peer_id for peer in pair[0].peers()}
        await all_is_well(*pair, ears)


async def test_bytes_that_are_no_handshake_change_nothing(pair: list[LibP2PNetwork]) -> None:
    ears = await ears_of(pair)
    port = int(pair[0].addresses[0].split("/")[4])
    for body in (b"GET / HTTP/1.1\r\n\r\n", b"\x13/multistream/1.0.0\n" + b"\xff" * 500, b""):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(body)
    await all_is_well(*pair, ears)


async def test_who_says_no_hello_gets_nothing(pair: list[LibP2PNetwork]) -> None:
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from libp2p.pubsub.pb import rpc_pb2
    from multiaddr import Multiaddr

    ears = await ears_of(pair)
    async with attacker() as bad:
        await bad.host.connect(info_from_p2p_addr(Multiaddr(pair[0].addresses[0])))
        stream = await bad.raw(pair[0], MESHSUB)
        await stream.write(framed(rpc_pb2.RPC(publish=[bad.message(1, b"uninvited")]).SerializeToString()))
        with trio.move_on_after(0.5):
            framed_stream = await bad.open(pair[0], ECHO)
            await framed_stream.send(b"anybody?")
            raise AssertionError(await framed_stream.receive())
        assert len(pair[0].peers()) == 1
        await all_is_well(*pair, ears)
        assert b"uninvited" not in ears[0].payloads() + ears[1].payloads()


async def test_a_storm_is_dropped_the_sender_refused_and_honest_traffic_goes_on(pair: list[LibP2PNetwork]) -> None:
    from libp2p.pubsub.pb import rpc_pb2

    ears = await ears_of(pair)
    victim, honest = pair
    async with attacker() as bad:
        await bad.connect(victim)
        stream = await bad.raw(victim, MESHSUB)
        async with trio.open_nursery() as nursery:

            async def storm() -> None:
                number = 0
                try:
                    while True:
                        batch = [bad.message(number + n, b"storm %d" % (number + n)) for n in range(200)]
                        number += 200
                        await stream.write(framed(rpc_pb2.RPC(publish=batch).SerializeToString()))
                except Exception:
                    return

            nursery.start_soon(storm)
            for n in range(20):
                await honest.publish(TOPIC, b"honest %d" % n)
                await trio.sleep(0.02)
            for n in range(20):
                await ears[0].hears(b"honest %d" % n)
            await eventually(lambda: victim.statistics().graylisted == 1, 15)
            await eventually(lambda: bad.peer_id not in {p.peer_id for p in victim.peers()})
        assert victim.statistics().over_budget > 100
        assert "refused for a while" in victim.notes[-1]  # type: ignore[attr-defined]
        with pytest.raises(Exception):  # noqa: B017  (libp2p has many ways to say so)
            await bad.connect(victim)
        await all_is_well(victim, honest, ears)


async def test_relaying_what_the_judge_rejects_ends_in_the_graylist(pair: list[LibP2PNetwork]) -> None:
    from libp2p.pubsub.pb import rpc_pb2

    ears = await ears_of(pair)
    for ear in ears:
        ear.verdicts = {b"forbidden %d" % n: Verdict.REJECT for n in range(20)}
    async with attacker() as bad:
        await bad.connect(pair[0])
        stream = await bad.raw(pair[0], MESHSUB)
        with suppress(Exception):  # it may be refused before it is through
            for n in range(20):
                rpc = rpc_pb2.RPC(publish=[bad.message(n, b"forbidden %d" % n)])
                await stream.write(framed(rpc.SerializeToString()))
                await trio.sleep(0.01)
        await eventually(lambda: pair[0].statistics().graylisted == 1)
        await all_is_well(*pair, ears)


async def test_hostile_batches_are_refused_whole_and_a_bad_message_in_a_batch_alone(pair: list[LibP2PNetwork]) -> None:
    from libp2p.pubsub.pb import rpc_pb2

    from agent_core.mesh import batch

    ears = await ears_of(pair)
    ears[0].verdicts = {b"bad": Verdict.REJECT, b"unknown": Verdict.IGNORE}
    victim, honest = pair
    async with attacker() as bad:
        await bad.connect(victim)
        stream = await bad.raw(victim, MESHSUB)
        before = victim.statistics()
        nested = batch.pack([batch.pack([b"inner 1", b"inner 2"])])
        batches = (
            b"\x00" + bytes(4) * 10_000,  # ten thousand messages of nothing
            b"\x00",
            b"\x00\xff\xff\xff\xff",
            batch.pack([b"cut", b"off"])[:-1],
            nested,
            batch.pack([b"good", b"bad", b"good too"]),
            batch.pack([b"unknown", b"known", b"known too"]),
        )
        for number, data in enumerate(batches):
            await stream.write(framed(rpc_pb2.RPC(publish=[bad.message(number, data)]).SerializeToString()))
        await ears[1].hears(b"known too")
        after = victim.statistics()
        assert after.rejected - before.rejected == 4 + 1, "the four that are no batches, and the one bad message"
        assert after.ignored - before.ignored == 1
        assert set(ears[0].payloads()) >= {b"good", b"good too", b"known", b"known too"}
        assert {b"bad", b"cut", b"inner 1", b"unknown"}.isdisjoint(ears[0].payloads())
        assert batch.pack([b"inner 1", b"inner 2"]) in ears[0].payloads(), (
            "what is in a batch is a message, whatever it is"
        )
        assert b"unknown" in ears[1].judged, "a message that is only ignored travels along"
        assert b"good" not in ears[1].judged, "a batch with a bad message isn't relayed"
        assert honest.statistics().rejected == 0, "so that whoever relays is never to blame"
        await all_is_well(victim, honest, ears)


async def test_frames_over_the_limit_and_half_frames_cost_their_stream(pair: list[LibP2PNetwork]) -> None:
    ears = await ears_of(pair)
    ends: list[str] = []

    async def read(stream: Stream) -> None:
        try:
            while True:
                await stream.receive()
        except StreamClosed as error:
            ends.append(str(error))
            raise

    pair[0].handle("/chorus/test-read/1.0.0", read)
    async with attacker() as bad:
        await bad.connect(pair[0])
        for body in (b"\xff\xff\xff\xff" + b"x" * 100, b"\x00\x00\x01"):
            stream = await bad.raw(pair[0], "/chorus/test-read/1.0.0")
            await stream.write(body)
            await stream.close()
        await eventually(lambda: len(ends) == 2)
        await all_is_well(*pair, ears)
    assert any("announced a frame of 4294967295 bytes" in end for end in ends)


async def test_one_connection_holds_only_so_many_streams() -> None:
    async with running(config(1, max_inbound_streams=8)) as (victim,), running(config(2)) as (honest,):
        victim.handle(ECHO, echo)
        await honest.dial(victim.addresses[0])
        async with attacker() as bad:
            await bad.connect(victim)
            held = []
            with pytest.raises(Exception):  # noqa: B017, PT012  (libp2p has many ways to say so)
                for _ in range(9):
                    stream = await bad.open(victim, ECHO)
                    await stream.send(b"hold")
                    assert await stream.receive() == b"hold"
                    held.append(stream)
            assert 4 <= len(held) <= 8
            stream = await honest.open(victim.peer_id, ECHO)
            await stream.send(b"still served")
            with trio.fail_after(5):
                assert await stream.receive() == b"still served"
