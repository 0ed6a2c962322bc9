"""A network in memory: nodes in one process, framed streams between them, and a peer list that can be cut and joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import trio

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
)


class MemoryStream:
    """One end of a stream of whole frames."""

    def __init__(
        self,
        peer_id: str,
        send: trio.MemorySendChannel[bytes],
        receive: trio.MemoryReceiveChannel[bytes],
        limit: int = 1 << 20,
    ) -> None:
        self._peer_id, self._send, self._receive, self._limit = peer_id, send, receive, limit
        self.sent = 0  #: frames

    @property
    def peer_id(self) -> str:
        return self._peer_id

    async def send(self, frame: bytes) -> None:
        try:
            await self._send.send(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise StreamClosed(str(exc)) from exc
        self.sent += 1

    async def receive(self) -> bytes:
        try:
            frame = await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError) as exc:
            raise StreamClosed(str(exc)) from exc
        if len(frame) > self._limit:
            raise StreamClosed("a frame is over the limit")
        return frame

    async def aclose(self) -> None:
        self._send.close()
        self._receive.close()


#: Frames on their way at most: questions that are out at once must fit, as they do in any real window.
_WINDOW = 4


def stream_pair(one: str, two: str) -> tuple[MemoryStream, MemoryStream]:
    """Two ends of a stream; the first belongs to ``one`` and leads to ``two``."""
    to_two, from_one = trio.open_memory_channel[bytes](_WINDOW)
    to_one, from_two = trio.open_memory_channel[bytes](_WINDOW)
    return MemoryStream(two, to_two, from_two), MemoryStream(one, to_one, from_one)


class MemoryNetwork:
    """One node's view of a :class:`MemoryMesh`; gossip isn't carried."""

    def __init__(self, mesh: MemoryMesh, peer_id: str) -> None:
        self._mesh, self._peer_id = mesh, peer_id
        self.connected: dict[str, Peer] = {}
        self.handlers: dict[str, StreamHandler] = {}
        self.watchers: list[PeerWatcher] = []
        self.streams: dict[str, list[MemoryStream]] = {}
        self.rejected: Counter[str] = Counter()

    @property
    def peer_id(self) -> str:
        return self._peer_id

    @property
    def addresses(self) -> Sequence[str]:
        return (f"/memory/{self._peer_id}/p2p/{self._peer_id}",)

    def peers(self) -> Sequence[Peer]:
        return tuple(self.connected.values())

    def shunned(self) -> Sequence[Peer]:
        return ()

    def offended(self, peer_id: str, offence: Offence) -> None:
        self.rejected[peer_id] += 1

    def watch_peers(self, watcher: PeerWatcher) -> None:
        self.watchers.append(watcher)

    def set_judge(self, judge: Judge) -> None:
        raise NotImplementedError

    def set_receiver(self, receiver: Receiver) -> None:
        raise NotImplementedError

    async def join(self, topic: str) -> None: ...

    async def leave(self, topic: str) -> None: ...

    async def publish(self, topic: str, payload: bytes) -> None: ...

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        self.handlers[protocol] = handler

    async def open(self, peer_id: str, protocol: str) -> Stream:
        await trio.lowlevel.checkpoint()
        other = self._mesh.nodes.get(peer_id)
        if peer_id not in self.connected or other is None or protocol not in other.handlers:
            raise StreamClosed(f"no way to {peer_id}")
        mine, theirs = stream_pair(self._peer_id, peer_id)
        self.streams.setdefault(peer_id, []).append(mine)
        other.streams.setdefault(self._peer_id, []).append(theirs)
        self._mesh.nursery.start_soon(other.handlers[protocol], theirs)
        return mine

    async def dial(self, address: str) -> DialResult:
        self._mesh.connect(self._peer_id, address.rpartition("/")[2])
        return DialResult.CONNECTED

    async def probe(self, peer_id: str) -> DialResult:
        return DialResult.SILENT

    async def disconnect(self, peer_id: str, refuse_s: float = 0.0) -> None:
        self._mesh.cut(self._peer_id, peer_id)


class MemoryMesh:
    """Nodes and who is connected to whom."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.nodes: dict[str, MemoryNetwork] = {}

    def node(self, peer_id: str) -> MemoryNetwork:
        """Add a node, or put a restarted one in the place of the old."""
        for other in list(self.nodes):
            self.cut(peer_id, other)
        self.nodes[peer_id] = network = MemoryNetwork(self, peer_id)
        return network

    def connect(self, one: str, two: str) -> None:
        """Connect two nodes."""
        for a, b in ((one, two), (two, one)):
            self.nodes[a].connected[b] = Peer(peer_id=b)
        for a, b in ((one, two), (two, one)):
            for watcher in self.nodes[a].watchers:
                watcher(b, True, False)

    def cut(self, one: str, two: str) -> None:
        """Cut a connection; its streams break."""
        for a, b in ((one, two), (two, one)):
            node = self.nodes.get(a)
            if node is None or node.connected.pop(b, None) is None:
                continue
            for stream in node.streams.pop(b, []):
                stream._send.close()
                stream._receive.close()
            for watcher in node.watchers:
                watcher(b, False, False)


async def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 5.0) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it didn't within the time.
    """
    with trio.move_on_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - conditions of many parts, none of which has an event for tests
            await trio.sleep(0.005)
        return
    raise AssertionError(f"not within {timeout_s:g} s: {what}")
