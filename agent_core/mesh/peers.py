"""The peer table: which connections are open and admitted, since when, how far away, and who is told about it."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import trio

from agent_core.clock import wall_ms
from agent_core.mesh.conduct import Standing
from agent_core.network import Peer, PeerWatcher

log = logging.getLogger("chorus.mesh")

#: Peers whose addresses are remembered, and addresses remembered of each.
MAX_KNOWN, MAX_ADDRESSES = 512, 6


@dataclass(eq=False)
class Connection:
    """One open libp2p connection. It counts as a peer once the hello went through: ``admitted``."""

    peer_id: str
    handle: Any
    outgoing: bool
    remote: tuple[str, int] | None
    opened_ms: int = field(default_factory=wall_ms)
    admitted: trio.Event = field(default_factory=trio.Event)
    closed: trio.Event = field(default_factory=trio.Event)
    inbound_streams: int = 0


class PeerTable:
    """Keeps connections, addresses and round-trip times; tells watchers of a peer's first and last connection.

    Args:
        standing: how a peer stands now.
    """

    def __init__(self, standing: Callable[[str], Standing] = lambda peer: Standing(peer, 0.0, {}, 0.0)) -> None:
        self._standing = standing
        self._by_muxer: dict[int, Connection] = {}
        self._peers: dict[str, list[Connection]] = {}
        self._rtt: dict[str, float] = {}
        self._heard: dict[str, float] = {}
        self._addresses: OrderedDict[str, list[str]] = OrderedDict()
        self._watchers: list[PeerWatcher] = []
        self._changed = trio.Event()
        self._arrived = trio.Event()
        self._gone: dict[str, trio.Event] = {}

    # -- connections -----------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A connection is up, its peer's key proven; nothing else is known yet."""
        self._by_muxer[id(connection.handle.muxed_conn)] = connection
        self._arrived.set()
        self._arrived = trio.Event()

    def admit(self, connection: Connection) -> None:
        """The hello went through: the peer is of this network."""
        if connection.closed.is_set() or connection.admitted.is_set():
            return
        connection.admitted.set()
        mine = self._peers.setdefault(connection.peer_id, [])
        mine.append(connection)
        self._heard[connection.peer_id] = time.monotonic()
        if len(mine) == 1:
            self._gone[connection.peer_id] = trio.Event()
            self._tell(connection.peer_id, True, False)

    def closed(self, handle: Any, by_remote: bool) -> None:
        """A connection is going down. Idempotent; a connection never opened here is ignored."""
        connection = self._by_muxer.pop(id(handle.muxed_conn), None)
        if connection is None:
            return
        connection.closed.set()
        mine = self._peers.get(connection.peer_id, [])
        if connection in mine:
            mine.remove(connection)
            if not mine:
                del self._peers[connection.peer_id]
                self._rtt.pop(connection.peer_id, None)
                self._heard.pop(connection.peer_id, None)
                self._gone.pop(connection.peer_id).set()
                self._tell(connection.peer_id, False, by_remote)

    def clear(self) -> None:
        """The transport is gone: all connections are closed, from this side."""
        for connection in list(self._by_muxer.values()):
            self.closed(connection.handle, False)

    def of(self, muxed_conn: Any) -> Connection | None:
        """The connection a stream came in on."""
        return self._by_muxer.get(id(muxed_conn))

    async def wait_for(self, muxed_conn: Any) -> Connection:
        """The connection a stream came in on; the first streams can be quicker than the news of their connection."""
        while (connection := self.of(muxed_conn)) is None:
            await self._arrived.wait()
        return connection

    def gone(self, peer_id: str) -> trio.Event:
        """Set when the peer's last connection closes; set already for one that isn't connected."""
        event = self._gone.get(peer_id)
        if event is None:
            event = trio.Event()
            event.set()
        return event

    def connections(self, peer_id: str) -> list[Connection]:
        """A peer's admitted connections."""
        return list(self._peers.get(peer_id, ()))

    def all_connections(self) -> list[Connection]:
        """Every open connection, admitted or not."""
        return list(self._by_muxer.values())

    def is_connected(self, peer_id: str) -> bool:
        """Whether the peer has an admitted connection."""
        return peer_id in self._peers

    def __len__(self) -> int:
        return len(self._peers)

    def ids(self) -> list[str]:
        """The connected peers."""
        return list(self._peers)

    def peers(self) -> list[Peer]:
        """The connected peers, as the network shows them."""
        return [
            Peer(
                peer_id=peer,
                addresses=tuple(self.addresses(peer)),
                direction="out" if mine[0].outgoing else "in",
                connected_at_ms=mine[0].opened_ms,
                rtt_ms=self._rtt.get(peer),
                score=round(standing.score, 3),
                offences=standing.most,
                graylisted_s=standing.graylisted_s,
            )
            for peer, mine in self._peers.items()
            for standing in (self._standing(peer),)
        ]

    # -- what is measured ------------------------------------------------------------------------------------------

    def answered(self, peer_id: str, rtt_ms: float) -> None:
        """A ping came back after ``rtt_ms``; kept smoothed (RFC 6298's 1/8)."""
        if peer_id in self._peers:
            before = self._rtt.get(peer_id)
            self._rtt[peer_id] = rtt_ms if before is None else before + (rtt_ms - before) / 8
            self.heard(peer_id)

    def heard(self, peer_id: str) -> None:
        """A connected peer gave a sign of life."""
        if peer_id in self._peers:
            self._heard[peer_id] = time.monotonic()

    def silence_s(self, peer_id: str) -> float:
        """Seconds since the peer was last heard from."""
        return time.monotonic() - self._heard.get(peer_id, time.monotonic())

    # -- addresses -------------------------------------------------------------------------------------------------

    def remember(self, peer_id: str, addresses: Iterable[str], *, proven: bool = False) -> None:
        """Remember where a peer can be dialled; proven addresses come first. Bounded in peers and addresses."""
        known = self._addresses.pop(peer_id, [])
        for address in addresses:
            if address in known:
                if not proven:
                    continue
                known.remove(address)
            known.insert(0 if proven else len(known), address)
        self._addresses[peer_id] = known[:MAX_ADDRESSES]
        if len(self._addresses) > MAX_KNOWN:
            oldest = next((p for p in self._addresses if p not in self._peers and p != peer_id), peer_id)
            del self._addresses[oldest]

    def addresses(self, peer_id: str) -> list[str]:
        """Where the peer was dialled or says it listens, best first; full multiaddrs."""
        return list(self._addresses.get(peer_id, ()))

    # -- telling ---------------------------------------------------------------------------------------------------

    def watch(self, watcher: PeerWatcher) -> None:
        """Call the watcher at each first connect and last disconnect."""
        self._watchers.append(watcher)

    async def changed(self) -> None:
        """Wait for the next connect or disconnect of any peer."""
        await self._changed.wait()

    def _tell(self, peer_id: str, connected: bool, by_remote: bool) -> None:
        self._changed.set()
        self._changed = trio.Event()
        for watcher in tuple(self._watchers):
            try:
                watcher(peer_id, connected, by_remote)
            except Exception:
                log.exception("a peer watcher raised")
