"""Ordered maps of bytes in which folds keep their state, so that it need not be in memory: here the one in memory, and the overlay.

A fold that keeps its state in a :class:`Kept` can be put away and taken back as it is, and reads of it only what it is asked
for. Pure; :mod:`agent_core.snapshot` has the one on disk.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol


class Kept(Protocol):
    """An ordered map of bytes."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        ...

    def put(self, key: bytes, value: bytes = b"") -> None:
        """Set a value."""
        ...

    def delete(self, key: bytes) -> None:
        """Remove a key; one that isn't there is ignored."""
        ...

    def scan(self, prefix: bytes, *, newest: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """The keys that begin so, in order, with their values; ``newest`` for the greatest first. Don't write meanwhile."""
        ...


class MemoryKept:
    """Implements :class:`Kept` in memory."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def put(self, key: bytes, value: bytes = b"") -> None:
        if key not in self._values:
            insort(self._keys, key)
        self._values[key] = value

    def delete(self, key: bytes) -> None:
        if self._values.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def scan(self, prefix: bytes, *, newest: bool = False) -> Iterator[tuple[bytes, bytes]]:
        keys = self._keys[bisect_left(self._keys, prefix) : bisect_left(self._keys, after(prefix))]
        return ((key, self._values[key]) for key in (reversed(keys) if newest else keys))

    def items(self) -> Mapping[bytes, bytes]:
        """All of it."""
        return self._values


class Overlay:
    """What was written since the base was; the base stays as it is. Implements :class:`Kept`.

    Args:
        base: what is beneath; only read.
    """

    #: A written value begins with a mark, so that a removal can be told from it.
    _GONE, _SET = b"\0", b"\1"

    def __init__(self, base: Kept) -> None:
        self._base = base
        self._fresh = MemoryKept()

    def __len__(self) -> int:
        return len(self._fresh.items())

    def get(self, key: bytes) -> bytes | None:
        marked = self._fresh.get(key)
        if marked is None:
            return self._base.get(key)
        return marked[1:] if marked[:1] == self._SET else None

    def put(self, key: bytes, value: bytes = b"") -> None:
        self._fresh.put(key, self._SET + value)

    def delete(self, key: bytes) -> None:
        self._fresh.put(key, self._GONE)

    def scan(self, prefix: bytes, *, newest: bool = False) -> Iterator[tuple[bytes, bytes]]:
        fresh, base = self._fresh.scan(prefix, newest=newest), self._base.scan(prefix, newest=newest)
        mine, under = next(fresh, None), next(base, None)
        while mine is not None or under is not None:
            if mine is None or (under is not None and under[0] != mine[0] and (under[0] < mine[0]) != newest):
                assert under is not None
                yield under
                under = next(base, None)
                continue
            if under is not None and under[0] == mine[0]:
                under = next(base, None)
            if mine[1][:1] == self._SET:
                yield mine[0], mine[1][1:]
            mine = next(fresh, None)

    def changes(self) -> Callable[[], Iterator[tuple[bytes, bytes | None]]]:
        """Gives what is written by now, with nothing for what was removed; also after the overlay was cleared."""
        written = self._fresh.items()
        return lambda: ((key, marked[1:] if marked[:1] == self._SET else None) for key, marked in written.items())

    def clear(self) -> None:
        """Forget what was written: the base has it now, or it is void."""
        self._fresh = MemoryKept()

    def hand_down(self, below: Overlay) -> None:
        """Move what was written into the overlay beneath."""
        if not below:
            below._fresh = self._fresh
        else:
            for key, marked in self._fresh.items().items():
                below._fresh.put(key, marked)
        self._fresh = MemoryKept()


class Snapshots(Protocol):
    """The maps of all folds together, put away at once with a word on what went into them."""

    def kept(self, name: str) -> Kept:
        """The map of one fold."""
        ...

    def read(self) -> bytes | None:
        """What was said when they were put away last; nothing if they begin empty."""
        ...

    def clear(self) -> None:
        """Forget everything, the maps handed out before too."""
        ...

    @property
    def damaged(self) -> bool:
        """Whether something that was read can't have been written so."""
        ...


class NoSnapshots:
    """Maps in memory that are never put away. Implements :class:`Snapshots`."""

    damaged = False

    def kept(self, name: str) -> Kept:
        return MemoryKept()

    def read(self) -> bytes | None:
        return None

    def clear(self) -> None:
        pass


def after(prefix: bytes) -> bytes:
    """The least bytes that are greater than everything that begins so."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b"\xff" * 256
