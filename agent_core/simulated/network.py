"""The simulated network of one peer: implements ``agent_core.network.Network`` inside a :class:`SimulatedWorld`."""

from __future__ import annotations

import itertools
import logging
from collections import Counter, OrderedDict
from collections.abc import Sequence

import trio

from agent_core.errors import TooLarge
from agent_core.network import (
    DialResult,
    Judge,
    Offence,
    Peer,
    PeerWatcher,
    Receiver,
    Stream,
    StreamClosed,
    StreamHandler,
    Verdict,
)
from agent_core.simulated.stream import SimulatedStream
from agent_core.simulated.world import Gossip, Link, SimulatedWorld

__all__ = ["MAX_GOSSIP_BYTES", "SimulatedNetwork", "SimulatedWorld"]

log = logging.getLogger("chorus.simulated")

MAX_GOSSIP_BYTES = 256 * 1024
#: How many message ids a peer remembers to know a duplicate by.
_REMEMBERED = 8192
_message_ids = itertools.count(1)


class SimulatedNetwork:
    """One peer's network. Made by :meth:`SimulatedWorld.add`."""

    def __init__(self, world: SimulatedWorld, peer_id: str) -> None:
        self._world = world
        self._peer_id = peer_id
        self._links: dict[str, Link] = {}
        self._watchers: list[PeerWatcher] = []
        self._handlers: dict[str, StreamHandler] = {}
        self._topics: set[str] = set()
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._judge: Judge | None = None
        self._receiver: Receiver | None = None
        self._dead = False
        self.rejected: Counter[str] = Counter()  #: complaints, by peer

    @property
    def peer_id(self) -> str:
        return self._peer_id

    @property
    def addresses(self) -> Sequence[str]:
        return (address_of(self._peer_id),)

    def peers(self) -> Sequence[Peer]:
        mean_ms = sum(self._world.latency_s) * 1000
        return [
            Peer(
                peer_id=peer,
                addresses=(address_of(peer),),
                direction="out" if link.dialer == self._peer_id else "in",
                connected_at_ms=link.opened_ms,
                rtt_ms=mean_ms,
            )
            for peer, link in self._links.items()
        ]

    def shunned(self) -> Sequence[Peer]:
        return ()

    def offended(self, peer_id: str, offence: Offence) -> None:
        self.rejected[peer_id] += 1

    def watch_peers(self, watcher: PeerWatcher) -> None:
        self._watchers.append(watcher)

    def set_judge(self, judge: Judge) -> None:
        self._judge = judge

    def set_receiver(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def join(self, topic: str) -> None:
        await trio.lowlevel.checkpoint()
        self._topics.add(topic)

    async def leave(self, topic: str) -> None:
        await trio.lowlevel.checkpoint()
        self._topics.discard(topic)

    async def publish(self, topic: str, payload: bytes) -> None:
        if len(payload) > MAX_GOSSIP_BYTES:
            raise TooLarge(f"A gossip message has {len(payload)} bytes; at most {MAX_GOSSIP_BYTES} are allowed.")
        await trio.lowlevel.checkpoint()
        if not self._dead:
            message_id = next(_message_ids)
            self._remember(message_id)
            self._deliver(self._peer_id, topic, payload)
            self._spread(self._peer_id, Gossip(topic, message_id, self._peer_id, payload))

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        self._handlers[protocol] = handler

    async def open(self, peer_id: str, protocol: str) -> Stream:
        await trio.sleep(2 * self._world.delay())
        link = self._links.get(peer_id)
        if link is None or self._dead:
            raise StreamClosed(f"no connection to {peer_id}")
        other = self._world.network(peer_id)
        if protocol not in other._handlers:
            raise StreamClosed(f"{peer_id} doesn't speak {protocol}")
        world = self._world
        ours = SimulatedStream(peer_id, lambda action: world.carry(link, self._peer_id, action))
        theirs = SimulatedStream(self._peer_id, lambda action: world.carry(link, peer_id, action))
        ours.other, theirs.other = theirs, ours
        link.streams = [s for s in link.streams if not s.is_over] + [ours, theirs]
        world.carry(link, self._peer_id, lambda: other.accept(protocol, theirs))
        return ours

    async def dial(self, address: str) -> DialResult:
        peer_id = address.rpartition("/p2p/")[2]
        await trio.sleep(2 * self._world.delay())
        if self._dead or peer_id == self._peer_id:
            return DialResult.SILENT
        return self._world.connect(self._peer_id, peer_id)

    async def probe(self, peer_id: str) -> DialResult:
        await trio.sleep(2 * self._world.delay())
        return self._world.probe(self._peer_id, peer_id)

    async def disconnect(self, peer_id: str, refuse_s: float = 0.0) -> None:
        await trio.lowlevel.checkpoint()
        self._world.close(self._peer_id, peer_id)

    # -- what the world calls --------------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """A connection opened."""
        peer = link.other(self._peer_id)
        self._links[peer] = link
        self._tell(peer, True, False)

    def closed(self, link: Link, by_remote: bool) -> None:
        """A connection closed."""
        peer = link.other(self._peer_id)
        if self._links.get(peer) is link:
            del self._links[peer]
            self._tell(peer, False, by_remote)

    def die(self) -> None:
        """The process died: nothing is called back any more."""
        self._dead = True
        self._links.clear()
        self._watchers.clear()
        self._receiver = self._judge = None

    def accept(self, protocol: str, stream: SimulatedStream) -> None:
        """A stream was opened to this peer."""
        handler = self._handlers.get(protocol)
        if handler is None or self._world.nursery is None or self._dead:
            stream.break_off()
            return
        self._world.nursery.start_soon(self._serve, protocol, handler, stream)

    async def _serve(self, protocol: str, handler: StreamHandler, stream: SimulatedStream) -> None:
        try:
            await handler(stream)
        except StreamClosed:
            pass
        except Exception:
            log.exception("a handler of %s raised", protocol)
        finally:
            await stream.aclose()

    def hear(self, relay: str, message: Gossip) -> None:
        """A gossip message arrives from a peer: judged, delivered, relayed."""
        if message.topic not in self._topics or message.id in self._seen or self._dead:
            return
        if self._verdict(relay, message) is not Verdict.ACCEPT:
            return
        self._remember(message.id)
        self._deliver(relay, message.topic, message.payload)
        self._spread(relay, message)

    def _verdict(self, relay: str, message: Gossip) -> Verdict:
        if self._judge is None:
            return Verdict.IGNORE
        try:
            return self._judge(message.topic, relay, message.payload, message.author)
        except Exception:
            log.exception("the judge raised on a message of %s", message.topic)
            return Verdict.IGNORE

    def _deliver(self, relay: str, topic: str, payload: bytes) -> None:
        if self._receiver is not None and topic in self._topics:
            try:
                self._receiver(topic, relay, payload)
            except Exception:
                log.exception("the receiver raised on a message of %s", topic)

    def _spread(self, relay: str, message: Gossip) -> None:
        for peer in self._links:
            if peer != relay:
                self._world.gossip(self._peer_id, peer, message)

    def _remember(self, message_id: int) -> None:
        self._seen[message_id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _tell(self, peer: str, connected: bool, by_remote: bool) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher(peer, connected, by_remote)
            except Exception:
                log.exception("a peer watcher raised")


def address_of(peer_id: str) -> str:
    """The multiaddr of a simulated peer: a documentation address (RFC 5737), as nothing is ever sent there."""
    return f"/ip4/192.0.2.1/tcp/9000/p2p/{peer_id}"
