"""What two nodes tell each other first: which network they are of, where they listen, whom they know."""

from __future__ import annotations

import msgspec

from agent_core.multiaddrs import is_quic, multiaddr, parse_peer
from agent_core.strict_json import has_key_twice

HELLO = "/chorus/hello/1.0.0"
PING = "/chorus/ping/1.0.0"
PEERS = "/chorus/peers/1.0.0"

MAX_HELLO_BYTES = 16 * 1024
MAX_ADDRESSES, MAX_PEERS, _MAX_CHARS = 8, 32, 320


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame each side sends on ``/chorus/hello/1.0.0``, as JSON."""

    v: int
    network: str
    addresses: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()


class Peers(msgspec.Struct, frozen=True, kw_only=True):
    """The one frame that answers on ``/chorus/peers/1.0.0``: full multiaddrs of peers connected now."""

    peers: tuple[str, ...] = ()


_hello = msgspec.json.Decoder(Hello)
_peers = msgspec.json.Decoder(Peers)


def encode(message: Hello | Peers) -> bytes:
    """The frame of a message."""
    return msgspec.json.encode(message)


def decode_hello(frame: bytes) -> Hello:
    """Read a hello; more addresses than allowed are cut off.

    Raises:
        ValueError: not a hello.
    """
    if len(frame) > MAX_HELLO_BYTES:
        raise ValueError("a hello that long is none")
    hello = _hello.decode(frame)
    if has_key_twice(frame):
        raise ValueError("a hello with a key twice says two things")
    return Hello(
        v=hello.v,
        network=hello.network[:64],
        addresses=_bounded(hello.addresses, MAX_ADDRESSES),
        peers=_bounded(hello.peers, MAX_PEERS),
    )


def decode_peers(frame: bytes) -> tuple[str, ...]:
    """Read a list of peers; more than allowed are cut off.

    Raises:
        ValueError: not such a list.
    """
    if len(frame) > MAX_HELLO_BYTES:
        raise ValueError("a list of peers that long is none")
    return _bounded(_peers.decode(frame).peers, MAX_PEERS)


def seen_from_here(claimed: tuple[str, ...], peer_id: str, remote_host: str) -> list[str]:
    """Where a peer can be dialled: the ports it says it listens on, at the address it really connected from.

    So nobody can make this node connect to a third party by claiming its address.
    """
    found: list[str] = []
    for address in claimed:
        try:
            _, port, claimed_id = parse_peer(address)
            mine = multiaddr(remote_host, port, peer_id, quic=is_quic(address))
        except ValueError:
            continue
        if claimed_id == peer_id and mine not in found:
            found.append(mine)
    return found


def _bounded(addresses: tuple[str, ...], most: int) -> tuple[str, ...]:
    return tuple(address for address in addresses[:most] if len(address) <= _MAX_CHARS)
