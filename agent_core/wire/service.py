"""The wire: publishing envelopes, judging and dispatching what arrives, and the topics this node follows (SPEC section 3)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import trio

from agent_core.clock import HybridClock, rfc3339, wall_ms
from agent_core.errors import InvalidInput, Unavailable
from agent_core.grammar import a
from agent_core.ids import uuid7
from agent_core.network import Network, Verdict
from agent_core.shapes import Traffic
from agent_core.wire import catalogue, topics
from agent_core.wire.envelope import ENVELOPE_VERSION, Envelope, Priority, SpeakerKind, decode, encode
from agent_core.wire.judge import Judgement, Limits, MessageJudge, RosterLookup, Standing
from agent_core.wire.traffic import TrafficTap, TrafficWatcher
from agent_core.wire.waiting import Waiting, WaitingRoom

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("chorus.wire")

#: How many messages may wait for one slow subscriber before the next is dropped and counted.
BACKLOG = 256


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks through this node."""

    agent_id: str
    role: str
    kind: SpeakerKind


@dataclass(frozen=True, slots=True)
class Received:
    """A message as handlers get it: ``data`` is typed, or nothing for a type this version doesn't know."""

    topic: str
    peer: str  #: who relayed it
    envelope: Envelope
    data: Any

    @property
    def sender(self) -> str:
        """The author's peer id."""
        return self.envelope.sender


Handler: TypeAlias = Callable[[Received], Awaitable[None] | None]
#: What every outgoing text passes (``shhh.Door.text``): gives back the text to send, or raises ``SecretFound``.
Door: TypeAlias = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class WireStatistics:
    """Counters since the start."""

    sent: int
    received: int
    verdicts: Mapping[str, int]
    unknown_types: int
    waiting: int
    handler_failures: int
    dropped: int  #: messages that a slow handler made us drop
    topics: Sequence[str]


@dataclass(eq=False, slots=True)
class _Subscription:
    what: str
    handler: Handler
    send: trio.MemorySendChannel[Coroutine[Any, Any, None]]
    receive: trio.MemoryReceiveChannel[Coroutine[Any, Any, None]]
    working: bool = False

    def wants(self, type: str) -> bool:
        family = catalogue.FAMILY_OF.get(type)
        return self.what in ("*", type, family.name if family else type.split(".", 1)[0])


@dataclass(slots=True)
class _Counters:
    sent: int = 0
    received: int = 0
    unknown_types: int = 0
    handler_failures: int = 0
    dropped: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)


class Wire:
    """Gossip for the domains. Takes over the network's judge and receiver.

    Args:
        network: what carries the messages.
        me: who speaks here.
        clock: stamps what is sent, and is moved by what arrives.
        standing: the roster's word on authors; this node's own messages always pass.
        door: what every outgoing text passes (SHHH).
        name: what a sender is called, by its peer id and the name it says it has.
        fetch_roster: called with the relaying peer when a message of an unknown author begins to wait.
        limits: bounds of judging.
        now_ms: Unix time in milliseconds.
    """

    def __init__(
        self,
        network: Network,
        me: Speaker,
        clock: HybridClock,
        standing: RosterLookup,
        *,
        door: Door | None = None,
        name: Callable[[str, str], str] = lambda peer, claimed: claimed or peer,
        fetch_roster: Callable[[str], None] | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self.me = me
        self._network = network
        self._clock = clock
        self._door = door
        self._fetch_roster = fetch_roster
        self._now_ms = now_ms
        self._judge = MessageJudge(
            lambda peer: Standing.MEMBER if peer == network.peer_id else standing(peer), limits=limits
        )
        self._waiting = WaitingRoom()
        self._waits = trio.Event()  #: set while a message waits
        self._subscriptions: list[_Subscription] = []
        self._joined: Counter[str] = Counter()
        self._joining = trio.Lock()
        self._nursery: trio.Nursery | None = None
        self._counters = _Counters()
        self.traffic = TrafficTap(name=name)
        network.set_judge(self.judge)
        network.set_receiver(self.receive)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the topics every node follows, serve slow handlers, and let nobody wait too long. Runs until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for topic in topics.STATIC:
                    await self.join(topic)
                for subscription in self._subscriptions:
                    self._begin(subscription)
                task_status.started()
                while True:
                    await self._waits.wait()
                    await trio.sleep(1)
                    self.roster_changed()
        finally:
            self._nursery = None
            for subscription in self._subscriptions:
                subscription.working = False
                _discard(subscription)

    # --- out ----------------------------------------------------------------------------------------------------------

    async def publish(
        self,
        topic: str,
        type: str,
        data: msgspec.Struct,
        *,
        thread_id: str = "",
        target_roles: tuple[str, ...] = (),
        required_expertise: tuple[str, ...] = (),
        priority: Priority = Priority.NORMAL,
        hop_count: int = 0,
        traceparent: str = "",
    ) -> Envelope:
        """Send a message to everybody who follows a topic. Best effort: what must arrive is an entry.

        Args:
            topic: one of SPEC section 3.
            type: a type of the catalogue.
            data: a payload of that type's schema.
            thread_id: what it belongs to.
            target_roles: for whom it is meant; empty for everybody.
            required_expertise: what a reader should know.
            priority: how much it matters.
            hop_count: how often it was passed on.
            traceparent: W3C trace context.

        Raises:
            InvalidInput: no such topic or type, or the data is of another schema.
            SecretFound: SHHH refuses it.
            TooLarge: over 256 KiB.
            Unavailable: the network can't send now.
        """
        if not topics.is_valid(topic):
            raise InvalidInput(
                f"{topic[:80]!r} is not a topic.",
                "One looks like CHORUS/issue/<id>/v1; agent_core/wire/topics.py has them all.",
            )
        if not isinstance(data, catalogue.get(type).schema):
            raise InvalidInput(
                f"{a(type).capitalize() if type.islower() else a(type)} doesn't carry {a(data.__class__.__name__)}."
            )
        now = self._now_ms()
        envelope = Envelope(
            v=ENVELOPE_VERSION,
            id=uuid7(now),
            type=type,
            sender=self._network.peer_id,
            agent_id=self.me.agent_id,
            role=self.me.role,
            kind=self.me.kind,
            hlc=self._clock.now(),
            sent_at=rfc3339(now),
            data=msgspec.Raw(msgspec.json.encode(data if self._door is None else _checked(data, self._door))),
            hop_count=hop_count,
            thread_id=thread_id,
            target_roles=target_roles,
            required_expertise=required_expertise,
            priority=priority,
            traceparent=traceparent,
        )
        payload = encode(envelope)
        self.traffic.record(
            now_ms=now, topic=topic, peer=envelope.sender, payload=payload, verdict="sent", envelope=envelope
        )
        try:
            await self._network.publish(topic, payload)
        except trio.BrokenResourceError as exc:
            raise Unavailable("The mesh can't send just now.", "Try again in a moment.") from exc
        self._counters.sent += 1
        return envelope

    # --- in -----------------------------------------------------------------------------------------------------------

    def judge(self, topic: str, peer: str, payload: bytes, author: str) -> Verdict:
        """Judge one message for the network; never raises.

        Args:
            topic: where it came.
            peer: who relayed it.
            payload: the message.
            author: whose signature the network checked.
        """
        try:
            judgement = self._judge.judge(payload, self._now_ms(), author)
        except Exception:  # a bug of ours must cost one message, not the node
            log.exception("judging failed")
            judgement = Judgement(Verdict.IGNORE, "judging failed")
        envelope = judgement.envelope
        if envelope is not None and envelope.sender == self._network.peer_id and judgement.verdict is Verdict.ACCEPT:
            return judgement.verdict  # our own: noted when it was sent
        if judgement.wait and envelope is not None and self._wait(topic, peer, payload, judgement):
            return judgement.verdict
        self._note(topic, peer, payload, judgement)
        return judgement.verdict

    def receive(self, topic: str, peer: str, payload: bytes) -> None:
        """Take in one accepted message and hand it to its subscribers; never raises."""
        try:
            envelope = decode(payload)
            data = catalogue.read(envelope)
        except Exception:
            log.exception("an accepted message can't be read")
            return
        self._deliver(Received(topic, peer, envelope, data))

    def roster_changed(self) -> None:
        """Judge again those whose authors were unknown: now they may be members, or have waited long enough."""
        now, self._waits = self._now_ms(), trio.Event()
        for message in self._waiting.take_all():
            judgement = self._judge.admit(message.envelope, message.data, len(message.payload), now)
            if judgement.wait and now < message.until_ms and self._waiting.add(message):
                self._waits.set()
                continue
            self._note(message.topic, message.peer, message.payload, judgement)
            if judgement.verdict is Verdict.ACCEPT:
                self._deliver(Received(message.topic, message.peer, message.envelope, message.data))

    def subscribe(self, what: str, handler: Handler) -> Callable[[], None]:
        """Call a handler with every accepted message of a type or family, this node's own ones too.

        A handler that fails costs one message. One that returns an awaitable is served in order by a task of its own;
        when it is more than 256 messages behind, the next are dropped and counted.

        Args:
            what: a type (``feed.head``), a family (``coordination``, ``election``) or ``*``.
            handler: takes a :class:`Received`.

        Returns:
            A function that ends the subscription.
        """
        send, receive = trio.open_memory_channel[Coroutine[Any, Any, None]](BACKLOG)
        subscription = _Subscription(what, handler, send, receive)
        self._subscriptions.append(subscription)
        self._begin(subscription)

        def end() -> None:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
                send.close()

        return end

    def tap(self, watcher: TrafficWatcher) -> Callable[[], None]:
        """Call the watcher with every message seen, sent or refused; returns what ends it."""
        return self.traffic.watch(watcher)

    def newest_traffic(self, limit: int = 500) -> Sequence[Traffic]:
        """The newest messages that passed, oldest first."""
        return self.traffic.newest(limit)

    # --- topics -------------------------------------------------------------------------------------------------------

    async def join(self, topic: str) -> None:
        """Follow a topic; every call wants one :meth:`leave`.

        Raises:
            InvalidInput: no such topic.
        """
        if not topics.is_valid(topic):
            raise InvalidInput(
                f"{topic[:80]!r} is not a topic.",
                "One looks like CHORUS/issue/<id>/v1; agent_core/wire/topics.py has them all.",
            )
        async with self._joining:
            if not self._joined[topic]:
                await self._network.join(topic)
            self._joined[topic] += 1

    async def leave(self, topic: str) -> None:
        """Undo one :meth:`join`; the last one leaves the topic."""
        async with self._joining:
            if self._joined[topic] > 1:
                self._joined[topic] -= 1
            elif self._joined.pop(topic, 0):
                await self._network.leave(topic)

    def statistics(self) -> WireStatistics:
        """Counters since the start."""
        counters = self._counters
        return WireStatistics(
            sent=counters.sent,
            received=counters.received,
            verdicts=dict(counters.verdicts),
            unknown_types=counters.unknown_types,
            waiting=len(self._waiting),
            handler_failures=counters.handler_failures,
            dropped=counters.dropped,
            topics=tuple(sorted(t for t, n in self._joined.items() if n)),
        )

    # --- inside -------------------------------------------------------------------------------------------------------

    def _wait(self, topic: str, peer: str, payload: bytes, judgement: Judgement) -> bool:
        assert judgement.envelope is not None
        until = self._now_ms() + self._waiting.wait_ms
        waits = self._waiting.add(Waiting(topic, peer, payload, judgement.envelope, judgement.data, until))
        if waits:
            self._waits.set()
        if waits and self._fetch_roster is not None:
            try:
                self._fetch_roster(peer)
            except Exception:
                log.exception("fetching the roster failed")
        return waits

    def _note(self, topic: str, peer: str, payload: bytes, judgement: Judgement) -> None:
        self._counters.verdicts[judgement.verdict.value] += 1
        envelope = judgement.envelope
        if judgement.verdict is Verdict.ACCEPT and envelope is not None:
            self._clock.observe(envelope.hlc)
            if judgement.data is None:
                self._counters.unknown_types += 1
        self.traffic.record(
            now_ms=self._now_ms(),
            topic=topic,
            peer=peer,
            payload=payload,
            verdict=judgement.verdict.value,
            reason=judgement.reason,
            envelope=envelope,
        )

    def _deliver(self, message: Received) -> None:
        self._counters.received += 1
        for subscription in tuple(self._subscriptions):
            if not subscription.wants(message.envelope.type):
                continue
            try:
                result = subscription.handler(message)
                if result is not None:
                    self._queue(subscription, result)
            except Exception:
                self._handler_failed(message.envelope.type)

    def _queue(self, subscription: _Subscription, result: Awaitable[None]) -> None:
        work = result if isinstance(result, Coroutine) else _awaited(result)
        try:
            subscription.send.send_nowait(work)
        except (trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            work.close()
            self._counters.dropped += 1

    def _begin(self, subscription: _Subscription) -> None:
        if self._nursery is not None and not subscription.working:
            subscription.working = True
            self._nursery.start_soon(self._serve, subscription)

    async def _serve(self, subscription: _Subscription) -> None:
        async for work in subscription.receive:
            try:
                await work
            except Exception:
                self._handler_failed(subscription.what)

    def _handler_failed(self, what: str) -> None:
        self._counters.handler_failures += 1
        log.exception("a handler of %s failed; the message is lost to it", what)


def _checked(data: msgspec.Struct, door: Door) -> msgspec.Struct:
    """The payload with every string checked; bytes were, when they became entries."""
    plain = msgspec.to_builtins(data, builtin_types=(bytes,))
    clean = _walk(plain, door)
    return data if clean == plain else msgspec.convert(clean, type(data))


def _walk(value: Any, door: Door) -> Any:
    match value:
        case str():
            return door(value)
        case dict():
            return {key: _walk(item, door) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_walk(item, door) for item in value)
        case _:
            return value


async def _awaited(work: Awaitable[None]) -> None:
    await work


def _discard(subscription: _Subscription) -> None:
    while True:
        try:
            subscription.receive.receive_nowait().close()
        except (trio.WouldBlock, trio.EndOfChannel):
            return
