"""Fences around py-libp2p's connections: who gets in, what frames, streams and negotiations a peer may cost. Applied by ``compat``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import libp2p.host.basic_host as basic_host_module
import libp2p.identity.identify_push.identify_push as identify_push_module
import trio
from libp2p.abc import IMuxedConn
from libp2p.identity.identify_push.identify_push import update_peerstore_from_identify
from libp2p.io.utils import read_exactly
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream

from agent_core.mesh.frames import FrameFence, FrameRefused
from agent_core.network import Offence

log = logging.getLogger("chorus.mesh")

#: How long the body of a frame may take, one write to a peer, and the leave that is taken of it, seconds.
BODY_S, WRITE_S, LEAVE_S = 15.0, 10.0, 0.5
#: Lines of one protocol negotiation, and how long it may take, seconds.
MAX_PROPOSALS, NEGOTIATION_S = 16, 5
#: Of what a peer says about itself in identify.
MAX_IDENTIFY_ADDRESSES, MAX_IDENTIFY_PROTOCOLS, MAX_IDENTIFY_BYTES = 16, 64, 16 * 1024

RELIED_ON: tuple[tuple[Callable[..., Any], tuple[str, ...]], ...] = (
    (Swarm._handle_inbound_connection, ("self", "read_write_closer", "maddr")),
    (Swarm.upgrade_inbound_raw_conn, ("self", "raw_conn", "maddr")),
    (Yamux.handle_incoming, ("self",)),
    (Yamux._read_data_body, ("self", "length")),
    (YamuxStream.reset, ("self",)),
    (Multiselect.negotiate, ("self", "communicator", "negotiate_timeout")),
    (update_peerstore_from_identify, ("peerstore", "peer_id", "identify_msg")),
    (read_exactly, ("reader", "n", "retry_count")),
)


def apply() -> None:
    """Put the fences up; once a process, by :func:`agent_core.mesh.compat.apply`."""
    yamux.read_exactly = _read_header
    Yamux.handle_incoming = _fenced(Yamux.handle_incoming)
    Yamux._read_data_body = _read_body
    YamuxStream.reset = _emptied(YamuxStream.reset)
    Swarm._handle_inbound_connection = _let_in
    Multiselect.negotiate = _few(Multiselect.negotiate)
    basic_host_module.update_peerstore_from_identify = _identified
    identify_push_module.update_peerstore_from_identify = _identified


def offended(muxed_conn: Any, offence: Offence, why: str) -> None:
    """Tell whoever keeps the scores; a connection that nobody has heard of yet has none to lose."""
    tell = getattr(muxed_conn, "chorus_offended", None)
    if tell is not None:
        tell(offence, why)


# -- the socket ----------------------------------------------------------------------------------------------------


async def _let_in(self: Any, read_write_closer: Any, maddr: Any) -> None:
    """Upgrade a connection from outside, and keep it until it closes.

    libp2p's own gives a place to each connection and takes none back before the host ends, so that after as many connections
    as there are places nobody can connect any more; and it waits in a task for each of them until then.
    """
    remote = read_write_closer.get_remote_address()
    scope = trio.CancelScope()
    guest = self.chorus_entrance.knock(remote[0] if remote else "", scope.cancel, trio.current_time())
    if guest is None:
        await read_write_closer.close()
        return
    ready = isinstance(read_write_closer, IMuxedConn)  # QUIC brings encryption and streams of its own
    raw = read_write_closer if ready else RawConnection(read_write_closer, False)
    try:
        with scope:
            if ready:
                muxed = raw
                await self.add_conn(muxed, direction="inbound")
            else:
                muxed = await self.upgrade_inbound_raw_conn(raw, maddr)
            connection = self.chorus_table.of(muxed)
            if connection is not None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_first_of, nursery, connection.admitted)
                    nursery.start_soon(_first_of, nursery, connection.closed)
                if connection.admitted.is_set():
                    self.chorus_entrance.seat(guest)
                    await connection.closed.wait()
    except Exception as error:
        log.debug("a connection from %s wasn't let in: %s", remote, error)
    finally:
        self.chorus_entrance.leave(guest)
        with trio.move_on_after(LEAVE_S) as last:
            last.shield = True
            await raw.close()


async def _first_of(nursery: trio.Nursery, event: trio.Event) -> None:
    await event.wait()
    nursery.cancel_scope.cancel()


# -- the muxer -----------------------------------------------------------------------------------------------------


def _fenced(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def handle_incoming(self: Any) -> None:
        """Yamux's reader, each header checked before the frame is taken."""
        fence = FrameFence(self.is_initiator, trio.current_time())
        self.secured_conn.chorus_check = lambda header: _check(self, fence, header)
        await inner(self)

    return handle_incoming


def _check(muxer: Any, fence: FrameFence, header: bytes) -> float:
    stream = muxer.streams.get(int.from_bytes(header[4:8], "big"))
    window, granted = (None, 0) if stream is None else (stream.recv_window, stream.send_window)
    try:
        return fence.take(header, window, granted, trio.current_time())
    except FrameRefused as error:
        log.info("%s sends %s", muxer.peer_id, error)
        offended(muxer, error.offence, str(error))
        raise


async def _read_header(reader: Any, n: int, retry_count: int = 100) -> bytes:
    """The only thing yamux reads by this name is headers; an exception makes it close the connection."""
    header: bytes = await read_exactly(reader, n, retry_count)
    check = getattr(reader, "chorus_check", None)
    if check is not None and (pause_s := check(header)):
        await trio.sleep(pause_s)
    return header


async def _read_body(self: Any, length: int) -> bytes:
    with trio.fail_after(BODY_S):
        body: bytes = await read_exactly(self.secured_conn, length)
    return body


def _emptied(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def reset(self: Any) -> None:
        """A stream that is reset keeps no data: nobody will read it, and libp2p would wait a minute for somebody."""
        buffer = self.conn.stream_buffers.get(self.stream_id)
        if buffer is not None:
            buffer.clear()
        await inner(self)

    return reset


async def write_in_time(muxer: Any, data: bytes) -> None:
    """Write a frame; a peer that takes nothing for some seconds is hung up on, as half a frame can't be taken back.

    Raises:
        OSError: it was.
    """
    with trio.move_on_after(WRITE_S) as scope:
        await muxer.secured_conn.write(data)
    if scope.cancelled_caught:
        offended(muxer, Offence.STALL, "reads nothing")
        muxer.event_shutting_down.set()
        await muxer.secured_conn.close()
        raise OSError("the peer reads nothing")


# -- negotiation and identify --------------------------------------------------------------------------------------


class _Few:
    """A multistream communicator that reads a few lines and no more."""

    def __init__(self, inner: Any) -> None:
        self._inner, self._left = inner, MAX_PROPOSALS

    async def write(self, msg_str: str) -> None:
        await self._inner.write(msg_str)

    async def read(self) -> str:
        self._left -= 1
        if self._left < 0:
            offended(getattr(self._inner.read_writer, "muxed_conn", None), Offence.NEGOTIATION, "protocols without end")
            raise MultiselectCommunicatorError("more protocols than anybody has")
        try:
            text: str = await self._inner.read()
        except UnicodeDecodeError as error:
            raise MultiselectCommunicatorError("a protocol that isn't text") from error
        return text


def _few(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def negotiate(self: Any, communicator: Any, negotiate_timeout: int = NEGOTIATION_S) -> Any:
        """Answer a few proposals in a few seconds."""
        return await inner(self, _Few(communicator), min(negotiate_timeout, NEGOTIATION_S))

    return negotiate


async def _identified(peerstore: Any, peer_id: Any, identify_msg: Any) -> None:
    """Take in what a peer says about itself, cut to what anybody has to say; it replaces what the peer said before."""
    if identify_msg.ByteSize() > MAX_IDENTIFY_BYTES:
        return
    del identify_msg.listen_addrs[MAX_IDENTIFY_ADDRESSES:]
    del identify_msg.protocols[MAX_IDENTIFY_PROTOCOLS:]
    peerstore.clear_addrs(peer_id)
    await update_peerstore_from_identify(peerstore, peer_id, identify_msg)
