"""The DHT: libp2p's Kademlia on a protocol of our own, with bounded, validated records."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import libp2p.kad_dht.common
import libp2p.kad_dht.kad_dht
import libp2p.kad_dht.peer_routing
import libp2p.kad_dht.provider_store
import libp2p.kad_dht.value_store
import trio
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.id import ID
from libp2p.records.pubkey import PublicKeyValidator
from libp2p.records.validator import NamespacedValidator, Validator
from libp2p.tools.anyio_service import background_trio_service

from agent_core.errors import TooLarge, Unavailable

log = logging.getLogger("chorus.mesh")

KAD = "/chorus/kad/1.0.0"
NAMESPACE = "chorus"
MAX_RECORD_BYTES = 8 * 1024
#: Provider records kept for others, and those of one peer among them. libp2p bounds neither.
MAX_PROVIDED, MAX_PROVIDED_BY_ONE = 8192, 512
#: A SHA-256 multihash, hex, begins so.
_SHA256 = "1220"
_LOOK_S = 15.0
#: Of others' records, and bytes of one frame. libp2p would keep 50,000 and read 4 MiB.
MAX_RECORDS, MAX_FRAME_BYTES = 2048, 64 * 1024

_MODULES = (
    libp2p.kad_dht.common,
    libp2p.kad_dht.kad_dht,
    libp2p.kad_dht.peer_routing,
    libp2p.kad_dht.provider_store,
    libp2p.kad_dht.value_store,
)


class _AnyKey:
    """Stands in for ``multihash`` where libp2p reads the key of a look-up, which it takes for a peer id's.

    A record's key is text and longer than its 50 bytes: the look-up for it was reset, so that nobody found the peers closest to a
    record beyond those it knew, and other implementations put none at all.
    """

    @staticmethod
    def decode(key: bytes) -> None:
        """Every key is one."""


class _Validator(Validator):  # type: ignore[misc]  # libp2p is untyped
    """A record's key names the SHA-256 of its value, so nobody can put another one there."""

    def validate(self, key: str, value: bytes) -> None:
        if len(value) > MAX_RECORD_BYTES:
            raise ValueError("a record that long isn't kept")
        if key != key_of(value):
            raise ValueError("the record isn't what its key names")

    def select(self, key: str, values: list[bytes]) -> int:
        return 0


def key_of(value: bytes) -> str:
    """The DHT key of a value."""
    return f"/{NAMESPACE}/{hashlib.sha256(value).hexdigest()}"


class Dht:
    """Content-addressed records and provider records on the mesh.

    Args:
        host: the libp2p host.
        admitted: waits until the hello on a stream's connection went through; raises when it doesn't.
    """

    def __init__(self, host: Any, admitted: Callable[[Any], Awaitable[object]]) -> None:
        for module in _MODULES:  # `protocol_prefix` is accepted by libp2p and never used
            module.PROTOCOL_ID = TProtocol(KAD)
            if hasattr(module, "MAX_DHT_MESSAGE_SIZE"):
                module.MAX_DHT_MESSAGE_SIZE = MAX_FRAME_BYTES
        libp2p.kad_dht.kad_dht.multihash = _AnyKey
        libp2p.kad_dht.value_store.MAX_VALUE_STORE_SIZE = MAX_RECORDS
        self._kad = KadDHT(
            host,
            DHTMode.SERVER,
            validator=NamespacedValidator({NAMESPACE: _Validator(), "pk": PublicKeyValidator()}),
            validator_changed=True,
            strict_validation=True,
            max_peers_per_subnet=0,
        )
        self._own_id = str(host.get_id())
        _bound(self._kad.provider_store)

        async def serve(stream: Any) -> None:
            await admitted(stream.muxed_conn)
            await self._kad.handle_stream(stream)

        host.set_stream_handler(TProtocol(KAD), serve)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with background_trio_service(self._kad):
            await trio.sleep_forever()

    async def add_peer(self, peer_id: str) -> None:
        """A peer connected: libp2p would look for it only after ten minutes."""
        await self._kad.routing_table.add_peer(ID.from_base58(peer_id))

    @property
    def records(self) -> int:
        """Records and provider records kept here."""
        return int(self._kad.get_value_store_size()) + int(self._kad.provider_store.size())

    async def provide(self, address: bytes) -> bool:
        """Tell the peers closest to a SHA-256 that this node has what it names; whether one of them took the record."""
        try:
            with trio.fail_after(_LOOK_S):
                return bool(await self._kad.provide(_SHA256 + address.hex()))
        except Exception as error:  # whatever a peer's answer makes libp2p raise
            log.info("a provider record wasn't put: %s", error)
            return False

    async def providers(self, address: bytes) -> dict[str, list[str]]:
        """Peers that say they have what a SHA-256 names, with the full multiaddrs they say they listen on."""
        found: dict[str, list[str]] = {}
        try:
            with trio.fail_after(_LOOK_S):
                for info in await self._kad.find_providers(_SHA256 + address.hex()):
                    peer = str(info.peer_id)
                    if peer != self._own_id:
                        found[peer] = [f"{str(a).partition('/p2p/')[0]}/p2p/{peer}" for a in info.addrs]
        except Exception as error:
            log.info("providers weren't found: %s", error)
        return found

    async def put(self, value: bytes) -> str:
        """Put a value; returns its key.

        Raises:
            TooLarge: over 8 KiB.
            Unavailable: no peer took it.
        """
        if len(value) > MAX_RECORD_BYTES:
            raise TooLarge(f"A record has {len(value)} bytes; at most {MAX_RECORD_BYTES} are allowed.")
        key = key_of(value)
        try:
            await self._kad.put_value(key, value)
        except Exception as error:
            raise Unavailable(f"The DHT didn't take the record: {error}.") from error
        return key

    async def get(self, key: str) -> bytes | None:
        """The value of a key, or None."""
        value: bytes | None = await self._kad.get_value(key)
        return value if value is not None and key_of(value) == key else None


def _bound(store: Any) -> None:
    """Make libp2p's provider store forget: its oldest key for a new one when it is full, and what one peer says above its share."""
    inner = store.add_provider

    def add_provider(key: bytes, provider: Any) -> None:
        peer = str(provider.peer_id)
        if key not in store.providers:
            if sum(peer in records for records in store.providers.values()) >= MAX_PROVIDED_BY_ONE:
                return
            while len(store.providers) >= MAX_PROVIDED:
                del store.providers[next(iter(store.providers))]
        inner(key, provider)

    store.add_provider = add_provider
