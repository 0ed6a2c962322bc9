"""The dialer: stays connected to the peers it was told of, redials lost ones, and asks hosts whether they refuse."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import trio

from agent_core.mesh.config import MeshConfig
from agent_core.mesh.peers import PeerTable
from agent_core.mesh.resolving import resolve
from agent_core.multiaddrs import is_quic, parse_peer
from agent_core.network import DialResult

#: Peers dialled at the same time; peers wanted at most; seconds after which a lost peer nobody named is given up.
MAX_DIALS, MAX_TARGETS, GIVE_UP_S = 8, 256, 600.0
PROBE_S = 0.5
#: How long an accepted connection must stay open to count, and the pauses before each knock, seconds.
_STAYS_S, _KNOCKS_S = 0.1, (0.0, 0.02, 0.05, 0.1)

#: Dials one address: how it ended and, when it failed, why in a few words.
Connect = Callable[[str, str], Awaitable[tuple[DialResult, str]]]


@dataclass(eq=False)
class _Target:
    peer_id: str
    named: bool
    trouble: str = ""  #: what the person was told of it and still holds
    give_up_at: float = field(default_factory=lambda: trio.current_time() + GIVE_UP_S)
    paused_until: float = 0.0
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Dialer:
    """Keeps connections to wanted peers.

    Args:
        config: bootstrap list and waits.
        own_id: never dialled.
        table: knows who is connected, and all addresses.
        connect: dials one full multiaddr of a peer.
        note: takes a sentence for the person: an address that doesn't work is told once.
        over: takes the sentence again, once the peer is there after all.
    """

    def __init__(
        self,
        config: MeshConfig,
        own_id: str,
        table: PeerTable,
        connect: Connect,
        note: Callable[[str], None],
        over: Callable[[str], None],
    ) -> None:
        self._config = config
        self._own_id = own_id
        self._table = table
        self._connect = connect
        self._note = note
        self._over = over
        self._random = random.Random(config.rng_seed)
        self._targets: dict[str, _Target] = {}
        self._nursery: trio.Nursery | None = None
        self._limit = trio.CapacityLimiter(MAX_DIALS)

    async def run(self) -> None:
        """Dial the bootstrap peers and keep at it until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                for target in self._targets.values():
                    nursery.start_soon(self._keep, target)
                for address in self._config.bootstrap:
                    try:
                        peer_id = parse_peer(address)[2]
                    except ValueError as error:
                        self._note(f"Bootstrap address {address!r} can't be used: {error}.")
                        continue
                    self._table.remember(peer_id, [address])
                    self.want(peer_id, named=True)
                self.learn(self._config.known)
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def want(self, peer_id: str, *, named: bool = False) -> None:
        """Stay connected to a peer whose address is known.

        Args:
            peer_id: the peer.
            named: somebody asked for it by address: never given up, and failures are told.
        """
        if peer_id == self._own_id:
            return
        target = self._targets.get(peer_id)
        if target is not None:
            target.named = target.named or named
            return
        if len(self._targets) >= MAX_TARGETS and not self._make_room():
            return
        target = self._targets[peer_id] = _Target(peer_id, named)
        if self._nursery is not None:
            self._nursery.start_soon(self._keep, target)

    def _make_room(self) -> bool:
        """Give up the peer wanted longest of those that nobody named and that aren't there: heaps of names must not keep newer ones out."""
        for peer_id, target in self._targets.items():
            if not target.named and not self._table.is_connected(peer_id):
                del self._targets[peer_id]
                target.scope.cancel()
                return True
        return False

    def learn(self, addresses: Iterable[str]) -> None:
        """Addresses of others that a peer told us; dialled while this node has few peers."""
        for address in addresses:
            try:
                peer_id = parse_peer(address)[2]
            except ValueError:
                continue
            if peer_id != self._own_id and not self._table.is_connected(peer_id):
                self._table.remember(peer_id, [address])
                if len(self._table) < self._config.wanted_peers:
                    self.want(peer_id)

    def release(self, peer_id: str, seconds: float) -> None:
        """The connection is unwanted: no redial for a while, and none ever if nobody named the peer."""
        target = self._targets.get(peer_id)
        if target is not None:
            target.paused_until = trio.current_time() + seconds

    async def dial(self, address: str) -> tuple[DialResult, str]:
        """Dial one full multiaddr now and keep the connection from then on."""
        try:
            peer_id = parse_peer(address)[2]
        except ValueError as error:
            return DialResult.SILENT, str(error)
        if peer_id == self._own_id:
            return DialResult.SILENT, "that is this node itself"
        if self._table.is_connected(peer_id):
            return DialResult.CONNECTED, ""
        self._table.remember(peer_id, [address])
        result = await self._connect(peer_id, address)
        self.want(peer_id, named=True)
        return result

    async def _keep(self, target: _Target) -> None:
        with target.scope:
            await self._stay_connected(target)

    async def _stay_connected(self, target: _Target) -> None:
        peer = target.peer_id
        wait = self._config.redial_min_s
        try:
            while True:
                if self._table.is_connected(peer):
                    self._settle(target)
                    await self._table.gone(peer).wait()
                    target.give_up_at = trio.current_time() + GIVE_UP_S
                    wait = self._config.redial_min_s
                    await self._pause(peer, self._jittered(wait))
                    continue
                now = trio.current_time()
                if now < target.paused_until:
                    if not target.named:
                        return
                    await self._pause(peer, target.paused_until - now)
                    continue
                if not target.named and now > target.give_up_at:
                    return
                if await self._try(target):
                    continue
                await self._pause(peer, self._jittered(wait))
                wait = min(2 * wait, self._config.redial_max_s)
        finally:
            if self._targets.get(peer) is target:
                del self._targets[peer]

    async def _try(self, target: _Target) -> bool:
        why = "no address is known"
        address = ""
        for address in self._table.addresses(target.peer_id):
            async with self._limit:
                if self._table.is_connected(target.peer_id):
                    return True
                result, why = await self._connect(target.peer_id, address)
            if result is DialResult.CONNECTED:
                return True
        if target.named and not target.trouble:
            target.trouble = f"No connection to {address or target.peer_id}: {why}. Trying again in the background."
            self._note(target.trouble)
        return False

    def _settle(self, target: _Target) -> None:
        if target.trouble:
            self._over(target.trouble)
            target.trouble = ""

    async def _pause(self, peer: str, seconds: float) -> None:
        """Wait, or until the peer connects by itself."""
        with trio.move_on_after(seconds):
            while not self._table.is_connected(peer):
                await self._table.changed()

    def _jittered(self, seconds: float) -> float:
        return seconds * self._random.uniform(0.5, 1.5)


async def probe(addresses: Iterable[str], timeout_s: float = PROBE_S) -> DialResult:
    """Connect to the TCP ports and let go at once, to see whether the host refuses.

    Returns:
        ``CONNECTED`` if one accepts, ``REFUSED`` if all refuse, ``SILENT`` for anything else.
    """
    results: list[DialResult] = []

    async def knock(address: str) -> None:
        try:
            host, port, _ = parse_peer(address)
            # A dying process may close its connections just before its listener: what it still accepted is reset at once.
            for pause_s in _KNOCKS_S:
                await trio.sleep(pause_s)
                if await _stays_open(host, port):
                    results.append(DialResult.CONNECTED)
                    break
        except (OSError, ValueError) as error:
            refused = isinstance(error, OSError) and error.errno == errno.ECONNREFUSED
            results.append(DialResult.REFUSED if refused else DialResult.SILENT)

    asked: list[str] = []
    with trio.move_on_after(timeout_s):
        for address in [a for a in addresses if not is_quic(a)][:4]:  # a UDP port that is silent says nothing
            try:
                asked += await resolve(address)  # all that a name stands for must refuse
            except (OSError, ValueError):
                results.append(DialResult.SILENT)
        async with trio.open_nursery() as nursery:
            for address in asked:
                nursery.start_soon(knock, address)
    if DialResult.CONNECTED in results:
        return DialResult.CONNECTED
    if asked and results == [DialResult.REFUSED] * len(asked):
        return DialResult.REFUSED
    return DialResult.SILENT


async def _stays_open(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with trio.socket.socket(family, socket.SOCK_STREAM) as sock:
        await sock.connect((host, port))
        try:
            with trio.fail_after(_STAYS_S):
                return bool(await sock.recv(1))
        except trio.TooSlowError:
            return True
        except OSError:
            return False
