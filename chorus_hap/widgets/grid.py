"""A table with a cursor that stays with its row whatever arrives, one filter and one sort order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chorus_hap.filter import Filter
from chorus_hap.widgets.lines import Line, Span, clean, clip, fit, plain, width_of
from chorus_hap.widgets.viewport import Viewport


@dataclass(frozen=True, slots=True)
class Column:
    """A column. ``width`` 0 takes what is left (by ``share``); it is left out when the table is narrower than ``from_width``."""

    title: str
    width: int = 0
    right: bool = False
    from_width: int = 0
    share: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """A row. ``fields`` are for the filter, ``order`` for sorting by column; the shown text serves where there is none."""

    key: str
    cells: tuple[Span | Line, ...]
    fields: Mapping[str, str] = field(default_factory=dict)
    order: tuple[object, ...] = ()
    copy: str = ""

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

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows; the cursor stays with the key it was on."""
        key = self.key
        self._all = rows
        self._arrange()
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

    def total(self) -> int:
        return len(self._shown)

    def widths(self, width: int) -> list[int]:
        """Columns for each column; 0 for one that is left out."""
        out = [0 if c.from_width > width else c.width for c in self.columns]
        flexible = [i for i, c in enumerate(self.columns) if not c.width and c.from_width <= width]
        left = width - 2 - sum(out) - 2 * (sum(1 for w in out if w) + len(flexible) - 1)
        shares = sum(self.columns[i].share for i in flexible) or 1
        for index in flexible:
            out[index] = max(4, left * self.columns[index].share // shares)
        return out

    def header(self, y: int, width: int) -> Line:
        line: Line = [("  ", "")]
        for index, (column, size) in enumerate(zip(self.columns, self.widths(width), strict=True)):
            if size:
                title = column.title
                if index == self.sort_by:
                    title += " " + ("v" if self.descending else "^")
                line += [(fit(title, size, column.right), "dim" if index != self.sort_by else "accent"), ("  ", "")]
        return line[:-1]

    def line(self, index: int, width: int) -> Line:
        row = self._shown[index]
        line: Line = [(self.glyphs.cursor + " ", "accent") if index == self.cursor and self.has_focus else ("  ", "")]
        for cell, column, size in zip(row.cells, self.columns, self.widths(width), strict=False):
            if not size:
                continue
            if isinstance(cell, list):
                part = clip([(clean(text), roles) for text, roles in cell], size)
                gap = (" " * (size - width_of(part)), "")
                line += [gap, *part] if column.right else [*part, gap]
            else:
                line.append((fit(clean(cell[0]), size, column.right), cell[1]))
            line.append(("  ", ""))
        return line[:-1]

    def copy_text(self) -> str:
        return (self.row.copy or self.row.text()) if self.row else ""
