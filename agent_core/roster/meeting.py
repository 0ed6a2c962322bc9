"""Meeting peers over ``/chorus/cooee/1.0.0``: one request, one reply a stream; what each connected peer last said of itself."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from agent_core.errors import VerificationFailed
from agent_core.network import Network, Offence, Stream, StreamClosed
from agent_core.roster.admission import Message, decode, encode
from agent_core.roster.machine import Meeting
from agent_core.roster.model import VoterUse
from agent_core.wire.envelope import one_line
from agent_core.wire.families.cooee import CooeeHello, CooeeReply

log = logging.getLogger("chorus.roster")

PROTOCOL = "/chorus/cooee/1.0.0"
#: Streams served at once, in all and of one peer; more are closed unanswered.
MAX_SERVED = 32
MAX_OF_ONE = 4
#: How long a peer may take to ask, and how long an answer may take that needs a committed act.
ASK_S = 10.0
ANSWER_S = 30.0
#: How often connected peers are greeted again, in case a greeting got lost.
GREET_AGAIN_MS = 60_000
#: How often to look who is due, although nobody came; seconds.
_LOOK_S = 5.0

#: Answers a request of an authenticated peer.
Answer = Callable[[str, Message], Awaitable[Message]]


class Meetings:
    """Greets every connected peer and remembers what it said, for as long as it is connected.

    Args:
        network: where the peers are.
        hello: what this node says of itself now, to a peer.
        answer: answers enrolments and leaves.
        changed: called when a peer came, went or said something new.
        now_ms: milliseconds on a clock that only grows.
    """

    def __init__(
        self,
        network: Network,
        hello: Callable[[str], CooeeHello],
        answer: Answer,
        changed: Callable[[], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._network = network
        self._hello = hello
        self._answer = answer
        self._changed = changed
        self._now_ms = now_ms
        self._met: dict[str, Meeting] = {}
        self._greeted_ms: dict[str, int] = {}
        self._served: dict[str, int] = {}
        self._wake = trio.Event()
        self.ahead_s: dict[str, float] = {}  #: by how much this node's clock is ahead of each connected peer's, seconds
        self.other_networks: dict[str, str] = {}  #: connected peers of other networks, and which
        network.handle(PROTOCOL, self._serve)
        network.watch_peers(self._peer_changed)

    def met(self) -> tuple[Meeting, ...]:
        """What the peers connected now have said, by peer id."""
        connected = self.connected()
        return tuple(m for p, m in sorted(self._met.items()) if p in connected)

    def get(self, peer_id: str) -> Meeting | None:
        """What one peer last said."""
        return self._met.get(peer_id)

    def forget_use(self, peer_id: str) -> None:
        """The peer takes leave: it is nobody to make a voter of until it greets anew."""
        if peer_id in self._met:
            m = self._met[peer_id]
            self._met[peer_id] = replace(m, voter_use=VoterUse.NEVER, doubt="")

    def connected(self) -> frozenset[str]:
        """Peer ids with an open connection."""
        return frozenset(peer.peer_id for peer in self._network.peers())

    def greet_all(self) -> None:
        """Tell everybody anew what this node is: something about it changed."""
        self._greeted_ms.clear()
        self._wake.set()

    async def run(self) -> None:
        """Greet whoever connects, until cancelled."""
        while True:
            self._wake = trio.Event()
            await self._greet_due()
            with trio.move_on_after(self._next_due_s()):
                await self._wake.wait()

    async def ask(self, peer_id: str, message: Message, timeout_s: float) -> Message | None:
        """One request to a peer; nothing if it didn't answer, or with garbage."""
        with trio.move_on_after(timeout_s):
            try:
                stream = await self._network.open(peer_id, PROTOCOL)
                try:
                    await stream.send(encode(message))
                    return decode(await stream.receive())
                finally:
                    await _close(stream)
            except (StreamClosed, VerificationFailed) as exc:
                log.debug("%s didn't answer: %s", peer_id, exc)
        return None

    async def _greet_due(self) -> None:
        connected, now = self.connected(), self._now_ms()
        for table in (self._met, self._greeted_ms, self.ahead_s, self.other_networks):
            for gone in [p for p in table if p not in connected]:
                del table[gone]
        due = [p for p in connected if now - self._greeted_ms.get(p, -GREET_AGAIN_MS) >= GREET_AGAIN_MS]
        async with trio.open_nursery() as nursery:
            for peer in due:
                nursery.start_soon(self._greet, peer, now)

    def _next_due_s(self) -> float:
        last_ms = min(self._greeted_ms.values(), default=math.inf)
        return min(max(0.0, last_ms + GREET_AGAIN_MS - self._now_ms()) / 1000, _LOOK_S)

    async def _greet(self, peer: str, now: int) -> None:
        self._greeted_ms[peer] = now
        asked_at = trio.current_time()
        reply = await self.ask(peer, self._hello(peer), 3.0)
        if isinstance(reply, CooeeHello):
            if reply.at_ms:  # said half a round trip ago, give or take that half
                half_s = (trio.current_time() - asked_at) / 2
                self.ahead_s[peer] = (self._now_ms() - reply.at_ms) / 1000 - half_s
            self._heard(peer, reply)
        else:
            self._greeted_ms[peer] = now - GREET_AGAIN_MS + 2000  # once more in two seconds

    def _heard(self, peer: str, hello: CooeeHello) -> None:
        if peer not in self.connected():
            return
        if hello.network != self._hello(peer).network:
            self.other_networks[peer] = one_line(hello.network, 64)
            return
        meeting = Meeting(
            peer_id=peer,
            agent_id=one_line(hello.agent_id, 64),
            cluster=hello.cluster,
            lone=hello.lone,
            moving=hello.moving,
            members=hello.members,
            replaces=hello.replaces,
            leader=hello.leader,
            voter_use=VoterUse(hello.voter_use),
            doubt=hello.doubt,
            waiting=hello.waiting,
        )
        if self._met.get(peer) != meeting:
            self._met[peer] = meeting
            self._changed()

    def _peer_changed(self, peer: str, connected: bool, from_remote: bool) -> None:
        self._greeted_ms.pop(peer, None)
        if not connected:
            self._met.pop(peer, None)
        self._wake.set()
        self._changed()

    async def _serve(self, stream: Stream) -> None:
        peer = stream.peer_id
        if sum(self._served.values()) >= MAX_SERVED or self._served.get(peer, 0) >= MAX_OF_ONE:
            if peer in self._served:  # else it is others who ask too much
                self._network.offended(peer, Offence.REQUESTS)
            await _close(stream)
            return
        self._served[peer] = self._served.get(peer, 0) + 1
        try:
            with trio.move_on_after(ASK_S + ANSWER_S) as scope:
                scope.deadline = trio.current_time() + ASK_S
                frame = await stream.receive()
                scope.deadline = trio.current_time() + ANSWER_S
                await stream.send(encode(await self._reply(peer, frame)))
        except StreamClosed:
            pass
        finally:
            self._served[peer] -= 1
            if not self._served[peer]:
                del self._served[peer]
            await _close(stream)

    async def _reply(self, peer: str, frame: bytes) -> Message:
        try:
            message = decode(frame)
            if isinstance(message, CooeeHello):
                self._heard(peer, message)
                return self._hello(peer)
            return await self._answer(peer, message)
        except VerificationFailed as exc:
            self._network.offended(peer, Offence.QUESTION)
            return CooeeReply(status="refused", message=exc.message)
        except Exception:  # a bug of ours costs this request, not the node
            log.exception("a request of %s failed", peer)
            return CooeeReply(status="pending", message="This node failed to answer.", next="Ask again in a moment.")


async def _close(stream: Stream) -> None:
    with trio.move_on_after(1) as scope:
        scope.shield = True
        await stream.aclose()
