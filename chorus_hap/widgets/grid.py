"""A table with a cursor that stays with its row whatever arrives, one filter and one sort order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chorus_hap.filter import Filter
from chorus_hap.widgets.columns import Column, allot, lay, needs_of
from chorus_hap.widgets.lines import Line, Span, fit, plain
from chorus_hap.widgets.viewport import Viewport

__all__ = ["Column", "Grid", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """A row. ``group`` is for one that only gathers others; ``fields`` are for the filter, ``order`` for sorting by column; the shown text serves where there is none."""

    key: str
    cells: tuple[Span | Line, ...]
    fields: Mapping[str, str] = field(default_factory=dict)
    order: tuple[object, ...] = ()
    copy: str = ""
    group: bool = False

    def text(self) -> str:
        """All that is seen of it."""
        return " ".join(plain(c) if isinstance(c, list) else c[0] for c in self.cells)


class Grid(Viewport):
    """Rows under a header."""

    selectable = True

    def __init__(
        self,
        caption: str = "",
        columns: Sequence[Column] = (),
        *,
        empty: str = "",
        header: bool = True,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(caption, empty=empty, id=id, classes=classes)
        self.columns = tuple(columns)
        self.head = 1 if header else 0
        self.sort_by = -1
        self.descending = False
        self._all: Sequence[Row] = ()
        self._shown: list[Row] = []
        self._needs = [0] * len(self.columns)
        self._fitted: tuple[int, list[int]] = (-1, [])

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows; the cursor stays with the key it was on."""
        key = self.key
        self._all = rows
        self._arrange()
        # over all rows, not only those in sight, so that scrolling moves nothing
        self._needs = needs_of(self._titles(), (row.cells for row in self._shown))
        self._fitted = (-1, [])
        keys = [r.key for r in self._shown]
        self.cursor = keys.index(key) if key in keys else max(0, min(self.cursor, len(keys) - 1))
        self.keep_in_view()
        self.repaint()
        if self.key != key:
            self.post_message(self.Moved(self))

    def choose(self, key: str) -> bool:
        """Put the cursor on the row with this key."""
        keys = [r.key for r in self._shown]
        if key in keys:
            self.set_cursor(keys.index(key))
        return key in keys

    def set_filter(self, wanted: Filter) -> None:
        super().set_filter(wanted)
        self.show(self._all)

    def cycle_sort(self) -> None:
        """Sort by the next column; twice round each: up, then down; then as given."""
        if self.sort_by >= 0 and not self.descending:
            self.descending = True
        else:
            self.descending = False
            self.sort_by = self.sort_by + 1 if self.sort_by + 1 < len(self.columns) else -1
        self.show(self._all)

    def _arrange(self) -> None:
        rows = [r for r in self._all if not self.filter or self.filter.matches(r.text(), r.fields)]
        if 0 <= self.sort_by < len(self.columns):
            rows.sort(key=self._sort_key, reverse=self.descending)
        self._shown = rows

    def _sort_key(self, row: Row) -> tuple[float, str]:
        cell = row.cells[self.sort_by] if self.sort_by < len(row.cells) else ("", "")
        value = row.order[self.sort_by] if self.sort_by < len(row.order) else None
        if isinstance(value, int | float):
            return (float(value), "")
        return (0.0, str(value) if value is not None else (plain(cell) if isinstance(cell, list) else cell[0]).lower())

    @property
    def row(self) -> Row | None:
        """The row at the cursor."""
        return self._shown[self.cursor] if 0 <= self.cursor < len(self._shown) else None

    @property
    def key(self) -> str:
        return self.row.key if self.row else ""

    def held(self) -> int:
        return sum(not row.group for row in self._all)

    def total(self) -> int:
        return len(self._shown)

    def widths(self, width: int) -> list[int]:
        """Columns for each column; 0 for one that is left out."""
        if self._fitted[0] != width:
            self._fitted = (width, allot(self.columns, self._needs, width - 2))
        return self._fitted[1]

    def _titles(self) -> list[str]:
        """The columns' titles, with the sign of the order beside the one that sorts; none where there is no header."""
        sign = " v" if self.descending else " ^"
        return [
            (c.title + (sign if i == self.sort_by else "")) if self.head else "" for i, c in enumerate(self.columns)
        ]

    def header(self, y: int, width: int) -> Line:
        line: Line = [("  ", "")]
        titles = self._titles()
        for index, (column, size) in enumerate(zip(self.columns, self.widths(width), strict=True)):
            if size:
                line += [
                    (fit(titles[index], size, column.right), "dim" if index != self.sort_by else "accent"),
                    ("  ", ""),
                ]
        return line[:-1]

    def line(self, index: int, width: int) -> Line:
        row = self._shown[index]
        cursor = (self.glyphs.cursor + " ", "accent") if index == self.cursor and self.has_focus else ("  ", "")
        return [cursor, *lay(self.columns, row.cells, self.widths(width))]

    def copy_text(self) -> str:
        return (self.row.copy or self.row.text()) if self.row else ""
