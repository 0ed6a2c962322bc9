"""Gossip: libp2p's GossipSub, tuned, fenced, rationed, and judged by us."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import IncompleteReadError, MessageTooLarge
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub

from agent_core.mesh.conduct import Conduct, GossipCounters
from agent_core.mesh.config import MAX_GOSSIP_BYTES, MeshConfig
from agent_core.network import Judge, Offence, Receiver, Verdict

log = logging.getLogger("chorus.mesh")

_READ_BYTES = 64 * 1024
#: Frames read from one peer before others get a turn.
_TURN_FRAMES = 64


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
        router = GossipSub(
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
            host,
            router,
            strict_signing=True,
            seen_ttl=120,
            max_inbound_rpc_size=1024 * 1024,
            validation_cache_ttl=-1,  # the seen cache is enough, and a cached verdict would hide who relayed
            max_subscriptions_per_peer=512,
        )
        # Seconds, libp2p's choice, would repeat after a restart, and everything with a repeated number is dropped.
        self.counter = time.time_ns()
        self._conduct = conduct
        self._wait_admitted = wait_admitted
        self._expel = expel
        self.counters = counters
        self.judge: Judge | None = None
        self.receiver: Receiver | None = None
        self._relay = ""
        self._self = str(self.my_id)

    # -- topics ----------------------------------------------------------------------------------------------------

    async def join(self, topic: str) -> None:
        """Subscribe, with our judge as the topic's validator."""
        self.set_topic_validator(topic, self._validate, False)
        await self.subscribe(topic)

    async def leave(self, topic: str) -> None:
        """Unsubscribe."""
        await self.unsubscribe(topic)
        self.remove_topic_validator(topic)

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
            await super().stream_handler(_Buffered(stream))
        except Exception as error:
            self._fenced("reading gossip", error)
            await stream.reset()
            self._handle_dead_peer(stream.muxed_conn.peer_id)

    async def push_msg(self, msg_forwarder: Any, msg: Any) -> None:
        """Take one message in, ours or relayed: within the budget, signed, judged. Never raises."""
        try:
            relay = str(msg_forwarder)
            if relay != self._self:
                if self._is_msg_seen(msg):
                    return
                self.counters.received += 1
                now = time.monotonic()
                if not self._conduct.admit(relay, msg.ByteSize(), now):
                    if self._conduct.is_refused(relay, now):
                        self._expel(relay)
                    return
                if len(msg.topicIDs) != 1 or len(msg.data) > MAX_GOSSIP_BYTES or len(msg.seqno) != 8:
                    self.reject(relay)
                    return
            self._relay = relay
            await super().push_msg(msg_forwarder, msg)
        except Exception as error:
            self._fenced("a gossip message", error)
            if str(msg_forwarder) != self._self:
                self.reject(str(msg_forwarder))

    def _validate(self, forwarder: Any, msg: Any) -> bool:
        """The topic validator. libp2p calls it and then :meth:`notify_subscriptions` without yielding in between."""
        relay = str(forwarder)
        if relay == self._self:
            return True
        verdict = Verdict.IGNORE
        if self.judge is not None:
            try:
                verdict = self.judge(msg.topicIDs[0], relay, msg.data, str(ID(msg.from_id)))
            except Exception as error:
                self._fenced("the judge", error)
        if verdict is Verdict.ACCEPT:
            self.counters.accepted += 1
        elif verdict is Verdict.REJECT:
            self.reject(relay)
        else:
            self.counters.ignored += 1
        return verdict is Verdict.ACCEPT

    def notify_subscriptions(self, publish_message: Any) -> None:
        """Hand an accepted message to the receiver at once, instead of to libp2p's queue that drops what it can't hold."""
        topic = publish_message.topicIDs[0]
        if self.receiver is not None and topic in self.topic_ids:
            try:
                self.receiver(topic, self._relay, publish_message.data)
            except Exception as error:
                self._fenced("the receiver", error)

    async def continuously_read_stream(self, stream: Any) -> None:
        """libp2p's reading loop, with the errors it forgets."""
        try:
            await super().continuously_read_stream(stream)
        except (ParseError, IncompleteReadError, MessageTooLarge):
            raise
        except Exception as error:
            raise ParseError(f"a gossip frame can't be read: {type(error).__name__}") from error

    def reject(self, relay: str) -> None:
        """Note that a peer sent what no honest one would; it may be graylisted for it, and is disconnected then."""
        self.counters.rejected += 1
        now = time.monotonic()
        if self._conduct.offended(relay, Offence.MESSAGE, now):
            self._expel(relay)

    def _fenced(self, what: str, error: Exception) -> None:
        self.counters.raised += 1
        log.warning("%s raised %s: %s", what, type(error).__name__, error)


class _Buffered:
    """A libp2p stream read in large pieces: the gossip reader asks for one byte at a time."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._buffer = b""
        self._at = 0
        self._small = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def read(self, n: int | None = None) -> bytes:
        """Up to ``n`` bytes; waits only when nothing is buffered, but lets others run now and then."""
        if self._at >= len(self._buffer):
            self._buffer, self._at = await self._stream.read(_READ_BYTES), 0
        else:
            self._small += 1
            if self._small % (2 * _TURN_FRAMES) == 0:
                await trio.lowlevel.checkpoint()
        end = len(self._buffer) if n is None or n < 0 else self._at + n
        piece = self._buffer[self._at : end]
        self._at += len(piece)
        return piece
