"""QUIC beside TCP: what libp2p's needs before the mesh can rely on it. Off unless somebody asks to listen on it.

It can't replace TCP. A process that is killed closes its TCP connections, and its peers see that within milliseconds; of a QUIC connection they see nothing until it
has been silent for :data:`IDLE_S`, which is no evidence of death (SPEC section 5).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import trio
from libp2p.transport.quic.connection import QUICConnection
from libp2p.transport.quic.listener import QUICListener
from libp2p.transport.quic.transport import QUICTransport

#: Silence after which a connection is given up, seconds. The mesh pings every five.
IDLE_S = 15.0
_TIMED_OUT = "Idle timeout"

RELIED_ON: tuple[tuple[Callable[..., Any], tuple[str, ...]], ...] = (
    (QUICConnection.close, ("self",)),
    (QUICConnection.connect, ("self", "nursery")),
    (QUICListener._create_socket, ("self", "host", "port")),
    (QUICConnection._handle_connection_terminated, ("self", "event")),
)


def apply() -> None:
    """Patch QUIC's connections; once a process, by :func:`agent_core.mesh.compat.apply`."""
    QUICConnection.close = _marked(QUICConnection.close)
    QUICConnection.connect = _kept(QUICConnection.connect)
    QUICListener._create_socket = _create_socket
    QUICConnection._handle_connection_terminated = _told_apart(QUICConnection._handle_connection_terminated)


def prepare(swarm: Any) -> None:
    """Set a host's QUIC transport up."""
    for transport in swarm.transport_manager.get_transports():
        if isinstance(transport, QUICTransport):
            for config in transport._quic_configs.values():
                config.idle_timeout = IDLE_S


def release(swarm: Any) -> None:
    """Close the sockets that a cancelled host leaves open: libp2p's own way to close them ends at the first wait."""
    for transport in swarm.transport_manager.get_transports():
        if isinstance(transport, QUICTransport):
            owners = [c for c in getattr(transport, "chorus_connections", ()) if c._owns_socket]
            for owner in (*owners, *transport._listeners):
                if owner._socket is not None:
                    owner._socket.close()


def closed_by_peer(muxed_conn: QUICConnection) -> bool:
    """Whether a connection that is ending was closed from the other side."""
    return bool(muxed_conn.is_closed) and not getattr(muxed_conn, "chorus_timed_out", False)


def _marked(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def close(self: Any) -> None:
        if not self.is_closed:
            self.chorus_closed_here = True
        await inner(self)

    return close


def _told_apart(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def _handle_connection_terminated(self: Any, event: Any) -> None:
        """Silence ends a connection as well as the peer does, and is no evidence of anything."""
        self.chorus_timed_out = event.reason_phrase == _TIMED_OUT
        await inner(self, event)

    return _handle_connection_terminated


def _kept(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def connect(self: Any, nursery: Any) -> None:
        """Remember the connection, whose socket is to be closed at the end."""
        known: WeakSet[Any] = self._transport.__dict__.setdefault("chorus_connections", WeakSet())
        known.add(self)
        await inner(self, nursery)

    return connect


async def _create_socket(self: Any, host: str, port: int) -> Any:
    """A socket that is this host's alone: libp2p's would share its port with whoever asks."""
    sock = trio.socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        await sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock
