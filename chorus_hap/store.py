"""The one shared reactive store: snapshots and events in, immutable slices out. It knows nothing of terminals.

Panes show what is here and nothing else (SPEC section 16). State slices keep the latest value, stream slices a bounded ring
with honest counters. Who wants to know of changes listens; a callback gets the slice's name and reads the value itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import msgspec

from agent_core.shapes import KEYED_SLICES, STATE_SLICES, STREAM_SLICES, Leader, SliceEvent, Status

T = TypeVar("T")

#: How many items of each stream the console keeps.
RING_ITEMS = 20_000
#: A node whose socket is open but that told nothing for so long is as good as gone, seconds; it tells its status twice a second.
SILENT_S = 3.0
#: The pseudo slice that changes with the connection.
CONNECTION = "connection"

Listener = Callable[[str], None]


class Ring(Generic[T]):
    """The newest items of a stream. Every item has a number that never changes, counted from the first ever received.

    Args:
        capacity: how many items are kept; older ones leave.
    """

    def __init__(self, capacity: int = RING_ITEMS) -> None:
        self._items: deque[T] = deque(maxlen=capacity)
        self.total = 0  #: items ever received
        self.dropped = 0  #: items the node dropped because this console was too slow
        self.healed = 0  #: how many of these were read again

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    @property
    def first(self) -> int:
        """The number of the oldest item still kept."""
        return self.total - len(self._items)

    def extend(self, items: Iterable[T]) -> None:
        """Append the newest items."""
        for item in items:
            self._items.append(item)
            self.total += 1

    def since(self, number: int) -> list[tuple[int, T]]:
        """The kept items from this number on, each with its number."""
        start = max(number, self.first)
        skip = start - self.first
        if skip >= len(self._items):
            return []
        newest = [self._items[i] for i in range(-1, skip - len(self._items) - 1, -1)]
        return list(enumerate(reversed(newest), start))


@dataclass(frozen=True, slots=True)
class Connection:
    """Whether a node answers.

    ``state`` is ``starting``, ``attached``, ``silent`` (attached, but it tells nothing), ``away`` (it was there and is gone),
    ``failed`` (it can't start) or ``stopped`` (it crashed too often). ``reason`` and ``next`` are sentences. ``since`` is on the store's clock, in seconds.
    """

    state: str = "starting"
    since: float = 0.0
    reason: str = ""
    next: str = ""
    owned: bool = True


@dataclass(frozen=True, slots=True)
class _Held:
    value: Any
    rev: int
    at: float


class Store:
    """Slices by name.

    Args:
        clock: seconds, monotonic; ages are counted on it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._values: dict[str, _Held] = {}
        self._rings: dict[str, Ring[Any]] = {name: Ring() for name in STREAM_SLICES}
        self._listeners: dict[str, list[Listener]] = {}
        self._connection = Connection(since=clock())
        self._heard = clock()
        self._only_aged: set[str] = set()
        self.as_of = ""  #: RFC 3339 time of the store on disk while nothing live has arrived

    # --- reading ------------------------------------------------------------------------------------------------------

    def value(self, slice: str) -> Any:
        """The latest value of a state slice (shape as in :data:`agent_core.shapes.STATE_SLICES`), None before the first."""
        held = self._values.get(slice)
        return held.value if held else None

    def items(self, slice: str) -> Sequence[Any]:
        """The latest value of a slice that is a list; empty before the first."""
        value = self.value(slice)
        return () if value is None else value

    def rev(self, slice: str) -> int:
        """The revision of the value held, -1 before the first."""
        held = self._values.get(slice)
        return held.rev if held else -1

    def age_s(self, slice: str) -> float:
        """Seconds since the value arrived."""
        held = self._values.get(slice)
        return max(0.0, self.clock() - held.at) if held else 0.0

    def only_aged(self, slice: str) -> bool:
        """Whether the latest value of a state slice says nothing new but how much time has passed: it need not be shown at once."""
        return slice in self._only_aged

    def ring(self, slice: str) -> Ring[Any]:
        """The ring of a stream slice."""
        return self._rings[slice]

    @property
    def connection(self) -> Connection:
        return self._connection

    @property
    def away(self) -> bool:
        """Whether what is held is of the past: a node was there, or should be, and doesn't answer."""
        return self._connection.state in ("silent", "away", "failed", "stopped")

    @property
    def silence_s(self) -> float:
        """Seconds since the node told anything."""
        return max(0.0, self.clock() - self._heard)

    @property
    def live(self) -> bool:
        """Whether a node answers now."""
        return self._connection.state == "attached"

    @property
    def status(self) -> Status | None:
        value = self.value("status")
        return value if isinstance(value, Status) else None

    def leader(self) -> tuple[Leader | None, bool]:
        """The leader last told of, and whether its claim is certain *now*.

        The claim runs on here after it was told: without news it lapses by itself, so that it is never shown past its end.
        """
        status = self.status
        if status is None or status.leader is None:
            return None, False
        age = self.age_s("status")
        told = status.leader
        certain = told.certain and self.live and told.lease_left_s > age
        left = max(0.0, told.lease_left_s - age) if certain else 0.0
        now = msgspec.structs.replace(told, certain=certain, lease_age_s=told.lease_age_s + age, lease_left_s=left)
        return now, certain

    # --- writing ------------------------------------------------------------------------------------------------------

    def put(self, slice: str, value: Any, rev: int = 0) -> None:
        """Hold a typed value."""
        held = self._values.get(slice)
        same = held is not None and lasting(held.value) == lasting(value)
        (self._only_aged.add if same else self._only_aged.discard)(slice)
        self._values[slice] = _Held(value, rev, self.clock())
        self._tell(slice)

    def snapshot(self, slice: str, answer: dict[str, Any]) -> None:
        """Apply one slice of ``subscribe``'s answer, untyped as it came off the wire.

        Raises:
            msgspec.ValidationError: the value hasn't the slice's shape.
        """
        rev = int(answer.get("rev", 0))
        if slice in STREAM_SLICES:
            ring: Ring[Any] = Ring()
            before = self._rings[slice]
            ring.total = before.total
            shape = STREAM_SLICES[slice]
            ring.extend(msgspec.convert(item, shape) for item in answer.get("items", []))
            ring.dropped = int(answer.get("dropped", 0))
            self._rings[slice] = ring
            self._values[slice] = _Held(None, rev, self.clock())
            self._tell(slice)
        else:
            self.put(slice, msgspec.convert(answer.get("value"), shape_of(slice)), rev)
        self.hear()

    def apply(self, event: SliceEvent) -> bool:
        """Apply one event.

        Returns:
            False when a revision is missing before it: the caller must subscribe to the slice again.
        """
        self.hear()
        held = self.rev(event.slice)
        if event.rev <= held:
            return True  # the snapshot has it
        if event.slice in STREAM_SLICES:
            ring = self._rings[event.slice]
            decode = _decoder(event.slice)
            lost = event.dropped - ring.dropped
            ring.extend(decode(bytes(raw)) for raw in event.items)
            ring.dropped = event.dropped
            self._values[event.slice] = _Held(None, event.rev, self.clock())
            self._tell(event.slice)
            return held < 0 or event.rev == held + len(event.items) + lost
        if event.value is not None:
            self.put(event.slice, _decoder(event.slice)(bytes(event.value)), event.rev)
        return True  # the latest value wins: a gap loses nothing

    def new_session(self) -> None:
        """A node process counts revisions anew: keep what is held, and let any revision replace it."""
        self._values = {name: replace(held, rev=-1) for name, held in self._values.items()}

    def forget(self, slice: str) -> None:
        """Drop the value of a keyed slice that nobody watches any more."""
        self._values.pop(slice, None)

    def refill(self, slice: str, items: Iterable[Any], healed: int) -> None:
        """Hold a stream as it was read again from its beginning; ``healed`` is how many dropped items that has made good."""
        before = self._rings[slice]
        ring: Ring[Any] = Ring()
        ring.extend(items)
        ring.total = max(before.total, len(ring))
        ring.dropped, ring.healed = before.dropped, healed
        self._rings[slice] = ring
        self._tell(slice)

    def connect(self, state: str, reason: str = "", next: str = "", owned: bool | None = None) -> None:
        """Note that the node came, went or failed."""
        now = self.clock()
        since = self._connection.since if state == self._connection.state else now
        keep = self._connection.owned if owned is None else owned
        self._connection = replace(self._connection, state=state, since=since, reason=reason, next=next, owned=keep)
        if state == "attached":
            self.as_of = ""
            self._heard = now
        self._tell(CONNECTION)

    def heed(self) -> None:
        """Note that an attached node has told nothing for too long: stopped, stuck or starved, and what is held is old."""
        if self._connection.state == "attached" and self.clock() - self._heard > SILENT_S:
            self.connect("silent")

    def hear(self) -> None:
        """The node told something."""
        self._heard = self.clock()
        if self._connection.state == "silent":
            self.connect("attached")

    # --- listening ----------------------------------------------------------------------------------------------------

    def listen(self, slice: str, callback: Listener) -> Callable[[], None]:
        """Call back with the slice's name at every change; ``*`` listens to all.

        Returns:
            a function that ends it.
        """
        self._listeners.setdefault(slice, []).append(callback)

        def stop() -> None:
            listeners = self._listeners.get(slice, [])
            if callback in listeners:
                listeners.remove(callback)

        return stop

    def _tell(self, slice: str) -> None:
        for listener in (*self._listeners.get(slice, ()), *self._listeners.get("*", ())):
            listener(slice)


def lasting(value: Any) -> Any:
    """A value without what is measured anew each time it is told: ages, round trips, shares, all of them floats."""
    if isinstance(value, float):
        return 0.0
    if isinstance(value, msgspec.Struct):
        return type(value), *(lasting(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, tuple | list):
        return tuple(map(lasting, value))
    return value


def shape_of(slice: str) -> Any:
    """The type of a state slice's value; keyed slices are named ``room:<id>``.

    Raises:
        KeyError: no such slice.
    """
    return STATE_SLICES[slice] if slice in STATE_SLICES else KEYED_SLICES[slice.split(":", 1)[0]]


_DECODERS: dict[str, Callable[[bytes], Any]] = {}


def _decoder(slice: str) -> Callable[[bytes], Any]:
    name = slice.split(":", 1)[0]
    if name not in _DECODERS:
        shape = STREAM_SLICES[name] if name in STREAM_SLICES else shape_of(slice)
        _DECODERS[name] = msgspec.json.Decoder(shape).decode
    return _DECODERS[name]
