"""The slice hub: what faces subscribe to, recomputed lazily, coalesced, and never held up by a slow reader (SPEC section 15).

A *state* slice is a value: latest wins, sent only when it changed. A *stream* slice is items: every one is kept for a
reader up to a bound, then the oldest go and are counted. Services say ``mark`` and ``push``; both are plain quick calls.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from agent_core.errors import ChorusError, InvalidInput
from agent_core.nearest import nearest
from agent_core.shapes import RoomView, SliceEvent

if TYPE_CHECKING:
    from trio_typing import TaskStatus

logger = logging.getLogger(__name__)

#: Batches a reader gets at most in a second.
MAX_BATCHES_PER_S = 20
#: Items of a stream that wait for one reader at most, and that a new reader is shown.
QUEUE_ITEMS = 500
#: A value has to fit into one line of the control socket with room for its frame.
MAX_VALUE_BYTES = 900_000
#: Slices one reader may subscribe to.
MAX_SUBSCRIPTIONS = 64
#: Bytes of stream items in one batch at most, so that a batch too fits into a line.
_BATCH_BYTES = 400_000

_encode = msgspec.json.Encoder().encode


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``subscribe`` answers for one slice."""

    rev: int
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    items: tuple[msgspec.Raw, ...] | msgspec.UnsetType = msgspec.UNSET
    dropped: int | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """Counters since the start."""

    readers: int
    subscriptions: int
    batches_total: int
    computed_total: int
    pushed_total: int
    dropped_total: int


@dataclass(slots=True)
class _State:
    compute: Callable[[], Any]
    refresh_s: float
    rev: int = 0
    raw: bytes = b""
    due: float = 0.0
    dirty: bool = True


@dataclass(slots=True)
class _Stream:
    keep: deque[msgspec.Raw]
    rev: int = 0


@dataclass(slots=True)
class _Queue:
    items: deque[msgspec.Raw]
    rev: int
    dropped: int = 0


@dataclass(eq=False)
class Reader:
    """One subscriber. Its memory is bounded: one value a state slice, :data:`QUEUE_ITEMS` items a stream."""

    _hub: SliceHub
    _wanted: set[str] = field(default_factory=set)
    _values: dict[str, SliceEvent] = field(default_factory=dict)
    _queues: dict[str, _Queue] = field(default_factory=dict)
    _wake: trio.Event = field(default_factory=trio.Event)

    def subscribe(self, slices: Iterable[str]) -> dict[str, Snapshot]:
        """Add slices and say how they stand now.

        A slice whose part of the node hasn't started yet is left out of the answer; its first event carries it whole.

        Raises:
            InvalidInput: no such slice, or too many.
        """
        names = list(dict.fromkeys(slices))
        for name in names:
            self._hub.check(name)
        if len(self._wanted.union(names)) > MAX_SUBSCRIPTIONS:
            raise InvalidInput(f"One reader may subscribe to {MAX_SUBSCRIPTIONS} slices at most.")
        self._wanted.update(names)
        answer: dict[str, Snapshot] = {}
        for name in names:
            snapshot = self._hub.snapshot(name)
            self._values.pop(name, None)  # the answer says it already
            if snapshot is not None:
                answer[name] = snapshot
            if self._hub.is_stream(name):
                self._queues[name] = _Queue(deque(), snapshot.rev if snapshot else 0)
        return answer

    def unsubscribe(self, slices: Iterable[str]) -> None:
        """Drop slices; ones that weren't subscribed to are ignored."""
        for name in slices:
            self._wanted.discard(name)
            self._values.pop(name, None)
            self._queues.pop(name, None)
            self._hub.forget(name)

    async def receive(self) -> list[SliceEvent]:
        """The next batch: waits until the hub has something for this reader. Safe to cancel; nothing is lost."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            events = list(self._values.values())
            self._values.clear()
            events += self._drain()
            if events:
                return events

    def close(self) -> None:
        """Stop receiving."""
        self._hub.remove(self)

    @property
    def wanted(self) -> frozenset[str]:
        """The slices it is subscribed to."""
        return frozenset(self._wanted)

    def _offer(self, event: SliceEvent) -> None:
        self._values[event.slice] = event

    def _enqueue(self, stream: str, rev: int, item: msgspec.Raw) -> int:
        """Queue an item; returns how many were dropped for it."""
        queue = self._queues[stream]
        queue.items.append(item)
        queue.rev = rev
        if len(queue.items) <= QUEUE_ITEMS:
            return 0
        queue.items.popleft()
        queue.dropped += 1
        return 1

    def _drain(self) -> list[SliceEvent]:
        events = []
        for name, queue in self._queues.items():
            items: list[msgspec.Raw] = []
            size = 0
            while queue.items and (not items or size + len(queue.items[0]) <= _BATCH_BYTES):
                size += len(queue.items[0])
                items.append(queue.items.popleft())
            if items:
                rev = queue.rev - len(queue.items)
                events.append(SliceEvent(slice=name, rev=rev, items=tuple(items), dropped=queue.dropped))
            if queue.items:
                self._wake.set()
        return events


class SliceHub:
    """Computes each slice once for all its readers, and only while there are any.

    Args:
        clock: seconds, monotonic; trio's.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._known = {"state": set[str](), "keyed": set[str](), "stream": set[str]()}
        self._states: dict[str, _State] = {}
        self._keyed: dict[str, tuple[Callable[[str], Any], float]] = {}
        self._streams: dict[str, _Stream] = {}
        self._readers: set[Reader] = set()
        self._wake = trio.Event()
        self._batches = self._computed = self._pushed = self._dropped = 0

    # --- what the node does ---------------------------------------------------------------------------------------------

    def expect(self, *, state: Iterable[str] = (), keyed: Iterable[str] = (), stream: Iterable[str] = ()) -> None:
        """Names that may be subscribed to before their part of the node has started."""
        self._known["state"].update(state)
        self._known["keyed"].update(keyed)
        for name in stream:
            self._known["stream"].add(name)
            self._streams.setdefault(name, _Stream(deque(maxlen=QUEUE_ITEMS)))

    def state(self, name: str, compute: Callable[[], Any], *, refresh_s: float = 0.0) -> None:
        """Serve a state slice.

        Args:
            name: the slice.
            compute: gives the value; called at most 20 times a second, and only while somebody is subscribed.
            refresh_s: recompute it so often although nothing was marked, for values that change with time; 0 never.
        """
        self._known["state"].add(name)
        before = self._states.get(name)
        self._states[name] = _State(compute, refresh_s, rev=before.rev if before else 0)
        self._wake.set()

    def keyed(self, prefix: str, compute: Callable[[str], Any], *, refresh_s: float = 0.0) -> None:
        """Serve state slices named ``prefix:<key>``; ``compute`` gets the key."""
        self._known["keyed"].add(prefix)
        self._keyed[prefix] = (compute, refresh_s)
        for name in {n for r in self._readers for n in r.wanted if n.partition(":")[0] == prefix}:
            self._make_keyed(name)
        self._wake.set()

    def stream(self, name: str) -> None:
        """Serve a stream slice."""
        self.expect(stream=(name,))

    def mark(self, *slices: str) -> None:
        """Say that slices may have changed; a bare keyed prefix (``room``) marks all of its slices."""
        for name in slices:
            if name in self._keyed:
                for key, state in self._states.items():
                    state.dirty |= key.partition(":")[0] == name
            elif name in self._states:
                self._states[name].dirty = True
        self._wake.set()

    def push(self, stream: str, item: msgspec.Struct) -> None:
        """Add an item to a stream slice."""
        target = self._streams[stream]
        raw = msgspec.Raw(_encode(item))
        target.rev += 1
        target.keep.append(raw)
        self._pushed += 1
        for reader in self._readers:
            if stream in reader._queues:
                self._dropped += reader._enqueue(stream, target.rev, raw)
                self._wake.set()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver batches for ever, at most :data:`MAX_BATCHES_PER_S` a second."""
        task_status.started()
        while True:
            with trio.move_on_at(self._next_due()):
                await self._wake.wait()
            self._wake = trio.Event()
            self._flush()
            await trio.sleep(1 / MAX_BATCHES_PER_S)

    # --- what readers do ------------------------------------------------------------------------------------------------

    def reader(self) -> Reader:
        """A new reader, subscribed to nothing."""
        reader = Reader(self)
        self._readers.add(reader)
        return reader

    def remove(self, reader: Reader) -> None:
        """Forget a reader."""
        self._readers.discard(reader)
        for name in reader.wanted:
            self.forget(name)

    def check(self, name: str) -> None:
        """Raises ``InvalidInput`` unless there is such a slice."""
        prefix, colon, key = name.partition(":")
        if colon:
            known = prefix in self._known["keyed"] and 0 < len(key) <= 512
        else:
            known = name in self._known["state"] or name in self._known["stream"]
        if not known:
            names = sorted(self._known["state"] | self._known["stream"]) + [f"{k}:<id>" for k in self._known["keyed"]]
            raise InvalidInput(
                f"There is no slice {name[:60]!r}.", nearest(name, names, f"Subscribe to some of: {', '.join(names)}.")
            )

    def is_stream(self, name: str) -> bool:
        """Whether a slice is a stream."""
        return name in self._streams

    def snapshot(self, name: str) -> Snapshot | None:
        """How a slice stands now; nothing for one that isn't there yet."""
        stream = self._streams.get(name)
        if stream is not None:
            return Snapshot(rev=stream.rev, items=_newest(stream.keep), dropped=0)
        state = self._states.get(name) or self._make_keyed(name)
        if state is None:
            return None
        # The others learn what is found here with the next flush.
        if self._update(name, state):
            self._deliver(name, state)
        return Snapshot(rev=state.rev, value=msgspec.Raw(state.raw)) if state.raw else None

    def forget(self, name: str) -> None:
        """Let go of a keyed slice that nobody reads any more."""
        if ":" in name and not any(name in r.wanted for r in self._readers):
            self._states.pop(name, None)

    def statistics(self) -> HubStatistics:
        """Counters since the start."""
        return HubStatistics(
            readers=len(self._readers),
            subscriptions=sum(len(r.wanted) for r in self._readers),
            batches_total=self._batches,
            computed_total=self._computed,
            pushed_total=self._pushed,
            dropped_total=self._dropped,
        )

    # --- inside ---------------------------------------------------------------------------------------------------------

    def _make_keyed(self, name: str) -> _State | None:
        prefix, colon, key = name.partition(":")
        if not colon or prefix not in self._keyed:
            return None
        compute, refresh_s = self._keyed[prefix]
        return self._states.setdefault(name, _State(lambda: compute(key), refresh_s))

    def _wanted(self) -> set[str]:
        return {name for reader in self._readers for name in reader.wanted}

    def _next_due(self) -> float:
        dues = [s.due for n, s in self._states.items() if s.refresh_s and any(n in r.wanted for r in self._readers)]
        return min(dues, default=float("inf"))

    def _flush(self) -> None:
        now = self._clock()
        for name in self._wanted():
            state = self._states.get(name)
            if state is None:
                continue
            if (state.dirty or (state.refresh_s and now >= state.due)) and self._update(name, state):
                self._deliver(name, state)
        for reader in self._readers:
            if reader._values or any(q.items for q in reader._queues.values()):
                self._batches += 1
                reader._wake.set()

    def _update(self, name: str, state: _State) -> bool:
        """Recompute a state slice; whether it changed. A view that fails costs its slice one update, never the hub."""
        state.dirty = False
        state.due = self._clock() + state.refresh_s
        self._computed += 1
        try:
            raw = fit(state.compute())
        except ChorusError as exc:
            logger.debug("slice %s has no value now: %s", name, exc)
            return False
        except Exception:
            logger.exception("slice %s could not be computed", name)
            return False
        if raw == state.raw:
            return False
        state.raw = raw
        state.rev += 1
        return True

    def _deliver(self, name: str, state: _State) -> None:
        event = SliceEvent(slice=name, rev=state.rev, value=msgspec.Raw(state.raw))
        for reader in self._readers:
            if name in reader.wanted:
                reader._offer(event)
        self._wake.set()


def fit(value: Any, limit: int = MAX_VALUE_BYTES) -> bytes:
    """A slice's value as JSON that fits into one line: long lists lose their end, a room its oldest messages."""
    raw = _encode(value)
    while len(raw) > limit:
        if isinstance(value, RoomView) and len(value.messages) > 1:
            value = msgspec.structs.replace(value, messages=value.messages[len(value.messages) // 2 :])
        elif isinstance(value, list | tuple) and value:
            value = value[: len(value) // 2]
        else:
            return b"null"
        raw = _encode(value)
    return raw


def _newest(items: Iterable[msgspec.Raw]) -> tuple[msgspec.Raw, ...]:
    """The newest items that fit into one line, oldest first."""
    chosen: list[msgspec.Raw] = []
    size = 0
    for item in reversed(list(items)):
        size += len(item)
        if size > _BATCH_BYTES:
            break
        chosen.append(item)
    return tuple(reversed(chosen))
