"""The peers that a home has met, kept in it: so a mesh that was off finds itself again, whoever starts first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import msgspec
import trio

from agent_core.errors import StoreError
from agent_core.network import Network, Peer

if TYPE_CHECKING:
    from trio_typing import TaskStatus

_KEY = "mesh.peers"
#: Peers remembered, newest first, and addresses of each.
MAX_PEERS, MAX_ADDRESSES = 32, 2
#: Between two writes, seconds: peers come and go more often than that matters.
_PAUSE_S = 0.5


class Reader(Protocol):
    """Reads small durable values."""

    def read(self, key: str) -> bytes | None: ...


class Durable(Reader, Protocol):
    """Small durable values."""

    async def write(self, key: str, value: bytes) -> None: ...


def known_addresses(durable: Reader) -> tuple[str, ...]:
    """Where the peers met before can be dialled: full multiaddrs, newest peers first. What can't be read is nothing."""
    return tuple(address for addresses in _read(durable).values() for address in addresses)


class KnownPeers:
    """Writes down who is connected, each time that changes.

    Args:
        network: where the peers are.
        durable: the home's small state.
    """

    def __init__(self, network: Network, durable: Durable) -> None:
        self._network, self._durable = network, durable
        self._changed = trio.Event()
        network.watch_peers(lambda peer, connected, by_remote: self._changed.set())

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the list until cancelled."""
        task_status.started()
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            before = _read(self._durable)
            now = merged(before, self._network.peers())
            if now != before:
                try:
                    await self._durable.write(_KEY, msgspec.json.encode(now))
                except StoreError:  # said elsewhere; the list is written when there is room
                    self._changed.set()
            await trio.sleep(_PAUSE_S)


def merged(before: dict[str, tuple[str, ...]], peers: Iterable[Peer]) -> dict[str, tuple[str, ...]]:
    """The list with the connected peers in front and as they can be reached now."""
    met = {p.peer_id: tuple(p.addresses[:MAX_ADDRESSES]) for p in peers if p.addresses}
    both = {**met, **{peer: addresses for peer, addresses in before.items() if peer not in met}}
    return dict(list(both.items())[:MAX_PEERS])


def _read(durable: Reader) -> dict[str, tuple[str, ...]]:
    try:
        return msgspec.json.decode(durable.read(_KEY) or b"{}", type=dict[str, tuple[str, ...]])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}
