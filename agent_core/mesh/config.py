"""What the mesh is told at start, and the bounds it keeps."""

from __future__ import annotations

from dataclasses import dataclass

#: Longest gossip payload (SPEC section 3).
MAX_GOSSIP_BYTES = 256 * 1024
#: Version of the mesh's own stream protocols, exchanged in the hello.
MESH_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Settings of one mesh node.

    Args:
        seed: the 32-byte Ed25519 seed of this node's identity.
        listen: multiaddrs to listen on, TCP, and QUIC beside it; port 0 takes any free one. Without one of QUIC none is dialled.
        bootstrap: full multiaddrs (with ``/p2p/``) of peers to stay connected to.
        known: full multiaddrs of peers met before; dialled, but given up when they stay away, and never complained of.
        network: name that separates meshes; peers of another name are disconnected.
        mdns_interfaces: IPv4 addresses of the interfaces to look for peers on; none switches mDNS off.
        dht: run the Kademlia DHT on ``/chorus/kad/1.0.0``.
        max_connections: connections at most; further ones are closed at once.
        max_connections_of_host: connections from one other host (an IPv4 address, an IPv6 /64); all of loopback may have three
            quarters of ``max_connections``.
        max_handshakes: connections from outside whose hello didn't go through yet; half as many of one host.
        knocks_per_s: connections a second that one host may open.
        wanted_peers: peers learned from others are dialled only below this number.
        redial_min_s, redial_max_s: first and longest wait between dials of a lost peer, seconds.
        dial_timeout_s: how long one dial may take, seconds.
        gossip_heartbeat_s: GossipSub's heartbeat, seconds.
        ping_interval_s, ping_timeout_s: how often a peer is pinged, and how long its silence is borne before it is disconnected, seconds.
        exchange_interval_s: how often peers tell each other who they know, seconds.
        messages_per_s, message_burst: gossip messages one peer may relay to us; what is above is dropped.
        bytes_per_s, byte_burst: the same in bytes.
        graylist_s: how long a peer that keeps misbehaving is refused, seconds.
        max_frame_bytes: longest stream frame.
        max_inbound_streams: streams one connection may have open towards us.
        rng_seed: of back-off jitter; the operating system's randomness if not given.
    """

    seed: bytes
    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/9000",)
    bootstrap: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    network: str = "chorus"
    mdns_interfaces: tuple[str, ...] = ()
    dht: bool = False
    max_connections: int = 64
    max_connections_of_host: int = 32
    max_handshakes: int = 32
    knocks_per_s: float = 20.0
    wanted_peers: int = 16
    redial_min_s: float = 0.5
    redial_max_s: float = 30.0
    dial_timeout_s: float = 5.0
    gossip_heartbeat_s: float = 1.0
    ping_interval_s: float = 5.0
    ping_timeout_s: float = 15.0
    exchange_interval_s: float = 15.0
    messages_per_s: float = 500.0
    message_burst: float = 1000.0
    bytes_per_s: float = 8 * 1024 * 1024
    byte_burst: float = 32 * 1024 * 1024
    graylist_s: float = 60.0
    max_frame_bytes: int = 512 * 1024
    max_inbound_streams: int = 64
    rng_seed: int | None = None
