"""The mesh as the node uses it: implements ``agent_core.network.Network`` on libp2p and keeps it alive.

libp2p is imported when it runs, in a thread: importing takes over a second.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import trio

from agent_core.errors import ChorusError, TooLarge, Unavailable
from agent_core.identity.peer_id import peer_id_of
from agent_core.mesh.conduct import Conduct, GossipCounters
from agent_core.mesh.config import MAX_GOSSIP_BYTES, MeshConfig
from agent_core.mesh.dialer import Dialer, probe
from agent_core.mesh.entrance import Entrance
from agent_core.mesh.hello import MAX_PEERS, PEERS, PING, Peers, decode_peers, encode
from agent_core.mesh.peers import PeerTable
from agent_core.mesh.resolving import Unresolved, resolve
from agent_core.multiaddrs import is_quic
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

if TYPE_CHECKING:
    from trio_typing import TaskStatus

    from agent_core.mesh.session import Session

log = logging.getLogger("chorus.mesh")

#: Peers with a provider record that are connected to for one question, and addresses of each that are tried.
MAX_PROVIDERS, MAX_PROVIDER_ADDRESSES = 3, 2
#: Seconds a shutdown may take, and the first and longest wait before a crashed stack is rebuilt.
_PARTING_S, _REBUILD_MIN_S, _REBUILD_MAX_S = 3.0, 0.5, 30.0
#: A peer that tells nothing new is asked at up to this many times the interval.
_EXCHANGE_RARER = 8

#: Peers that are told of although they aren't connected.
MAX_SHUNNED = 32


@dataclass(frozen=True)
class MeshStatistics:
    """The mesh in numbers. ``rebuilding`` is set while there is no working stack."""

    peers: int
    connections: int
    topics: int
    rebuilding: bool
    rebuilds: int
    published: int
    received: int
    accepted: int
    ignored: int
    rejected: int
    over_budget: int
    unsent: int  #: messages dropped because a peer was too slow to take them
    graylisted: int
    fenced: int
    turned_away: int  #: connections that weren't let in at the socket
    offences: Mapping[str, int]  #: how often peers were refused something, by offence
    dht_records: int


class LibP2PNetwork:
    """The mesh on libp2p. Implements :class:`agent_core.network.Network`.

    Args:
        config: settings.
        note: takes a sentence for the person, such as a bootstrap address that doesn't answer; logged if not given.
        over: takes such a sentence again, once it is no longer so.
    """

    def __init__(
        self,
        config: MeshConfig,
        note: Callable[[str], None] | None = None,
        over: Callable[[str], None] | None = None,
    ) -> None:
        from nacl.signing import SigningKey

        self._config = config
        self._note = note or log.warning
        self._peer_id = peer_id_of(bytes(SigningKey(config.seed).verify_key))
        self._conduct = Conduct(
            config.messages_per_s, config.message_burst, config.bytes_per_s, config.byte_burst, config.graylist_s
        )
        self._entrance = Entrance(
            config.max_connections, config.max_connections_of_host, config.max_handshakes, config.knocks_per_s
        )
        self._table = PeerTable(lambda peer: self._conduct.standing(peer, time.monotonic()))
        self._over = over or (lambda _sentence: None)
        self._dialer = Dialer(config, self._peer_id, self._table, self._connect, self._note, self._over)
        self._counters = GossipCounters()
        self._random = random.Random(config.rng_seed)
        self._topics: set[str] = set()
        self._handlers: dict[str, StreamHandler] = {PING: self._echo, PEERS: self._tell_peers}
        self._judge: Judge | None = None
        self._receiver: Receiver | None = None
        self._session: Session | None = None
        self._listen = config.listen
        self._addresses: tuple[str, ...] = ()
        self._rebuilds = 0
        self._tasks: trio.Nursery | None = None
        self._table.watch(self._attend)

    # -- the protocol ----------------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> str:
        return self._peer_id

    @property
    def addresses(self) -> Sequence[str]:
        return self._addresses

    def peers(self) -> Sequence[Peer]:
        return self._table.peers()

    def shunned(self) -> Sequence[Peer]:
        worst = (s for s in self._conduct.standings(time.monotonic()) if not self._table.is_connected(s.peer_id))
        return [
            Peer(
                peer_id=s.peer_id,
                addresses=tuple(self._table.addresses(s.peer_id)),
                score=round(s.score, 3),
                offences=s.most,
                graylisted_s=s.graylisted_s,
            )
            for s in islice(worst, MAX_SHUNNED)
        ]

    def offended(self, peer_id: str, offence: Offence) -> None:
        if self._session is not None:
            self._session.offended(peer_id, offence)

    def watch_peers(self, watcher: PeerWatcher) -> None:
        self._table.watch(watcher)

    def set_judge(self, judge: Judge) -> None:
        self._judge = judge
        if self._session is not None:
            self._session.gossip.judge = judge

    def set_receiver(self, receiver: Receiver) -> None:
        self._receiver = receiver
        if self._session is not None:
            self._session.gossip.receiver = receiver

    async def join(self, topic: str) -> None:
        await trio.lowlevel.checkpoint()
        if topic not in self._topics:
            self._topics.add(topic)
            if self._session is not None:
                await self._session.gossip.join(topic)

    async def leave(self, topic: str) -> None:
        await trio.lowlevel.checkpoint()
        if topic in self._topics:
            self._topics.discard(topic)
            if self._session is not None:
                await self._session.gossip.leave(topic)

    async def publish(self, topic: str, payload: bytes) -> None:
        if len(payload) > MAX_GOSSIP_BYTES:
            raise TooLarge(f"A gossip message has {len(payload)} bytes; at most {MAX_GOSSIP_BYTES} are allowed.")
        await trio.lowlevel.checkpoint()
        if self._session is not None:
            self._counters.published += 1
            await self._session.gossip.publish(topic, payload)

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        self._handlers[protocol] = handler
        if self._session is not None:
            self._session.serve(protocol, handler)

    async def open(self, peer_id: str, protocol: str) -> Stream:
        await trio.lowlevel.checkpoint()
        if self._session is None:
            raise StreamClosed("the mesh isn't running")
        return await self._session.open(peer_id, protocol)

    async def dial(self, address: str) -> DialResult:
        await trio.lowlevel.checkpoint()
        result, why = await self._dialer.dial(address)
        if why:
            log.info("dialling %s: %s", address, why)
        return result

    async def probe(self, peer_id: str) -> DialResult:
        await trio.lowlevel.checkpoint()
        return await probe(self._table.addresses(peer_id))

    async def disconnect(self, peer_id: str, refuse_s: float = 0.0) -> None:
        await trio.lowlevel.checkpoint()
        if refuse_s > 0:
            self._conduct.refuse(peer_id, refuse_s, time.monotonic())
        self._dialer.release(peer_id, max(refuse_s, self._config.graylist_s))
        if self._session is not None:
            await self._session.disconnect(peer_id)

    async def dht_put(self, value: bytes) -> str:
        """Put a record of at most 8 KiB into the DHT; returns its key.

        Raises:
            TooLarge, Unavailable: it can't be put, or the DHT is switched off.
        """
        key: str = await self._dht().put(value)
        return key

    async def dht_get(self, key: str) -> bytes | None:
        """A record of the DHT by its key, or None. Raises ``Unavailable`` when the DHT is switched off."""
        value: bytes | None = await self._dht().get(key)
        return value

    async def provide(self, address: bytes) -> bool:
        """Put a provider record: this node has what the SHA-256 names. Returns whether a peer took it."""
        dht = self._session.dht if self._session is not None else None
        return dht is not None and await dht.provide(address)

    async def connect_provider(self, address: bytes, accepts: Callable[[str], bool]) -> Sequence[str]:
        """Look for accepted peers with a provider record of the SHA-256 and connect to some; their ids."""
        dht = self._session.dht if self._session is not None else None
        found: dict[str, list[str]] = {} if dht is None else await dht.providers(address)
        reached: list[str] = []
        for peer, addresses in found.items():
            if not accepts(peer):
                continue
            for at in addresses[:MAX_PROVIDER_ADDRESSES]:
                if await self.dial(at) is DialResult.CONNECTED:
                    reached.append(peer)
                    break
            if len(reached) == MAX_PROVIDERS:
                break
        return reached

    def _dht(self) -> Any:
        if self._session is None or self._session.dht is None:
            raise Unavailable("The DHT is switched off.", "Set dht.enabled = true.")
        return self._session.dht

    def statistics(self) -> MeshStatistics:
        """The mesh in numbers."""
        c = self._counters
        return MeshStatistics(
            peers=len(self._table),
            connections=len(self._table.all_connections()),
            topics=len(self._topics),
            rebuilding=self._session is None,
            rebuilds=self._rebuilds,
            published=c.published,
            received=c.received,
            accepted=c.accepted,
            ignored=c.ignored,
            rejected=c.rejected,
            over_budget=self._conduct.dropped,
            unsent=c.unsent,
            graylisted=self._conduct.graylisted,
            fenced=c.raised,
            turned_away=self._entrance.turned_away,
            offences={offence.value: n for offence, n in self._conduct.refused.items()},
            dht_records=self._session.dht.records if self._session is not None and self._session.dht else 0,
        )

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and keep the mesh alive until cancelled; ``started`` when it listens.

        Raises:
            PortInUse, ConfigError: an address can't be listened on.
            Unavailable: libp2p isn't the one this mesh was written for, or doesn't come up.
        """
        await trio.to_thread.run_sync(_import_libp2p)
        from agent_core.mesh.host import check_bindable

        check_bindable(self._config.listen)
        failure: ChorusError | None = None
        stop = trio.Event()
        async with trio.open_nursery() as outer:
            with trio.CancelScope(shield=True) as parting:
                outer.start_soon(_notice_cancel, stop, parting)
                failure = await self._supervise(stop, task_status)
            outer.cancel_scope.cancel()
        if failure is not None:
            raise failure
        await trio.lowlevel.checkpoint()

    async def _supervise(self, stop: trio.Event, task_status: TaskStatus[None]) -> ChorusError | None:
        wait, started, failure, trouble = _REBUILD_MIN_S, False, None, ""
        async with trio.open_nursery() as nursery:
            self._tasks = nursery

            def ready(session: Session) -> None:
                nonlocal started, trouble
                self._session = session
                if trouble:
                    self._over(trouble)
                    trouble = ""
                session.gossip.judge, session.gossip.receiver = self._judge, self._receiver
                self._addresses = session.addresses
                self._listen = tuple(a.rpartition("/p2p/")[0] for a in self._addresses) or self._listen
                if not started:
                    started = True
                    nursery.start_soon(self._dialer.run)
                    if self._config.mdns_interfaces:
                        nursery.start_soon(self._discover)
                    task_status.started()

            while not stop.is_set():
                began = trio.current_time()
                why = await self._live(stop, ready)
                self._session = None
                self._table.clear()
                if stop.is_set():
                    break
                if not started:
                    failure = Unavailable(f"The network stack doesn't come up: {why}.", "See the node's log.")
                    break
                self._rebuilds += 1
                if trouble:
                    self._over(trouble)
                trouble = f"The network stack stopped ({why}); it is being rebuilt."
                self._note(trouble)
                wait = _REBUILD_MIN_S if trio.current_time() - began > 60 else min(2 * wait, _REBUILD_MAX_S)
                with trio.move_on_after(wait * self._random.uniform(0.5, 1.0)):
                    await stop.wait()
            nursery.cancel_scope.cancel()
        self._tasks = None
        return failure

    async def _live(self, stop: trio.Event, ready: Callable[[Session], None]) -> str:
        """One session, to its end; says why it ended."""
        from agent_core.mesh.session import Session

        try:
            session = Session(
                dataclasses.replace(self._config, listen=self._listen),
                self._table,
                self._conduct,
                self._entrance,
                self._counters,
                self._known_peers,
                self._learned,
                self._note,
            )
            for protocol, handler in self._handlers.items():
                session.serve(protocol, handler)
            await session.run(self._topics, stop, ready)
        except Exception as error:
            if not stop.is_set():
                log.exception("the libp2p stack ended")
            return _innermost(error)
        return "it ended by itself"

    async def _discover(self) -> None:
        from agent_core.mesh.discovery import Discovery

        config = self._config
        try:
            await Discovery(
                config.mdns_interfaces, config.network, self._peer_id, self._addresses, self._dialer.learn
            ).run()
        except Exception as error:
            log.exception("mDNS ended")
            self._note(f"Discovery on the local network doesn't work: {_innermost(error)}.")

    async def _connect(self, peer_id: str, address: str) -> tuple[DialResult, str]:
        try:
            found = await resolve(address)
        except (Unresolved, ValueError) as exc:
            return DialResult.SILENT, str(exc)
        result = DialResult.SILENT, "the network stack is being rebuilt"
        for at in found:
            session = self._session
            if session is None:
                break
            result = await session.connect(peer_id, at)
            if result[0] is DialResult.CONNECTED:
                self._table.remember(peer_id, [address], proven=True)  # the name, not what it stands for just now
                break
        return result

    # -- living with peers -----------------------------------------------------------------------------------------

    def _attend(self, peer_id: str, connected: bool, by_remote: bool) -> None:
        if connected and self._tasks is not None:
            self._tasks.start_soon(self._live_with, peer_id)

    async def _live_with(self, peer_id: str) -> None:
        gone = self._table.gone(peer_id)
        self._dialer.want(peer_id)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ping, peer_id)
                nursery.start_soon(self._ask_peers, peer_id)
                await gone.wait()
                nursery.cancel_scope.cancel()
        except Exception:
            log.exception("looking after %s failed", peer_id)

    async def _ping(self, peer_id: str) -> None:
        config = self._config
        while True:
            try:
                stream = await self.open(peer_id, PING)
                try:
                    while True:
                        began = time.perf_counter()
                        with trio.fail_after(config.ping_timeout_s):
                            nonce = os.urandom(8)
                            await stream.send(nonce)
                            if await stream.receive() != nonce:
                                break
                        self._table.answered(peer_id, (time.perf_counter() - began) * 1000)
                        # A ping of theirs is as good; who pings next is left to chance, so that both sides measure.
                        quiet_s = config.ping_interval_s * self._random.uniform(0.8, 1.0)
                        while (rest_s := quiet_s - self._table.silence_s(peer_id)) > 0:  # noqa: ASYNC110 - waits for time
                            await trio.sleep(rest_s)
                finally:
                    await stream.aclose()
            except (StreamClosed, trio.TooSlowError):
                pass
            if self._table.silence_s(peer_id) > config.ping_timeout_s and self._session is not None:
                log.info("%s is silent; disconnecting", peer_id)
                await self._session.disconnect(peer_id)
            await trio.sleep(min(1.0, config.ping_interval_s))

    async def _echo(self, stream: Stream) -> None:
        while True:
            ping = await stream.receive()
            self._table.heard(stream.peer_id)
            await stream.send(ping[:64])

    async def _ask_peers(self, peer_id: str) -> None:
        wait, told = 1.0, frozenset[str]()
        base = self._config.exchange_interval_s
        while True:
            await trio.sleep(wait * self._random.uniform(0.5, 1.0))
            news = True
            try:
                stream = await self.open(peer_id, PEERS)
                try:
                    with trio.move_on_after(5):
                        addresses = decode_peers(await stream.receive())
                        news = not told.issuperset(addresses)
                        told = frozenset(addresses)
                        self._learned(peer_id, addresses)
                finally:
                    await stream.aclose()
            except (StreamClosed, ValueError) as error:
                log.debug("%s told no peers: %s", peer_id, error)
            # Who is new tells us so itself; whoever has had nothing to tell is asked less often.
            wait = base if news else min(max(2 * wait, base), _EXCHANGE_RARER * base)

    async def _tell_peers(self, stream: Stream) -> None:
        await stream.send(encode(Peers(peers=self._known_peers())))

    def _known_peers(self) -> tuple[str, ...]:
        known = [min(a, key=is_quic) for peer in self._table.ids() if (a := self._table.addresses(peer))]
        self._random.shuffle(known)
        return tuple(known[:MAX_PEERS])

    def _learned(self, peer_id: str, addresses: tuple[str, ...]) -> None:
        self._dialer.learn(addresses)


async def _notice_cancel(stop: trio.Event, parting: trio.CancelScope) -> None:
    try:
        await trio.sleep_forever()
    finally:
        parting.deadline = trio.current_time() + _PARTING_S
        stop.set()


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _import_libp2p() -> None:
    try:
        importlib.import_module("agent_core.mesh.session")
    except (ImportError, RuntimeError) as error:
        raise Unavailable(
            f"The network stack can't be loaded: {error}.", "Install again with `make install`."
        ) from error
