"""Blocks between two nodes: asking for them, verified, and serving them to members, each within a budget."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from agent_core.blocks import protocol
from agent_core.blocks.catalogue import Catalogue
from agent_core.blocks.model import address
from agent_core.blocks.protocol import PROTOCOL, AskHeld, Block, Frame, Held, Want
from agent_core.blocks.store import BlockStore
from agent_core.budget import Bucket
from agent_core.errors import StoreError, VerificationFailed
from agent_core.feeds.model import EntryKey
from agent_core.network import Network, Offence, Stream, StreamClosed
from agent_core.telemetry.sparing import Sparing

log = logging.getLogger(__name__)

#: No answer takes longer, or the stream is given up: a block that drips in slower than 13 KiB/s isn't waited for.
ANSWER_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 1.0
#: Streams one peer may hold open towards us, how long one may be idle, seconds, and what is served on all of them.
MAX_SERVED, IDLE_S = 4, 60.0
SERVED_BYTES_PER_S, SERVED_BURST = 32 * 1024 * 1024, 16 * 1024 * 1024
#: Peers whose budget is remembered.
_MAX_BUDGETS = 256

F = TypeVar("F", bound=Frame)


class Lie(Exception):
    """A peer's answer isn't what was asked for."""


class Line:
    """A stream on which one peer is asked, one question at a time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def block(self, hash: bytes, size: int) -> bytes | None:
        """A block that was checked; nothing if the peer doesn't have it.

        Args:
            hash: its address.
            size: how long it must be.

        Raises:
            Lie: it answered with something else.
            StreamClosed, trio.TooSlowError: it doesn't answer.
        """
        data = (await self.ask(Want(block=hash), Block)).data
        if data is not None and (len(data) != size or address(data) != hash):
            raise Lie("it sent a block that isn't the one asked for")
        return data

    async def ask(self, question: Frame, kind: type[F]) -> F:
        """One question and its answer. Raises as :meth:`block`."""
        with trio.fail_after(ANSWER_TIMEOUT_S):
            await self._stream.send(protocol.encode(question))
            raw = await self._stream.receive()
        try:
            frame = protocol.decode(raw)
        except VerificationFailed as exc:
            raise Lie(exc.message) from exc
        if not isinstance(frame, kind):
            raise Lie("it answered with another frame than was asked for")
        return frame


class Exchange:
    """The streams of ``/chorus/blocks/1.0.0``, both ways.

    Args:
        network: where peers and streams come from.
        store: what is served.
        bodies: knows which bodies are whole.
        accepts: who is a member: only members are asked and served.
    """

    def __init__(self, network: Network, store: BlockStore, bodies: Catalogue, accepts: Callable[[str], bool]) -> None:
        self._network, self._store, self._bodies, self._accepts = network, store, bodies, accepts
        self._serving: defaultdict[str, int] = defaultdict(int)
        self._budgets: dict[str, Bucket] = {}
        self.fetched = self.fetched_bytes = self.served = self.served_bytes = self.lies = 0
        self._sparing = Sparing(log)
        network.handle(PROTOCOL, self.serve)

    def members(self) -> list[str]:
        """The members with a connection now."""
        return [p.peer_id for p in self._network.peers() if self._accepts(p.peer_id)]

    @asynccontextmanager
    async def line(self, peer_id: str) -> AsyncIterator[Line]:
        """A stream to ask a peer on. Raises ``StreamClosed`` and ``trio.TooSlowError``."""
        with trio.fail_after(ANSWER_TIMEOUT_S):
            stream = await self._network.open(peer_id, PROTOCOL)
        try:
            yield Line(stream)
        finally:
            await _hang_up(stream)

    async def holds_whole(self, peer_id: str, key: EntryKey) -> bool:
        """Whether a peer says that it holds the whole body of an entry; not if it doesn't answer."""
        try:
            async with self.line(peer_id) as line:
                return (await line.ask(AskHeld(author=key.author, epoch=key.epoch, seq=key.seq), Held)).whole
        except (StreamClosed, trio.TooSlowError):
            return False
        except Lie as lie:
            self.lied(peer_id, lie)
            return False

    def lied(self, peer_id: str, lie: Lie) -> None:
        """Count and log a lie; it costs the peer its score."""
        self.lies += 1
        self._network.offended(peer_id, Offence.QUESTION)
        log.warning("blocks: %s from %s doesn't hold: %s", PROTOCOL, peer_id, lie)

    async def serve(self, stream: Stream) -> None:
        """Answer a member's questions until it hangs up (a :data:`~agent_core.network.StreamHandler`)."""
        peer_id = stream.peer_id
        if self._serving[peer_id] >= MAX_SERVED or not self._accepts(peer_id):
            await _hang_up(stream)
            return
        self._serving[peer_id] += 1
        try:
            while True:
                with trio.fail_after(IDLE_S):
                    question = protocol.decode(await stream.receive())
                found = self._answer(question)
                if isinstance(found, Block) and found.data is not None:
                    self.served += 1
                    self.served_bytes += len(found.data)
                    await trio.sleep(self._budget(peer_id).wait_s(len(found.data), trio.current_time()))
                with trio.fail_after(ANSWER_TIMEOUT_S):
                    await stream.send(protocol.encode(found))
        except (StreamClosed, trio.TooSlowError):
            pass
        except VerificationFailed as exc:
            self.lied(peer_id, Lie(exc.message))
        except StoreError as exc:
            self._sparing.error(f"blocks: peers can't be answered: {exc.message}")
        finally:
            self._serving[peer_id] -= 1
            if not self._serving[peer_id]:
                del self._serving[peer_id]
            await _hang_up(stream)

    def _answer(self, question: protocol.AnyFrame) -> Frame:
        match question:
            case Want():
                return Block(data=self._store.block(question.block))
            case AskHeld():
                key = EntryKey(question.author, question.epoch, question.seq)
                return Held(whole=bool(self._bodies.size(key)) and self._bodies.is_whole(key))
        raise VerificationFailed("a question that is an answer")

    def _budget(self, peer_id: str) -> Bucket:
        budget = self._budgets.pop(peer_id, None) or Bucket(SERVED_BYTES_PER_S, SERVED_BURST, at=trio.current_time())
        while len(self._budgets) >= _MAX_BUDGETS:
            del self._budgets[next(iter(self._budgets))]
        self._budgets[peer_id] = budget
        return budget


async def _hang_up(stream: Stream) -> None:
    with trio.CancelScope(deadline=trio.current_time() + _CLOSE_TIMEOUT_S, shield=True):
        await stream.aclose()
