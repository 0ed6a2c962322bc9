"""A sheet of text, and a list of blocks of text with a cursor over the blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chorus_hap.filter import Filter
from chorus_hap.widgets.lines import Line, plain
from chorus_hap.widgets.viewport import Viewport

Builder = Callable[[int], list[Line]]


class Sheet(Viewport):
    """Lines that a function builds for a width; it scrolls, there is nothing to choose."""

    def __init__(
        self, caption: str = "", *, empty: str = "", id: str | None = None, classes: str | None = None, copy: str = ""
    ) -> None:
        super().__init__(caption, empty=empty, id=id, classes=classes)
        self._builder: Builder = lambda _width: []
        self._lines: list[Line] = []
        self._built = -1
        self.copy = copy

    def show(self, builder: Builder, *, keep_scroll: bool = True) -> None:
        """Show what ``builder(width)`` makes; it is called again when the width changes."""
        self._builder = builder
        self._built = -1
        if not keep_scroll:
            self.top = self.left = 0
        self.repaint()

    def _build(self, width: int) -> None:
        if self._built != width:
            lines = self._builder(width)
            self._lines = [i for i in lines if self.filter.matches(plain(i))] if self.filter else lines
            self._built = width
            self.keep_in_view()

    def set_filter(self, wanted: Filter) -> None:
        self._built = -1
        super().set_filter(wanted)

    def total(self) -> int:
        if self.size.width:
            self._build(self.size.width - 1)
        return len(self._lines)

    def keep_in_view(self) -> None:
        self.top = max(0, min(self.top, len(self._lines) - self.body_height))

    def line(self, index: int, width: int) -> Line:
        self._build(width)
        return self._lines[index] if index < len(self._lines) else []

    def copy_text(self) -> str:
        return self.copy or "\n".join(plain(line).rstrip() for line in self._lines)


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines that are chosen together. A block without key can't be chosen."""

    key: str
    build: Builder
    text: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    copy: str = ""


class Blocks(Viewport):
    """Blocks one under the other, with a cursor that goes from block to block and stays with its key."""

    selectable = True

    def __init__(
        self, caption: str = "", *, empty: str = "", id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(caption, empty=empty, id=id, classes=classes)
        self._all: Sequence[Block] = ()
        self._shown: list[Block] = []
        self._lines: list[Line] = []
        self._spans: list[range] = []  # of the blocks that can be chosen
        self._chosen: list[Block] = []
        self._built = -1

    def show(self, blocks: Sequence[Block], *, to_end: bool = False) -> None:
        """Show these blocks; the cursor stays with the key it was on, or goes to the last block."""
        key = self.key
        at_end = self._chosen and self.cursor >= len(self._chosen) - 1
        self._all = blocks
        self._layout(self.size.width - 1)
        keys = [b.key for b in self._chosen]
        if to_end or (at_end and len(keys) > self.cursor + 1):
            self.cursor = max(0, len(keys) - 1)
        elif key in keys:
            self.cursor = keys.index(key)
        else:
            self.cursor = max(0, min(self.cursor, len(keys) - 1))
        self.keep_in_view()
        self.repaint()
        if self.key != key:
            self.post_message(self.Moved(self))

    def choose(self, key: str) -> bool:
        """Put the cursor on the block with this key."""
        keys = [b.key for b in self._chosen]
        if key in keys:
            self.set_cursor(keys.index(key))
        return key in keys

    def set_filter(self, wanted: Filter) -> None:
        super().set_filter(wanted)
        self.show(self._all)

    def _layout(self, width: int) -> None:
        self._built = width
        self._shown = [b for b in self._all if not self.filter or (b.key and self.filter.matches(b.text, b.fields))]
        self._lines, self._spans, self._chosen = [], [], []
        for block in self._shown:
            start = len(self._lines)
            self._lines += block.build(max(8, width))
            if block.key:
                self._spans.append(range(start, len(self._lines)))
                self._chosen.append(block)

    def on_resize(self) -> None:
        if self._built != self.size.width - 1:
            self._layout(self.size.width - 1)
        super().on_resize()

    @property
    def block(self) -> Block | None:
        """The block at the cursor."""
        return self._chosen[self.cursor] if 0 <= self.cursor < len(self._chosen) else None

    @property
    def key(self) -> str:
        return self.block.key if self.block else ""

    def total(self) -> int:
        return len(self._lines)

    def rows(self) -> int:
        return len(self._chosen)

    def line(self, index: int, width: int) -> Line:
        return self._lines[index]

    def held(self) -> int:
        return sum(bool(block.key) for block in self._all)

    def cursor_lines(self) -> range:
        return self._spans[self.cursor] if 0 <= self.cursor < len(self._spans) else range(0)

    def row_at(self, y: int) -> int:
        index = super().row_at(y)
        return next((n for n, span in enumerate(self._spans) if index < span.stop), len(self._spans) - 1)

    def copy_text(self) -> str:
        return self.block.copy if self.block else ""
