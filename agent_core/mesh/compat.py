"""Every patch to py-libp2p, each with its reason, and the check that the libp2p here is the one they were written for.

py-libp2p 0.8.1 runs stream handlers in nurseries without a fence, so one exception ends the host; shares its listening port with
whoever asks; and writes its warnings to stderr. All of that is put right here, before the first host is made; what is slow, in
:mod:`agent_core.mesh.hotpath`.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import libp2p.network.connection.swarm_connection as swarm_connection_module
import libp2p.transport.tcp.tcp as tcp_module
import trio
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.swarm import Swarm
from libp2p.pubsub.pubsub import Pubsub
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.quic.connection import QUICConnection

from agent_core.mesh import fencing, hotpath, quic

log = logging.getLogger("chorus.mesh")

VERSION = "0.8.1"

#: Of Linux's ``linux/tcp.h``, for which Python has no name; and the least that it takes (ms).
_TCP_RTO_MAX_MS, _RTO_MAX_MS = 44, 1000

#: What is patched or called although it is private, with the parameters relied on.
_RELIED_ON: tuple[tuple[Callable[..., Any], tuple[str, ...]], ...] = (
    (SwarmConn._handle_muxed_stream, ("self", "muxed_stream")),
    (SwarmConn.close, ("self",)),
    (Yamux.close, ("self", "error_code")),
    (Pubsub.stream_handler, ("self", "stream")),
    (Pubsub.continuously_read_stream, ("self", "stream")),
    (Pubsub._handle_new_peer, ("self", "peer_id")),
    (Pubsub._build_announce_rpc, ("self", "topic_id", "subscribe")),
    (Swarm._dial_addr_single_attempt, ("self", "addr", "peer_id", "source")),
    (tcp_module._set_reuse_flags, ("sock",)),
    *fencing.RELIED_ON,
    *hotpath.RELIED_ON,
    *quic.RELIED_ON,
)

_applied = False


def apply() -> None:
    """Patch libp2p, once a process.

    Raises:
        RuntimeError: another version of libp2p is installed than the patches were written for.
    """
    global _applied
    if _applied:
        return
    check()
    fencing.apply()
    SwarmConn._handle_muxed_stream = _fenced(SwarmConn._handle_muxed_stream)
    SwarmConn.close = _announced(SwarmConn.close)
    Yamux.close = _marked(Yamux.close)
    hotpath.apply()
    quic.apply()
    tcp_module._set_reuse_flags = _reuse_address_only
    # It logs with the root logger's functions, and those set a handler for stderr up when there is none.
    swarm_connection_module.logging = logging.getLogger("libp2p.network.connection")
    _applied = True


def check() -> None:
    """Whether this is the libp2p that the patches fit.

    Raises:
        RuntimeError: it isn't; says what differs.
    """
    version = importlib.metadata.version("libp2p")
    if version != VERSION:
        raise RuntimeError(f"libp2p {version} is installed; this mesh needs {VERSION}")
    for function, expected in _RELIED_ON:
        found = tuple(inspect.signature(function).parameters)
        if found != expected:
            raise RuntimeError(f"libp2p's {function.__qualname__} takes {found}, not {expected}")


def quiet() -> None:
    """Send libp2p's log to this program's own handlers only: it would write over the console otherwise."""
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if name.partition(".")[0] == "libp2p" and isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.NOTSET)
    root = logging.getLogger("libp2p")
    root.handlers[:] = [logging.NullHandler()]
    root.setLevel(logging.CRITICAL)  # its errors are other people's hang-ups; what matters is logged by us
    # Where nobody set up logging, Python's last resort would still print: only real handlers get to see libp2p's lines.
    root.propagate = bool(logging.getLogger().handlers)


# -- fences and hooks ----------------------------------------------------------------------------------------------


def _fenced(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def _handle_muxed_stream(self: Any, muxed_stream: Any) -> None:
        """No exception of a stream handler leaves its stream; no connection holds more streams than it may."""
        table = getattr(self.swarm, "chorus_table", None)
        connection = table.of(self.muxed_conn) if table is not None else None
        if connection is not None and connection.inbound_streams >= self.swarm.chorus_max_streams:
            await _reset(muxed_stream)
            return
        if connection is not None:
            connection.inbound_streams += 1
        try:
            await inner(self, muxed_stream)
        except Exception as error:
            log.info("a stream of %s ended with %s: %s", self.muxed_conn.peer_id, type(error).__name__, error)
            await _reset(muxed_stream)
        finally:
            if connection is not None:
                connection.inbound_streams -= 1

    return _handle_muxed_stream


async def _reset(muxed_stream: Any) -> None:
    try:
        await muxed_stream.reset()
    except Exception as error:
        log.debug("resetting a stream failed: %s", error)


def _announced(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def close(self: Any) -> None:
        """The peer table hears of it first: libp2p notifies only after it has slept for a while."""
        table = getattr(self.swarm, "chorus_table", None)
        if table is not None and not self.event_closed.is_set():
            table.closed(self, not getattr(self.muxed_conn, "chorus_closed_here", False) and _ended(self.muxed_conn))
        await inner(self)

    return close


def _ended(muxed_conn: Any) -> bool:
    """Whether the connection had ended before anybody here asked to close it: the other side closed."""
    if isinstance(muxed_conn, QUICConnection):
        return quic.closed_by_peer(muxed_conn)
    return bool(muxed_conn.event_shutting_down.is_set() or muxed_conn.event_closed.is_set())


def _marked(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def close(self: Any, error_code: int = yamux.GO_AWAY_NORMAL) -> None:
        if not self.event_shutting_down.is_set():
            self.chorus_closed_here = True
        await inner(self, error_code)

    return close


def _reuse_address_only(sock: Any) -> None:
    """Without SO_REUSEPORT, which would let a second node take half of the first one's connections in silence."""
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
    resend_soon(sock)  # accepted sockets inherit it


def resend_soon(sock: Any) -> None:
    """Let the kernel send again what got lost at least once a second, however long the line was dead (RFC 6298 doubles the wait).

    A line that was dead for some seconds is alive again within one. Linux has this from 6.15 on; elsewhere the redial does it.
    """
    with suppress(OSError):
        sock.setsockopt(trio.socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, _RTO_MAX_MS)
