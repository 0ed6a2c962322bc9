"""The libp2p host: noise and yamux on TCP, nothing else, and a check that its addresses can be bound."""

from __future__ import annotations

import errno
import socket
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key
from libp2p.network.config import ConnectionConfig
from libp2p.rcmgr.manager import ResourceManager
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from agent_core.errors import ConfigError, PortInUse
from agent_core.mesh.config import MeshConfig
from agent_core.mesh.entrance import Entrance
from agent_core.mesh.peers import PeerTable
from agent_core.mesh.quic import prepare
from agent_core.multiaddrs import endpoint, is_quic


def build_host(config: MeshConfig, table: PeerTable, entrance: Entrance) -> Any:
    """A host that offers noise only; libp2p's default would offer plaintext as well.

    Args:
        config: identity and bounds.
        table: told of every connection that closes.
        entrance: who is let in at the socket.
    """
    keys = create_new_key_pair(config.seed)
    quic = any(is_quic(address) for address in config.listen)
    host = new_host(
        key_pair=keys,
        sec_opt={NOISE: Noise(keys, noise_privkey=create_noise_key().private_key)},
        muxer_opt={YAMUX: Yamux},
        connection_config=ConnectionConfig(
            max_connections=config.max_connections,
            min_connections=0,
            low_watermark=0,
            high_watermark=config.max_connections,
            dial_timeout=config.dial_timeout_s,
            inbound_upgrade_timeout=config.dial_timeout_s,
            outbound_upgrade_timeout=config.dial_timeout_s,
        ),
        # Its defaults shed connections when the whole machine is short of memory or after unrelated failures.
        resource_manager=ResourceManager(
            enable_metrics=False,
            enable_memory_limits=False,
            enable_circuit_breaker=False,
            enable_graceful_degradation=False,
            enable_rate_limiting=False,  # the entrance does that, by host: identities cost nothing
        ),
        disable_identify_address_discovery=True,
        listen_addrs=[Multiaddr(address) for address in config.listen] if quic else None,
    )
    swarm = host.get_network()
    # It would dial anybody in the peerstore again, those we have just disconnected first.
    swarm.auto_connector.maybe_connect = trio.lowlevel.checkpoint
    if quic:
        prepare(swarm)
    swarm.chorus_table = table
    swarm.chorus_entrance = entrance
    swarm.chorus_max_streams = config.max_inbound_streams
    return host


def check_bindable(listen: tuple[str, ...]) -> None:
    """Bind each address once and let go: libp2p's own errors don't say what is wrong.

    Raises:
        ConfigError: not an address to listen on, or not one of this machine.
        PortInUse: something else listens there.
    """
    for address in listen:
        host, port = endpoint(address)
        kind = socket.SOCK_DGRAM if is_quic(address) else socket.SOCK_STREAM
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, kind) as probe:
            if kind is socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                if kind is socket.SOCK_STREAM:
                    probe.listen(1)
            except PermissionError as error:
                raise ConfigError(
                    f"This user may not listen on port {port}.", "Set p2p.port to one above 1023."
                ) from error
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise PortInUse(
                        f"Port {port} on {host} is in use by another program.",
                        "Stop it, or set p2p.port to another port (0 takes any free one).",
                    ) from error
                raise ConfigError(
                    f"This node can't listen on {host} port {port}: {error.strerror}.",
                    "Set p2p.host to an address of this machine.",
                ) from error
