"""The replaced hot path: it notices when libp2p's internals move, its bytes are those of the specifications, its buffers bounded."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import ConnectionClosedError, IncompleteReadError, MessageTooLarge
from libp2p.network.stream.net_stream import NetStream
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb.rpc_pb2 import RPC, Message
from libp2p.pubsub.validators import signature_validator
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import FLAG_FIN, TYPE_DATA, TYPE_WINDOW_UPDATE, Yamux, YamuxStream

from agent_core.mesh import compat, hotpath
from agent_core.mesh.conduct import GossipCounters
from agent_core.mesh.gossip import _Router, frames
from agent_core.mesh.outbox import MAX_BYTES, MAX_CONTROL_BYTES, Outbox
from agent_core.mesh.seen import Seen
from agent_core.mesh.signing import Authors, signed

HEADER = struct.Struct("!BBHII")


@pytest.fixture(scope="module", autouse=True)
def patched() -> None:
    compat.apply()


@pytest.mark.parametrize("row", range(len(hotpath.RELIED_ON)))
def test_a_function_relied_on_that_changed_is_noticed(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    function, parameters = hotpath.RELIED_ON[row]
    compat.check()
    changed = ((function, (*parameters, "new")),)
    monkeypatch.setattr(compat, "_RELIED_ON", changed)
    with pytest.raises(RuntimeError, match="takes"):
        compat.check()


# -- a yamux connection on a secured connection that a test plays --------------------------------------------------


class Secured:
    """A secured connection: what the test feeds is read, what is written is kept, when the gate lets it."""

    is_initiator = True

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[bytes](1000)
        self.written: list[bytes] = []
        self.gate: trio.Event | None = None
        self.conn = SimpleNamespace(read_writer=SimpleNamespace(read_write_closer=None))

    def feed(self, data: bytes) -> None:
        self._send.send_nowait(data)

    async def read(self, n: int | None = None) -> bytes:
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            raise IncompleteReadError("over", expected_bytes=1, received_bytes=0) from None

    async def write(self, data: bytes) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.written.append(data)

    async def close(self) -> None:
        self._send.close()


@pytest.fixture
async def muxer(nursery: trio.Nursery) -> Any:
    secured = Secured()
    muxer = Yamux(secured, ID(b"peer"), is_initiator=True)
    nursery.start_soon(muxer.start)
    await muxer.event_started.wait()
    yield muxer, secured
    nursery.cancel_scope.cancel()


def data_frame(stream: int, data: bytes, flags: int = 0) -> bytes:
    return HEADER.pack(0, TYPE_DATA, flags, stream, len(data)) + data


async def test_a_free_lock_is_taken_without_a_turn_and_a_held_one_waited_for() -> None:
    lock, turns = hotpath._Lock(), 0

    async def other() -> None:
        nonlocal turns
        turns += 1
        async with lock:
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        async with lock:
            assert turns == 0
            await trio.testing.wait_all_tasks_blocked()
            assert turns == 1
    assert turns == 2


async def test_the_locks_of_the_hot_path_are_ours_and_others_of_libp2p_are_noticed(
    muxer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn, _ = muxer
    stream = await conn.open_stream()
    ours = (conn.streams_lock, conn._write_lock, stream.close_lock, NetStream(stream, None, None)._state_lock)
    assert {type(lock) for lock in ours} == {hotpath._Lock}

    class Changed:
        def __init__(self) -> None:
            self.lock = None

    monkeypatch.setattr(Changed, "__init__", hotpath._with_own_locks(Changed.__init__, ("lock",)))
    with pytest.raises(RuntimeError, match=r"Changed\.lock is no trio\.Lock"):
        Changed()


async def test_a_connection_is_told_of_and_a_stream_is_not() -> None:
    told: list[str] = []

    class Notifee:
        def __getattr__(self, name: str) -> Any:
            async def tell(*args: object) -> None:
                told.append(name)

            return tell

    swarm = SimpleNamespace(notifees=[Notifee()])
    for method in ("opened_stream", "connected", "closed_stream", "disconnected"):
        await Swarm._notify(swarm, method, None)
    assert told == ["connected", "disconnected"]


def test_nobody_is_chosen_to_be_told_of_messages_while_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    router = _Router([PROTOCOL_ID_V11], 6, 4, 12, gossip_window=3, gossip_history=5)
    monkeypatch.setattr(GossipSub, "gossip_heartbeat", lambda self: {"peer": {}})
    assert router.gossip_heartbeat() == {}
    router.mcache.put(Message(from_id=b"a", seqno=b"1", topicIDs=["t"]))
    told = []
    for _ in range(5):
        told.append(bool(router.gossip_heartbeat()))
        router.mcache.shift()
    assert told == [True, True, True, False, False]


async def test_plain_frames_reach_their_stream_however_they_are_cut_and_a_fin_ends_it(muxer: Any) -> None:
    conn, secured = muxer
    stream: YamuxStream = await conn.open_stream()
    body = bytes(range(256)) * 20
    wire = b"".join(data_frame(1, body[n : n + 100]) for n in range(0, len(body), 100)) + data_frame(
        1, b"end", FLAG_FIN
    )
    for n in range(0, len(wire), 37):
        secured.feed(wire[n : n + 37])
    got = b""
    while len(got) < len(body) + 3:
        got += await stream.read(1000)
    assert got == body + b"end"
    with pytest.raises(Exception, match="closed"):
        await stream.read(1)


async def test_the_window_is_topped_up_by_halves_and_a_peer_that_ignores_it_is_disconnected(muxer: Any) -> None:
    conn, secured = muxer
    stream: YamuxStream = await conn.open_stream()
    for _ in range(3):
        secured.feed(data_frame(1, bytes(64 * 1024)))
    read = 0
    while read < 3 * 64 * 1024:
        read += len(await stream.read(10_000))
    await trio.testing.wait_all_tasks_blocked()
    updates = [HEADER.unpack(w) for w in secured.written if w[1] == TYPE_WINDOW_UPDATE and not w[3]]
    assert len(updates) == 1
    assert 128 * 1024 <= updates[0][4] < 128 * 1024 + 10_000
    for _ in range(4):
        secured.feed(data_frame(1, bytes(64 * 1024)))
    await conn.event_closed.wait()


async def test_what_is_sent_together_is_written_together_and_respects_the_window(
    muxer: Any, autojump_clock: Any
) -> None:
    conn, secured = muxer
    stream: YamuxStream = await conn.open_stream()
    await trio.testing.wait_all_tasks_blocked()
    secured.written.clear()
    for number in range(10):
        await stream.write(b"%d" % number)
    await trio.testing.wait_all_tasks_blocked()
    assert secured.written == [b"".join(data_frame(1, b"%d" % n) for n in range(10))]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.write, bytes(256 * 1024))  # ten bytes more than the window
        await trio.testing.wait_all_tasks_blocked()
        assert stream.send_window == 0
        secured.feed(HEADER.pack(0, TYPE_WINDOW_UPDATE, 0, 1, 10))
    with pytest.raises(MuxedStreamError, match="window"):
        await stream.write(b"and nobody gives a window")


async def test_a_cancelled_sender_leaves_whole_frames_and_one_that_sends_too_much_waits(muxer: Any) -> None:
    conn, secured = muxer
    stream: YamuxStream = await conn.open_stream()
    stream.send_window = 1 << 30
    await trio.testing.wait_all_tasks_blocked()
    secured.gate = trio.Event()
    secured.written.clear()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.write, bytes(10 * hotpath.MAX_WAITING_BYTES))
            await trio.testing.wait_all_tasks_blocked()
            out = conn.chorus_out
            assert hotpath.MAX_WAITING_BYTES < out._size + out._under_way < 2 * hotpath.MAX_WAITING_BYTES
            scope.cancel()
    secured.gate.set()
    await trio.testing.wait_all_tasks_blocked()
    wire, at = b"".join(secured.written), 0
    while at < len(wire):
        *_, length = HEADER.unpack_from(wire, at)
        at += HEADER.size + length
    assert at == len(wire) > 0


async def test_a_connection_whose_writing_fails_lets_nobody_wait(muxer: Any) -> None:
    conn, secured = muxer
    stream: YamuxStream = await conn.open_stream()
    stream.send_window = 1 << 30

    async def broken(data: bytes) -> None:
        raise ConnectionClosedError("gone")

    secured.write = broken
    with pytest.raises(ConnectionClosedError):
        await stream.write(bytes(10 * hotpath.MAX_WAITING_BYTES))


# -- gossip --------------------------------------------------------------------------------------------------------


def test_our_signatures_are_libp2ps_and_its_are_ours() -> None:
    keys = create_new_key_pair(bytes([7]) * 32)
    me = ID.from_pubkey(keys.public_key)
    message = signed("t", b"data", me.to_bytes(), bytes(8), keys.private_key.sign)
    assert signature_validator(message)
    assert Authors().verified(message) == str(me)
    for field, value in {
        "data": b"other",
        "seqno": bytes(7) + b"1",
        "signature": bytes(64),
        "from_id": b"\x12\x20",
    }.items():
        forged = Message()
        forged.CopyFrom(message)
        setattr(forged, field, value)
        assert Authors().verified(forged) is None
    del message.topicIDs[:]
    assert Authors().verified(message) is None


def test_frames_are_cut_wherever_the_reads_were_and_bad_lengths_refused() -> None:
    wire = b"".join(bytes([len(body)]) + body for body in (b"one", b"", b"three" * 5)) + b"\x80\x01" + bytes(128)
    for size in (1, 2, 7, 500):
        buffer, found = bytearray(), []
        for at in range(0, len(wire), size):
            buffer += wire[at : at + size]
            found += frames(buffer, 1000)
        assert found == [b"one", b"", b"three" * 5, bytes(128)]
        assert not buffer
    with pytest.raises(MessageTooLarge):
        frames(bytearray(b"\xff\xff\xff\x7f"), 1000)
    with pytest.raises(ParseError):
        frames(bytearray(b"\x80" * 11), 1000)


async def test_an_outbox_gives_control_first_keeps_its_bounds_and_loses_the_oldest() -> None:
    outbox, counters = Outbox(), GossipCounters()
    for number in range(10):
        outbox.push_frame(bytes([number]))
    hello = RPC(subscriptions=[RPC.SubOpts(subscribe=True, topicid="t")])
    assert outbox.push(hello)
    serialized = hello.SerializeToString()
    assert await outbox.take() == bytes([len(serialized)]) + serialized + bytes(range(10))
    for number in range(200):
        assert outbox.push_frame(bytes([number]) * (MAX_BYTES // 100))
        if number == 149:  # from here on it is sent from, and what it dropped is counted in the mesh's numbers
            counters.note_unsent(outbox.dropped)
            outbox.on_drop = counters.note_unsent
    assert outbox.waiting_bytes <= MAX_BYTES
    assert outbox.dropped == counters.unsent == 100
    assert outbox.is_full
    assert (await outbox.take())[0] == 100
    big = RPC(subscriptions=[RPC.SubOpts(subscribe=True, topicid="t" * (MAX_CONTROL_BYTES // 2))])
    assert [outbox.push(big) for _ in range(3)] == [True, False, False]
    outbox.close()
    assert not outbox.push_frame(b"x")


async def test_whoever_waits_for_an_outbox_is_told_of_room_and_of_its_end() -> None:
    for end in (False, True):
        outbox = Outbox()
        outbox.push_frame(bytes(300 * 1024))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.has_room)
            await trio.testing.wait_all_tasks_blocked()
            if end:
                outbox.close()
            else:
                await outbox.take()


def test_seen_forgets_by_age_and_number() -> None:
    now = 0.0
    seen = Seen(keep_s=10, most=3, now=lambda: now)
    assert [seen.add(b"a"), seen.add(b"a"), seen.add(b"b")] == [True, False, True]
    now = 9
    seen.add(b"c")
    seen.add(b"d")
    assert [seen.has(id) for id in (b"a", b"b", b"c", b"d")] == [False, True, True, True]
    now = 11
    assert not seen.has(b"b")
    seen.add(b"e")
    assert len(seen) == 3
