"""Gossip: libp2p's GossipSub keeps the mesh; what is said in it is read, verified, judged, batched and sent by us."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import MessageTooLarge
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb.rpc_pb2 import RPC
from libp2p.pubsub.pubsub import Pubsub
from libp2p.utils.varint import encode_uvarint

from agent_core.budget import Bucket
from agent_core.mesh import batch
from agent_core.mesh.conduct import Conduct, GossipCounters
from agent_core.mesh.config import MeshConfig
from agent_core.mesh.hotpath import consume_record
from agent_core.mesh.outbox import Outbox
from agent_core.mesh.publisher import Publisher
from agent_core.mesh.rpcs import cut, drop_unsigned
from agent_core.mesh.seen import Seen
from agent_core.mesh.signing import Authors, signed
from agent_core.network import Judge, Offence, Receiver, Verdict

log = logging.getLogger("chorus.mesh")

_READ_BYTES = 64 * 1024
#: Gossip messages of one peer that are taken in before others get a turn.
_TURN_MESSAGES = 64
_MAX_RPC_BYTES = 1024 * 1024
#: Field 2 (``publish``), length-delimited, of a pubsub RPC.
_PUBLISH_TAG = b"\x12"
_SEQNO_BYTES = 8


class _Router(GossipSub):  # type: ignore[misc]  # libp2p is untyped
    """GossipSub that looks for somebody to tell of messages only when there are any."""

    def gossip_heartbeat(self) -> Any:
        """Whom to tell of which messages, by topic; libp2p's chooses peers for every topic first."""
        recent = any(self.mcache.history[: self.mcache.window_size])
        return super().gossip_heartbeat() if recent else {}


class Gossip(Pubsub):  # type: ignore[misc]  # libp2p is untyped
    """Pubsub over GossipSub 1.1 with strict signing.

    Args:
        host: the libp2p host; must not have connected to anybody yet.
        config: heartbeat and bounds.
        conduct: keeps the budgets and takes note of rejected messages.
        wait_admitted: waits until the hello on a stream's connection went through; raises when it doesn't.
        expel: called with a peer that has just been graylisted.
        counters: kept across rebuilds.
    """

    def __init__(
        self,
        host: Any,
        config: MeshConfig,
        conduct: Conduct,
        wait_admitted: Callable[[Any], Awaitable[object]],
        expel: Callable[[str], None],
        counters: GossipCounters,
    ) -> None:
        router = _Router(
            [PROTOCOL_ID_V11],
            degree=6,
            degree_low=4,
            degree_high=12,
            heartbeat_interval=config.gossip_heartbeat_s,
            gossip_window=3,
            gossip_history=5,
            do_px=False,
            prune_back_off=10,
            unsubscribe_back_off=1,
            spam_protection_enabled=False,
            adaptive_gossip_enabled=False,
            eclipse_protection_enabled=False,
        )
        super().__init__(
            host, router, strict_signing=True, max_inbound_rpc_size=_MAX_RPC_BYTES, max_subscriptions_per_peer=512
        )
        # Seconds, libp2p's choice, would repeat after a restart, and everything with a repeated number is dropped.
        self.counter = time.time_ns()
        vars(self)["seen_messages"].stop()  # libp2p's has a thread that sweeps it
        self.seen_messages: Any = Seen()
        self._conduct = conduct
        self._wait_admitted = wait_admitted
        self._expel = expel
        self._authors = Authors()
        # Half of what a peer takes from us; the other half is for what we relay.
        self._publisher = Publisher(
            self._send,
            self._room,
            Bucket(config.messages_per_s / 2, config.message_burst / 2),
            Bucket(config.bytes_per_s / 2, config.byte_burst / 2),
        )
        self.counters = counters
        self.judge: Judge | None = None
        self.receiver: Receiver | None = None
        self._self = str(self.my_id)
        self._self_bytes = self.my_id.to_bytes()

    async def run(self) -> None:
        """Serve until cancelled."""
        self.manager.run_daemon_task(self._publisher.run)
        await super().run()

    # -- topics ----------------------------------------------------------------------------------------------------

    async def join(self, topic: str) -> None:
        """Subscribe."""
        await self.subscribe(topic)

    async def leave(self, topic: str) -> None:
        """Unsubscribe."""
        await self.unsubscribe(topic)

    async def _handle_new_peer(self, peer_id: Any) -> None:
        """libp2p's, with what was joined or left while its list of our topics was on the way to the peer: that would get lost."""
        before = set(self.topic_ids)
        await super()._handle_new_peer(peer_id)
        queue = self.peer_queues.get(peer_id)
        for topic in before ^ set(self.topic_ids):
            if queue is not None:
                queue.push(self._build_announce_rpc(topic, topic in self.topic_ids)[0])

    # -- what comes in ---------------------------------------------------------------------------------------------

    async def stream_handler(self, stream: Any) -> None:
        """Read a peer's gossip stream; whatever it sends costs that stream at most."""
        try:
            await self._wait_admitted(stream.muxed_conn)
            await super().stream_handler(stream)
        except Exception as error:
            self._fenced("reading gossip", error)
            await stream.reset()
            self._handle_dead_peer(stream.muxed_conn.peer_id)

    def admit_frame(self, rpc: Any, peer: Any) -> bool:
        """Cut a gossip frame down to what somebody honest would send; whether to look at it at all."""
        relay, now = str(peer), time.monotonic()
        if self._conduct.is_refused(relay, now):
            self._expel(relay)
            return False
        frames, arrivals, control = self._conduct.rations(relay, now)
        if not frames.take(1, now):
            self._offended(relay, Offence.CONTROL, now)
            return False
        dropped, too_much = cut(rpc, self.topic_ids, arrivals, control, now)
        unsigned = drop_unsigned(rpc)
        if unsigned:
            self.counters.rejected += unsigned
            self._offended(relay, Offence.MESSAGE, now, unsigned)
        if dropped:
            self._conduct.dropped += dropped
            self._offended(relay, Offence.BUDGET, now, dropped)
        if too_much:
            self._offended(relay, Offence.CONTROL, now)
        return not self._conduct.is_refused(relay, now)

    async def continuously_read_stream(self, stream: Any) -> None:
        """Take in what a peer sends until its stream ends.

        Raises:
            ParseError: what it sends is no gossip, or is too long; the stream is reset then.
        """
        peer_id = stream.muxed_conn.peer_id
        buffer = bytearray()
        while self.manager.is_running and (chunk := await stream.read(_READ_BYTES)):
            buffer += chunk
            for frame in frames(buffer, _MAX_RPC_BYTES):
                try:
                    await self._take_rpc(peer_id, RPC.FromString(frame))
                except Exception as error:
                    raise ParseError(f"a gossip frame can't be read: {type(error).__name__} {error}") from error

    async def _take_rpc(self, peer_id: Any, rpc: Any) -> None:
        """One frame of a peer: its messages, its subscriptions, its control messages."""
        if not self.admit_frame(rpc, peer_id) or not consume_record(rpc, self.host, peer_id):
            return
        relay = str(peer_id)
        for number, message in enumerate(rpc.publish, 1):
            self.take(peer_id, relay, message)
            if number % _TURN_MESSAGES == 0:
                await trio.lowlevel.checkpoint()
                if self._conduct.is_refused(relay, time.monotonic()):
                    return
        if len(rpc.subscriptions) <= self.max_subscriptions_per_rpc:
            for subscription in rpc.subscriptions:
                self.handle_subscription(peer_id, subscription)
        if rpc.HasField("control"):
            await self.router.handle_rpc(rpc, peer_id)

    def take(self, peer_id: Any, relay: str, message: Any) -> None:
        """Take one signed frame of messages in: new, of a topic joined, within the budget, signed, judged. Never raises."""
        try:
            message_id = message.from_id + message.seqno
            topics = message.topicIDs
            if self.seen_messages.has(message_id) or not any(topic in self.topic_ids for topic in topics):
                return
            if len(topics) != 1 or len(message.seqno) != _SEQNO_BYTES:
                self.reject(relay)
                return
            payloads = batch.unpack(message.data)
            self.counters.received += len(payloads)
            now = time.monotonic()
            if not self._conduct.admit(relay, message.ByteSize(), now, len(payloads)):
                if self._conduct.is_refused(relay, now):
                    self._expel(relay)
                return
            if message.from_id == self._self_bytes:
                return  # of an earlier life of ours: signed or not, nothing that is news here
            author = self._authors.verified(message)
            if author is None:
                self.reject(relay)
                return
            self.seen_messages.add(message_id)
            if self._judge_all(topics[0], relay, author, payloads):
                self._route(message, peer_id, message.from_id)
        except batch.Malformed as error:
            log.debug("%s sent %s", relay, error)
            self.reject(relay)
        except Exception as error:
            self._fenced("a gossip message", error)
            self.reject(relay)

    def _judge_all(self, topic: str, relay: str, author: str, payloads: Sequence[bytes]) -> bool:
        """Judge each message of a frame and deliver those accepted; whether the frame is worth relaying.

        It can only be relayed whole, as its author signed it: with a message in it that any honest relay refuses, it isn't. Messages
        that are only ignored travel along, which counts against nobody, unless there are more of them than of the others.
        """
        verdicts = [self._judge_one(topic, relay, author, payload) for payload in payloads]
        accepted = verdicts.count(Verdict.ACCEPT)
        return Verdict.REJECT not in verdicts and accepted > 0 and 2 * accepted >= len(verdicts)

    def _judge_one(self, topic: str, relay: str, author: str, payload: bytes) -> Verdict:
        verdict = Verdict.IGNORE
        if self.judge is not None:
            try:
                verdict = self.judge(topic, relay, payload, author)
            except Exception as error:
                self._fenced("the judge", error)
        if verdict is Verdict.ACCEPT:
            self.counters.accepted += 1
            self._deliver(topic, relay, payload)
        elif verdict is Verdict.REJECT:
            self.reject(relay)
        else:
            self.counters.ignored += 1
        return verdict

    def _deliver(self, topic: str, relay: str, payload: bytes) -> None:
        if self.receiver is not None and topic in self.topic_ids:
            try:
                self.receiver(topic, relay, payload)
            except Exception as error:
                self._fenced("the receiver", error)

    def reject(self, relay: str) -> None:
        """Note that a peer sent what no honest one would; it may be graylisted for it, and is disconnected then."""
        self.counters.rejected += 1
        self._offended(relay, Offence.MESSAGE, time.monotonic())

    def _offended(self, relay: str, offence: Offence, now: float, times: int = 1) -> None:
        if self._conduct.offended(relay, offence, now, times):
            self._expel(relay)

    def _fenced(self, what: str, error: Exception) -> None:
        self.counters.raised += 1
        log.warning("%s raised %s: %s", what, type(error).__name__, error)

    # -- what goes out ---------------------------------------------------------------------------------------------

    async def publish(self, topic_id: str, data: bytes) -> None:
        """Say something on a topic; our own receiver hears it at once. Waits while more waits to be sent than anybody takes."""
        await self._publisher.publish(topic_id, data)
        self._deliver(topic_id, self._self, data)

    def flush(self) -> None:
        """Send what still waits for company."""
        self._publisher.flush()

    def _send(self, topic: str, payloads: Sequence[bytes]) -> None:
        try:
            message = signed(topic, batch.pack(payloads), self._self_bytes, self._next_seqno(), self.sign_key.sign)
            self.seen_messages.add(message.from_id + message.seqno)
            self._route(message, self.my_id, self._self_bytes)
        except Exception as error:
            self._fenced("sending gossip", error)

    def _route(self, message: Any, forwarder: Any, author: bytes) -> None:
        """Send a frame on to the mesh, serialised once for everybody; the router keeps it for those who ask for it later."""
        router, topic = self.router, message.topicIDs[0]
        router.mcache.put(message)
        if topic not in router.mesh:
            router.time_since_last_publish[topic] = int(time.time())  # keeps our choice of peers for it alive
        frame = b""
        for peer in router._get_peers_to_send([topic], forwarder, author, message.from_id + message.seqno):
            queue = self.peer_queues.get(peer)
            if queue is not None and peer.to_bytes() != author:
                if not frame:
                    body = message.SerializeToString()
                    rpc = _PUBLISH_TAG + encode_uvarint(len(body)) + body
                    frame = encode_uvarint(len(rpc)) + rpc
                queue.push_frame(frame)

    async def _room(self, topic: str) -> None:
        """Wait while each peer of the topic has as much waiting as is good for it."""
        peers = self.router.mesh.get(topic) or self.router.fanout.get(topic) or ()
        boxes = [box for peer in peers if (box := self.peer_queues.get(peer)) is not None]
        if boxes and all(box.is_full for box in boxes):
            async with trio.open_nursery() as nursery:

                async def until_room(box: Outbox) -> None:
                    await box.has_room()
                    nursery.cancel_scope.cancel()

                for box in boxes:
                    nursery.start_soon(until_room, box)

    async def handle_sending_messages(self, peer_id: Any, stream: Any, queue: Any) -> None:
        """Send what waits for a peer until its outbox is closed."""
        self.counters.note_unsent(queue.dropped)
        queue.on_drop = self.counters.note_unsent
        try:
            while data := await queue.take():
                await stream.write(data)
        except Exception as error:
            log.debug("sending gossip to %s ended: %s", peer_id, error)
            self._handle_dead_peer(peer_id)

    async def write_msg(self, stream: Any, rpc_msg: Any) -> bool:
        """What libp2p would write past the outbox, and so into the middle of a frame, takes its turn."""
        queue = self.peer_queues.get(stream.muxed_conn.peer_id)
        return queue is not None and queue.push(rpc_msg)


def frames(buffer: bytearray, limit: int) -> list[bytes]:
    """Cut whole frames off a buffer, each behind its length as a varint.

    Raises:
        ParseError, MessageTooLarge: it begins with no length, or with one over the limit.
    """
    found: list[bytes] = []
    at = 0
    while True:
        length = shift = 0
        start = at
        while True:
            if start >= len(buffer):
                del buffer[:at]
                return found
            byte = buffer[start]
            start += 1
            length |= (byte & 0x7F) << shift
            if length > limit:
                raise MessageTooLarge(f"a frame of over {limit} bytes")
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise ParseError("a length without end")
        if start + length > len(buffer):
            del buffer[:at]
            return found
        at = start + length
        found.append(bytes(buffer[start:at]))
