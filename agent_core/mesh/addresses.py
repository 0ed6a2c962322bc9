"""Multiaddrs as text: the few forms the mesh uses, parsed without libp2p."""

from __future__ import annotations

import re
from ipaddress import ip_address

from agent_core.errors import ConfigError
from agent_core.grammar import a
from agent_core.identity.peer_id import public_key_of

_FORM = re.compile(
    r"/(ip4|ip6|dns|dns4|dns6)/([^/]{1,253})/(?:tcp/(\d{1,5})|udp/(\d{1,5})/quic-v1)"
    r"(?:/p2p/([1-9A-HJ-NP-Za-km-z]{20,64}))?\Z"
)


def parse(address: str) -> tuple[str, int, str]:
    """Host, TCP or UDP port and peer id (empty if there is none) of a multiaddr.

    Raises:
        ValueError: not ``/ip4|ip6|dns…/HOST/tcp/PORT[/p2p/ID]``, nor with ``udp/PORT/quic-v1``.
    """
    match = _FORM.match(address)
    if match is None:
        raise ValueError("not of the form /ip4/HOST/tcp/PORT/p2p/PEER")
    kind, host, port, peer_id = match[1], match[2], int(match[3] or match[4]), match[5] or ""
    if port > 65535:
        raise ValueError(f"there is no port {port}")
    if kind in ("ip4", "ip6") and ip_address(host).version != int(kind[2]):
        raise ValueError(f"{host} is not {a(kind)} address")
    if peer_id:
        public_key_of(peer_id)
    return host, port, peer_id


def parse_peer(address: str) -> tuple[str, int, str]:
    """As :func:`parse`, but the address must name its peer and a port.

    Raises:
        ValueError: it doesn't.
    """
    host, port, peer_id = parse(address)
    if not peer_id:
        raise ValueError("it doesn't end in /p2p/PEER")
    if not port:
        raise ValueError("it has no port")
    return host, port, peer_id


def is_quic(address: str) -> bool:
    """Whether an address that parses is one of QUIC."""
    return "/quic-v1" in address


def endpoint(address: str) -> tuple[str, int]:
    """Host and port of an address to listen on.

    Raises:
        ConfigError: it isn't one.
    """
    try:
        host, port, _ = parse(address)
        ip_address(host)
    except ValueError as error:
        raise ConfigError(
            f"{address!r} is not an address to listen on: {error}.", "Write it as /ip4/127.0.0.1/tcp/9000."
        ) from error
    return host, port


def multiaddr(host: str, port: int, peer_id: str, *, quic: bool = False) -> str:
    """The full multiaddr of a peer at an IP address."""
    transport = f"udp/{port}/quic-v1" if quic else f"tcp/{port}"
    return f"/ip{ip_address(host).version}/{host}/{transport}/p2p/{peer_id}"
