"""The answering side of replication: one stream a question at a time, and asking back where a peer holds more."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from agent_core.errors import StoreError, VerificationFailed
from agent_core.feeds import protocol
from agent_core.feeds.model import Head
from agent_core.feeds.protocol import ANSWER_TIMEOUT_S
from agent_core.feeds.store import FeedKey
from agent_core.network import Stream, StreamClosed
from agent_core.telemetry.sparing import Sparing

log = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S = 1.0
#: Streams one peer may hold open towards us.
MAX_SERVED = 4


class Shown(protocol.Shown, Protocol):
    """What is shown to peers."""

    def heard(self, peer_id: str, heads: Sequence[Head]) -> None:
        """A peer said what it holds."""
        ...


class Server:
    """Answers peers.

    Args:
        shown: what they may see.
        ask_back: called with a peer and a feed of which it holds more, or something else.
        lied: called with a peer and why when its question isn't one.
    """

    def __init__(
        self,
        shown: Shown,
        ask_back: Callable[[str, FeedKey], None],
        lied: Callable[[str, VerificationFailed], None],
    ) -> None:
        self._shown, self._ask_back, self._lied = shown, ask_back, lied
        self._sparing = Sparing(log)
        self._serving: defaultdict[str, int] = defaultdict(int)

    async def serve(self, stream: Stream) -> None:
        """Answer a peer's questions until it hangs up (a :data:`~agent_core.network.StreamHandler`)."""
        peer_id = stream.peer_id
        if self._serving[peer_id] >= MAX_SERVED:
            await stream.aclose()
            return
        self._serving[peer_id] += 1
        try:
            while True:
                frame = protocol.decode(await stream.receive())
                found = protocol.answer(self._shown, frame)
                with trio.fail_after(ANSWER_TIMEOUT_S):
                    await stream.send(protocol.encode(found))
                if isinstance(frame, protocol.Have):
                    self._shown.heard(peer_id, frame.heads)
                    self._look_at(peer_id, frame.heads)
        except (StreamClosed, trio.TooSlowError):
            pass
        except VerificationFailed as exc:
            self._lied(peer_id, exc)
        except StoreError as exc:
            self._sparing.error(f"feeds: peers can't be answered: {exc.message}")
        finally:
            self._serving[peer_id] -= 1
            if not self._serving[peer_id]:
                del self._serving[peer_id]
            await close(stream)

    def _look_at(self, peer_id: str, heads: Sequence[Head]) -> None:
        """Ask back where a peer holds more of a feed, or something else."""
        store = self._shown.store
        for head in heads:
            if not self._shown.wants(head.author):
                continue
            ours = store.head(head.author, head.epoch)
            limit = protocol.end_of(self._shown, head.author, head.epoch)
            if limit is not None and ours.size >= limit:
                continue
            if head.size > ours.size or (head.size == ours.size and head.root != ours.root):
                self._ask_back(peer_id, (head.author, head.epoch))


async def close(stream: Stream) -> None:
    """Close a stream, also when cancelled, and wait no longer for it than a second."""
    with trio.CancelScope(deadline=trio.current_time() + _CLOSE_TIMEOUT_S, shield=True):
        await stream.aclose()
