"""One life of the libp2p stack: host, gossip and the hello on every connection. When it dies, the service starts another."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import Any

import trio
from libp2p.abc import INotifee
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.pubsub.pubsub_notifee import PubsubNotifee
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.tools.anyio_service import background_trio_service
from libp2p.transport.tcp.tcp import TCP
from multiaddr import Multiaddr

from agent_core.mesh import compat, quic
from agent_core.mesh.conduct import Conduct, GossipCounters
from agent_core.mesh.config import MESH_VERSION, MeshConfig
from agent_core.mesh.entrance import Entrance
from agent_core.mesh.gossip import Gossip
from agent_core.mesh.hello import HELLO, MAX_HELLO_BYTES, Hello, decode_hello, encode, seen_from_here
from agent_core.mesh.host import build_host
from agent_core.mesh.peers import Connection, PeerTable
from agent_core.mesh.streams import FramedStream
from agent_core.multiaddrs import is_quic
from agent_core.network import DialResult, Offence, StreamClosed, StreamHandler

log = logging.getLogger("chorus.mesh")

_HELLO_S = 5.0
_OPEN_S = 5.0
_LINGER_S = 5.0


class Session:
    """One host with its gossip.

    Args:
        config: settings; ``listen`` is replaced by the ports held before, when this isn't the first session.
        table: the peer table.
        conduct: budgets and graylist.
        entrance: who is let in at the socket.
        counters: gossip counters, kept across sessions.
        known: full multiaddrs of peers to tell others in a hello.
        learned: told of addresses that a hello brought.
        note: takes a sentence for the person.
    """

    def __init__(
        self,
        config: MeshConfig,
        table: PeerTable,
        conduct: Conduct,
        entrance: Entrance,
        counters: GossipCounters,
        known: Callable[[], tuple[str, ...]],
        learned: Callable[[str, tuple[str, ...]], None],
        note: Callable[[str], None],
    ) -> None:
        compat.apply()
        compat.quiet()
        self._config = config
        self._table = table
        self._conduct = conduct
        self._known = known
        self._learned = learned
        self._note = note
        self._noted: set[str] = set()
        self._expelling: set[str] = set()
        self._nursery: trio.Nursery | None = None
        self._dialling: dict[str, trio.Event] = {}
        self.host = build_host(config, table, entrance)
        self.swarm = self.host.get_network()
        self.gossip = Gossip(self.host, config, conduct, self._admitted, self._expel, counters)
        # Pubsub learns of a peer when its hello went through, not when its connection opens.
        self._pubsub_notifee = next(n for n in self.swarm.notifees if isinstance(n, PubsubNotifee))
        self.swarm.remove_notifee(self._pubsub_notifee)
        self.swarm.register_notifee(_Notifee(self))
        self.host.set_stream_handler(HELLO, self._answer_hello)
        self.dht: Any = None
        if config.dht:
            from agent_core.mesh.dht import Dht

            self.dht = Dht(self.host, self._admitted)
        self._sockets: list[Any] = []
        self._keep_sockets()

    @property
    def addresses(self) -> tuple[str, ...]:
        """The full multiaddrs this host listens on, TCP first."""
        return tuple(sorted((str(address) for address in self.host.get_addrs()), key=is_quic))

    async def run(self, topics: set[str], stop: trio.Event, ready: Callable[[Session], None]) -> None:
        """Listen, gossip, and live until ``stop``; then take leave of the peers before anything is torn down."""
        listen = [Multiaddr(address) for address in self._config.listen]
        async with self.host.run(listen_addrs=listen):
            try:
                async with background_trio_service(self.gossip), background_trio_service(self.gossip.router):
                    await self.gossip.wait_until_ready()
                    async with trio.open_nursery() as nursery:
                        self._nursery = nursery
                        for topic in sorted(topics):
                            await self.gossip.join(topic)
                        if self.dht is not None:
                            nursery.start_soon(self.dht.run)
                        ready(self)
                        await stop.wait()
                        self.gossip.flush()
                        await self._part()
                        nursery.cancel_scope.cancel()
            finally:
                self._nursery = None
                await self._release_sockets()

    async def _part(self) -> None:
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                for connection in self._table.all_connections():
                    nursery.start_soon(self.close, connection)

    def _keep_sockets(self) -> None:
        """Remember each socket that is dialled: libp2p loses sight of them when it is cancelled, and nobody would close them."""
        for transport in self.swarm.transport_manager.get_transports():
            if isinstance(transport, TCP):
                transport.dial = self._kept(transport.dial)

    def _kept(self, inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
        async def dial(address: Any) -> Any:
            raw = await inner(address)
            compat.resend_soon(raw.stream.stream.socket)
            self._sockets = [s for s in self._sockets if s.socket.fileno() >= 0] + [raw.stream.stream]
            return raw

        return dial

    async def _release_sockets(self) -> None:
        """Close what a cancelled or crashed host leaves open. Its listeners live in system tasks and would keep the port."""
        with trio.move_on_after(1) as scope:
            scope.shield = True
            for listener in list(self.swarm.listeners.values()):
                await listener.close()
        for sock in self._sockets:
            sock.socket.close()
        quic.release(self.swarm)

    # -- streams ---------------------------------------------------------------------------------------------------

    async def open(self, peer_id: str, protocol: str) -> FramedStream:
        """Open a framed stream to a connected peer. Raises :class:`StreamClosed`."""
        if not self._table.is_connected(peer_id):
            raise StreamClosed(f"no connection to {peer_id}")
        stream = None
        with trio.move_on_after(_OPEN_S):
            try:
                stream = await self.host.new_stream(ID.from_base58(peer_id), [protocol])
            except Exception as error:
                raise StreamClosed(f"{peer_id} gives no stream for {protocol}") from error
        if stream is None:
            raise StreamClosed(f"{peer_id} didn't answer for {protocol} within {_OPEN_S:g} s")
        return FramedStream(stream, peer_id, self._config.max_frame_bytes)

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        """Serve a protocol to admitted peers; an exception costs the stream."""

        async def served(net_stream: Any) -> None:
            connection = await self._admitted(net_stream.muxed_conn)
            peer_id = connection.peer_id
            stream = FramedStream(
                net_stream, peer_id, self._config.max_frame_bytes, lambda: self._conduct.pace(peer_id, time.monotonic())
            )
            try:
                await handler(stream)
            except StreamClosed:
                await stream.aclose()
            except Exception:
                log.exception("a handler of %s raised", protocol)
                await stream.abort()
            else:
                await stream.aclose()
                await stream.linger(_LINGER_S)

        self.host.set_stream_handler(protocol, served)

    # -- connections -----------------------------------------------------------------------------------------------

    async def connect(self, peer_id: str, address: str) -> tuple[DialResult, str]:
        """Dial one address and wait for the hello; says why when it fails."""
        while (under_way := self._dialling.get(peer_id)) is not None:
            await under_way.wait()
        if self._table.is_connected(peer_id):
            return DialResult.CONNECTED, ""
        if self._conduct.is_refused(peer_id, time.monotonic()):
            return DialResult.SILENT, "the peer misbehaved and is refused for a while"
        done = self._dialling[peer_id] = trio.Event()
        try:
            with trio.fail_after(self._config.dial_timeout_s):
                return await self._dial(peer_id, address)
        except trio.TooSlowError:
            return DialResult.SILENT, f"no answer within {self._config.dial_timeout_s:g} s"
        finally:
            done.set()
            del self._dialling[peer_id]

    async def _dial(self, peer_id: str, address: str) -> tuple[DialResult, str]:
        try:
            handle = await self.swarm._dial_addr_single_attempt(Multiaddr(address), ID.from_base58(peer_id))
            connection = await self._table.wait_for(handle.muxed_conn)
        except Exception as error:
            return _reason(error)
        async with trio.open_nursery() as nursery:

            async def until(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until, connection.admitted)
            nursery.start_soon(until, connection.closed)
        if connection.admitted.is_set():
            return DialResult.CONNECTED, ""
        return DialResult.SILENT, "it closed the connection or is of another network"

    async def disconnect(self, peer_id: str) -> None:
        """Close all connections to a peer."""
        for connection in self._table.all_connections():
            if connection.peer_id == peer_id:
                await self.close(connection)

    async def close(self, connection: Connection) -> None:
        """Close one connection from this side."""
        self._table.closed(connection.handle, False)
        try:
            await connection.handle.close()
        except Exception as error:
            log.debug("closing a connection failed: %s", error)

    def offended(self, peer_id: str, offence: Offence) -> None:
        """A peer did what nobody honest does: it loses its score, and below a threshold its connections."""
        if self._conduct.offended(peer_id, offence, time.monotonic()):
            self._expel(peer_id)

    def _expel(self, peer_id: str) -> None:
        if self._nursery is not None and self._table.is_connected(peer_id) and peer_id not in self._expelling:
            self._expelling.add(peer_id)
            self._note_once(
                peer_id, f"Peer {peer_id} sends too much or what can't be valid; it is refused for a while."
            )
            self._nursery.start_soon(self._show_out, peer_id)

    async def _show_out(self, peer_id: str) -> None:
        try:
            await self.disconnect(peer_id)
        finally:
            self._expelling.discard(peer_id)

    # -- the hello -------------------------------------------------------------------------------------------------

    async def greet(self, handle: Any) -> None:
        """A connection opened: exchange hellos, then let the peer in or close."""
        if handle.is_closed or self._nursery is None:
            return
        outgoing = bool(handle.muxed_conn.is_initiator)
        remote = handle.muxed_conn.get_remote_address()
        connection = Connection(str(handle.muxed_conn.peer_id), handle, outgoing, remote)
        handle.muxed_conn.chorus_offended = lambda offence, why: self.offended(connection.peer_id, offence)
        self._table.opened(connection)
        if self._conduct.is_refused(connection.peer_id, time.monotonic()):
            self._nursery.start_soon(self.close, connection)
        else:
            self._nursery.start_soon(self._say_hello if outgoing else self._await_hello, connection)

    async def _say_hello(self, connection: Connection) -> None:
        try:
            with trio.fail_after(_HELLO_S):
                net_stream = await connection.handle.new_stream()
                await self.host.multiselect_client.select_one_of(
                    [HELLO], MultiselectCommunicator(net_stream), int(_HELLO_S)
                )
                stream = FramedStream(net_stream, connection.peer_id, MAX_HELLO_BYTES)
                await stream.send(encode(self._hello()))
                hello = decode_hello(await stream.receive())
                await self._heard_hello(connection, hello)
                await stream.aclose()
        except Exception as error:
            log.info("no hello from %s: %s", connection.peer_id, error)
            if not connection.closed.is_set() and not _hung_up(error):
                self._note_once(connection.peer_id, f"Peer {connection.peer_id} doesn't speak CHORUS; disconnected.")
            await self.close(connection)

    async def _await_hello(self, connection: Connection) -> None:
        with trio.move_on_after(_HELLO_S):
            await connection.admitted.wait()
        if not connection.admitted.is_set():
            if not connection.closed.is_set():
                self.offended(connection.peer_id, Offence.HELLO)
            await self.close(connection)

    async def _answer_hello(self, net_stream: Any) -> None:
        with trio.move_on_after(_HELLO_S):
            connection = await self._table.wait_for(net_stream.muxed_conn)
            stream = FramedStream(net_stream, connection.peer_id, MAX_HELLO_BYTES)
            if connection.admitted.is_set():
                raise StreamClosed("one hello is enough")
            try:
                hello = decode_hello(await stream.receive())
            except ValueError:
                self.offended(connection.peer_id, Offence.HELLO)
                raise
            await stream.send(encode(self._hello()))
            await self._heard_hello(connection, hello)
            await stream.aclose()
            await stream.linger(1)

    async def _heard_hello(self, connection: Connection, hello: Hello) -> None:
        if hello.network != self._config.network or hello.v != MESH_VERSION:
            theirs = f"network {hello.network!r}" if hello.v == MESH_VERSION else f"mesh version {hello.v}"
            mine = f"{self._config.network!r}" if hello.v == MESH_VERSION else f"{MESH_VERSION}"
            self._note_once(connection.peer_id, f"Peer {connection.peer_id} is of {theirs}, not {mine}; disconnected.")
            if not connection.outgoing:
                with trio.move_on_after(1):  # so that our answer is read
                    await connection.closed.wait()
            await self.close(connection)
            return
        if connection.remote is not None:
            claimed = seen_from_here(hello.addresses, connection.peer_id, connection.remote[0])
            self._table.remember(connection.peer_id, claimed, proven=False)
        self._table.admit(connection)
        await self._pubsub_notifee.connected(self.swarm, connection.handle)
        if self.dht is not None:
            await self.dht.add_peer(connection.peer_id)
        self._learned(connection.peer_id, hello.peers)

    def _hello(self) -> Hello:
        return Hello(v=MESH_VERSION, network=self._config.network, addresses=self.addresses[:8], peers=self._known())

    async def _admitted(self, muxed_conn: Any) -> Connection:
        """Wait until the hello on a connection went through. Raises :class:`StreamClosed`."""
        with trio.move_on_after(2 * _HELLO_S):
            connection = await self._table.wait_for(muxed_conn)
            await connection.admitted.wait()
            return connection
        raise StreamClosed("no hello on this connection")

    async def left(self, handle: Any) -> None:
        """libp2p says a connection is closed: pass it on to gossip, and keep nothing of a peer that is gone."""
        self._table.closed(handle, False)
        await self._pubsub_notifee.disconnected(self.swarm, handle)
        peer_id = handle.muxed_conn.peer_id
        if not any(str(peer_id) == c.peer_id for c in self._table.all_connections()):
            self.swarm.peerstore.peer_data_map.pop(peer_id, None)
            self.swarm.peerstore.peer_record_map.pop(peer_id, None)

    def _note_once(self, peer_id: str, sentence: str) -> None:
        if peer_id not in self._noted:
            if len(self._noted) >= 256:
                self._noted.clear()
            self._noted.add(peer_id)
            self._note(sentence)


def _hung_up(error: Exception) -> bool:
    """Whether the other side only let go, as who was revoked or refused finds, and said nothing in another tongue."""
    return isinstance(error, StreamClosed | MuxedStreamError) or isinstance(
        error.__cause__, MultiselectCommunicatorError
    )


class _Notifee(INotifee):  # type: ignore[misc]  # libp2p is untyped
    """What libp2p tells of connections."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def connected(self, network: Any, conn: Any) -> None:
        await self._session.greet(conn)

    async def disconnected(self, network: Any, conn: Any) -> None:
        await self._session.left(conn)

    async def opened_stream(self, network: Any, stream: Any) -> None:
        """Nothing to do."""

    async def closed_stream(self, network: Any, stream: Any) -> None:
        """Nothing to do."""

    async def listen(self, network: Any, multiaddr: Any) -> None:
        """Nothing to do."""

    async def listen_close(self, network: Any, multiaddr: Any) -> None:
        """Nothing to do."""


def _reason(error: BaseException) -> tuple[DialResult, str]:
    """What a failed dial means, out of libp2p's chain of exceptions."""
    todo, text = [error], ""
    while todo:
        one = todo.pop()
        if isinstance(one, OSError) and one.errno == errno.ECONNREFUSED:
            return DialResult.REFUSED, "nothing listens there (connection refused)"
        text += f" {type(one).__name__} {one}"
        todo += [e for e in (one.__cause__, one.__context__) if e is not None]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions
    if "mismatch" in text.lower():
        return DialResult.SILENT, "another peer than the address names answers there"
    return DialResult.SILENT, "nothing usable answers there"
