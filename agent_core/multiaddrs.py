"""Multiaddrs as text: the few forms the mesh uses, parsed without libp2p."""

from __future__ import annotations

import re
from ipaddress import ip_address

from agent_core.errors import ConfigError
from agent_core.identity.peer_id import public_key_of

_FORM = re.compile(
    r"/(ip4|ip6|dns|dns4|dns6)/([^/]{1,253})/(?:tcp/([0-9]{1,5})|udp/([0-9]{1,5})/quic-v1)"
    r"(?:/(?:p2p|ipfs)/([1-9A-HJ-NP-Za-km-z]{20,64}))?\Z"
)
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?\Z")
_EXAMPLE = "not of the form /ip4/HOST/tcp/PORT/p2p/PEER"
#: Parts that other programs of libp2p know, and why an address with one can't be used here.
_UNUSABLE = {
    "dnsaddr": "/dnsaddr/ is looked up in TXT records, which isn't done here; write /dns4/ or /ip4/",
    "ip6zone": "addresses with a zone can't be dialled; write a global address, or a name by /dns6/",
    "ws": "websockets aren't spoken here; write its TCP address",
    "wss": "websockets aren't spoken here; write its TCP address",
    "quic": "this is an old form of QUIC; write /udp/PORT/quic-v1",
    "webtransport": "WebTransport isn't spoken here; write its TCP address",
    "webrtc-direct": "WebRTC isn't spoken here; write its TCP address",
    "p2p-circuit": "relays aren't used here; write an address of the peer itself",
    "onion3": "onion addresses aren't dialled here",
    "unix": "only TCP and QUIC are dialled",
}


def parse(address: str) -> tuple[str, int, str]:
    """Host, TCP or UDP port and peer id (empty if there is none) of a multiaddr; ``/ipfs/ID`` is read as ``/p2p/ID``.

    Raises:
        ValueError: not ``/ip4|ip6|dns…/HOST/tcp/PORT[/p2p/ID]``, nor with ``udp/PORT/quic-v1``; says in half a sentence why.
    """
    match = _FORM.match(address)
    if match is None:
        raise ValueError(_why_not(address))
    kind, host, port, peer_id = match[1], match[2], int(match[3] or match[4]), match[5] or ""
    if port > 65535:
        raise ValueError(f"there is no port {port}")
    if kind in ("ip4", "ip6"):
        if "%" in host:
            raise ValueError(_UNUSABLE["ip6zone"])
        if ip_address(host).version != int(kind[2]):
            raise ValueError(f"{host} is no {kind} address")
    elif not _HOST_NAME.match(host):
        raise ValueError(f"{host!r} is no host's name")
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


def canonical(address: str) -> str:
    """A peer's address in the one spelling that is used from here on: without blanks around it, with ``/p2p/``, IP and port as they are written.

    Raises:
        ValueError: as :func:`parse_peer`.
    """
    address = address.strip()
    host, port, peer_id = parse_peer(address)
    if kind_of(address) in ("ip4", "ip6"):
        return multiaddr(str(ip_address(host)), port, peer_id, quic=is_quic(address))
    transport = f"udp/{port}/quic-v1" if is_quic(address) else f"tcp/{port}"
    return f"/{kind_of(address)}/{host}/{transport}/p2p/{peer_id}"


def kind_of(address: str) -> str:
    """What an address that parses begins with: ``ip4``, ``ip6``, ``dns``, ``dns4`` or ``dns6``."""
    return address.split("/", 2)[1]


def _why_not(address: str) -> str:
    parts = address.split("/")
    for part, why in _UNUSABLE.items():
        if part in parts[1:]:
            return why
    if address and not address.startswith("/") and ":" in address:
        return f"{_EXAMPLE}; HOST:PORT alone doesn't say whose it is"
    return _EXAMPLE


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
