"""What goes out to each connected peer: one stream kept open a peer, a bounded outbox before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import trio

from agent_core.election.messages import PROTOCOL
from agent_core.network import Network, StreamClosed

#: Frames that wait for a slow peer; beyond it the oldest go, which the protocol repairs.
OUTBOX = 256
#: And no more bytes than this: a member that asks for acts and reads none costs that much.
OUTBOX_BYTES = 4 * 1024 * 1024
#: Between tries to open a stream to a connected peer (s).
RETRY_S = 0.25


class Link:
    """What goes to one peer, in order."""

    def __init__(self, peer_id: str) -> None:
        self.peer_id = peer_id
        self.frames: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.fresh = trio.Event()
        self.scope = trio.CancelScope()

    def put(self, frame: bytes) -> None:
        """Queue a frame; the oldest go when there are too many."""
        self.frames.append(frame)
        self.waiting_bytes += len(frame)
        while len(self.frames) > OUTBOX or (self.waiting_bytes > OUTBOX_BYTES and len(self.frames) > 1):
            self.take()
        self.fresh.set()

    def take(self) -> bytes:
        """The oldest frame, which waits no longer."""
        frame = self.frames.popleft()
        self.waiting_bytes -= len(frame)
        return frame


class Links:
    """The outgoing streams; each side only sends on the one it opened.

    Args:
        network: opens them.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._links: dict[str, Link] = {}

    @property
    def peers(self) -> Collection[str]:
        """The peers that count as connected."""
        return self._links.keys()

    def add(self, peer_id: str) -> Link:
        """A peer connected; :meth:`keep` its link."""
        link = self._links[peer_id] = Link(peer_id)
        return link

    def drop(self, peer_id: str) -> None:
        """A peer disconnected: what waits for it is gone."""
        self._links.pop(peer_id).scope.cancel()

    def put(self, peer_id: str, frame: bytes) -> bool:
        """Queue a frame; false if the peer isn't connected."""
        link = self._links.get(peer_id)
        if link is None:
            return False
        link.put(frame)
        return True

    async def keep(self, link: Link) -> None:
        """Keep a stream to the peer and send what is queued, until it is dropped."""
        with link.scope:
            while True:
                try:
                    await self._run(link)
                except StreamClosed:
                    await trio.sleep(RETRY_S)

    async def _run(self, link: Link) -> None:
        stream = await self._network.open(link.peer_id, PROTOCOL)
        try:
            while True:
                while link.frames:
                    await stream.send(link.take())
                link.fresh = trio.Event()
                await link.fresh.wait()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await stream.aclose()
