"""A live stream in a window: it follows, pauses while collecting, filters on the data, and says what it dropped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chorus_hap.filter import Filter
from chorus_hap.store import RING_ITEMS, Ring
from chorus_hap.widgets.columns import Cell, Column, allot, lay, needs_of
from chorus_hap.widgets.lines import Line, plain
from chorus_hap.widgets.viewport import Viewport

CellsOf = Callable[[Any], tuple[Cell, ...]]
FieldsOf = Callable[[Any], tuple[str, Mapping[str, str]]]


#: So many of what came at once are measured for the columns.
_MEASURED = 500


class StreamView(Viewport):
    """A ring of the store, newest at the bottom.

    Args:
        ring: gives the ring (a new one after a reconnect).
        columns: of the lines; the one rule says how wide.
        cells: an item in these columns.
        fields: an item's text and fields for the filter.
    """

    selectable = True

    def __init__(
        self,
        caption: str,
        ring: Callable[[], Ring[Any]],
        columns: Sequence[Column],
        cells: CellsOf,
        fields: FieldsOf,
        *,
        empty: str = "",
        id: str | None = None,
    ) -> None:
        super().__init__(caption, empty=empty, id=id)
        self._ring_of = ring
        self._columns = tuple(columns)
        self._cells = cells
        self._needs = [0] * len(self._columns)
        self._fields = fields
        self._ring: Ring[Any] | None = None
        self._seen = 0
        self._items: deque[Any] = deque(maxlen=RING_ITEMS)
        self.paused = False
        self.follow = True
        self.hidden_at = 0

    # --- the stream ---------------------------------------------------------------------------------------------------

    def pull(self) -> None:
        """Take what is new in the ring; while paused only the counter in the title moves."""
        ring = self._ring_of()
        if self.paused:
            self.retitle()
            return
        held = None
        if ring is not self._ring:
            held = self.item if not self.follow else None
            self._ring, self._seen = ring, ring.first
            self._items.clear()
        new = ring.since(self._seen)
        self._seen = ring.total
        passing = [item for _, item in new if not self.filter or self.filter.matches(*self._fields(item))]
        evicted = max(0, len(self._items) + len(passing) - RING_ITEMS)
        self._items.extend(passing)
        self._measure(passing)
        if self.follow:
            self.cursor = max(0, len(self._items) - 1)
        elif held is not None:
            self._return_to(held)
        else:
            self.cursor = max(0, self.cursor - evicted)
            self.top = max(0, self.top - evicted)
        if new:
            self.keep_in_view()
            self.repaint()
        self.retitle()

    def _return_to(self, held: Any) -> None:
        """What was looked at is looked at still, wherever it stands now; whoever follows stands at the end."""
        last = max(0, len(self._items) - 1)
        if self.follow:
            self.cursor = last
        else:
            self.cursor = self._items.index(held) if held in self._items else min(self.cursor, last)

    @property
    def behind(self) -> int:
        """How many items arrived since the pause."""
        return self._ring_of().total - self._seen if self.paused else 0

    def toggle_pause(self) -> None:
        """Hold the view still, or go on; collecting never stops."""
        self.paused = not self.paused
        if not self.paused:
            self.pull()
        self.retitle()
        self.repaint()

    def toggle_follow(self) -> None:
        """Keep the newest in sight, or stay."""
        self.follow = not self.follow
        if self.follow:
            self.cursor = max(0, len(self._items) - 1)
            self.keep_in_view()
        self.retitle()
        self.repaint()

    def set_filter(self, wanted: Filter) -> None:
        """Filter what was collected, also while paused (then up to the pause)."""
        self.filter = wanted
        if wanted and self.seek is not None:
            self.seek()
        ring = self._ring if self.paused and self._ring is not None else self._ring_of()
        self._ring = ring
        upto = self._seen if self.paused else ring.total
        held = self.item if not self.follow else None
        self._items.clear()
        self._items.extend(
            i for n, i in ring.since(ring.first) if n < upto and (not wanted or wanted.matches(*self._fields(i)))
        )
        self._measure(list(self._items))
        self._seen = upto
        self._return_to(held)
        self.keep_in_view()
        self.retitle()
        self.repaint()

    def states(self) -> list[str]:
        out = []
        if self.paused:
            out.append(f"PAUSED +{self.behind}")
        elif not self.follow:
            out.append("not following")
        if self.filter:
            out += [f"filter: {self.filter.source}", *self.searched()]
        ring = self._ring_of()
        if ring.dropped > ring.healed:
            out.append(f"dropped {ring.dropped - ring.healed}")
        return out

    @property
    def item(self) -> Any:
        """The item at the cursor."""
        return self._items[self.cursor] if 0 <= self.cursor < len(self._items) else None

    # --- the window ---------------------------------------------------------------------------------------------------

    def held(self) -> int:
        return len(self._ring_of())

    def total(self) -> int:
        return len(self._items)

    def _measure(self, items: Sequence[Any]) -> None:
        """What the columns need, of the newest of these; it only grows, so that lines that pass don't make others jump."""
        found = needs_of([""] * len(self._columns), (self._cells(item) for item in items[-_MEASURED:]))
        self._needs = [max(pair) for pair in zip(self._needs, found, strict=True)]

    def line(self, index: int, width: int) -> Line:
        return lay(self._columns, self._cells(self._items[index]), allot(self._columns, self._needs, width))

    def ground(self, index: int) -> str:
        return "ground" if self.follow and not self.paused else super().ground(index)

    def set_cursor(self, row: int) -> None:
        if row < self.cursor:
            self.follow = False
        elif row >= len(self._items) - 1 and not self.paused:
            self.follow = True
        super().set_cursor(row)
        self.retitle()

    def copy_text(self) -> str:
        return (
            "  ".join(plain(c if isinstance(c, list) else [c]).strip() for c in self._cells(self.item))
            if self.item is not None
            else ""
        )
