"""What every box of the console is: a bordered window on lines that are computed only where they are seen.

Nothing here holds a widget per row, and nothing repaints but on request: cost is that of the visible lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import ClassVar, Protocol, Self, cast

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from chorus_hap.filter import NO_FILTER, Filter
from chorus_hap.themes import DARK, UNICODE, Glyphs, Palette, style
from chorus_hap.widgets.lines import Line, clean, clip, short, width_of, wrap


@dataclass(frozen=True, slots=True)
class Look:
    """Palette and glyphs in force, and whether the node is away (everything dims) with the age of what is shown, seconds."""

    palette: Palette = DARK
    glyphs: Glyphs = UNICODE
    away: bool = False
    age_s: float = 0.0


class HasLook(Protocol):
    """The application as widgets see it."""

    look: Look


class Painted(Widget):
    """A widget that paints plain lines in the roles of the palette."""

    dims = False  #: whether its content goes dim while the node is away
    _on_screen: Mapping[int, Strip] = MappingProxyType({})  #: the lines as they were last given to the screen
    _on_screen_size = Size(0, 0)
    _edge: Region | None = None  #: the only part to paint anew while a title is being written

    def paint(self, y: int) -> Strip:
        """A line of the widget as it should look now."""
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        if self._on_screen_size != self.size:
            self._on_screen, self._on_screen_size = {}, self.size
        strip = self.paint(y)
        cast("dict[int, Strip]", self._on_screen)[y] = strip
        return strip

    def before_painting(self) -> None:
        """Called before lines are asked for."""

    def repaint(self) -> None:
        """Write what differs from what is on the screen, and nothing else: a clock costs its cells, not its box."""
        if not self.size or self._on_screen_size != self.size:
            self.refresh()
            return
        self.before_painting()
        regions = []
        for y in range(self.size.height):
            before = self._on_screen.get(y)
            x, width = (0, self.size.width) if before is None else differing(before, self.paint(y))
            if width:
                regions.append(Region(x, y, width, 1))
        if regions:
            self.refresh(*regions)

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        if self._edge is not None and not regions and not layout:
            regions = (self._edge,)
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    @property
    def look(self) -> Look:
        """The look in force."""
        return cast("HasLook", self.app).look

    @property
    def glyphs(self) -> Glyphs:
        return self.look.glyphs

    def strip(self, line: Line, width: int, ground: str = "ground") -> Strip:
        """A line as a strip of exactly ``width`` columns."""
        look = self.look
        away = look.away and self.dims
        table = look.glyphs.translate
        segments = []
        for text, roles in clip(line, width):
            shown = clean(text)
            segments.append(
                Segment(shown.translate(table) if table else shown, style(look.palette, roles, ground, away))
            )
        return Strip(segments).adjust_cell_length(width, style(look.palette, "", ground))


def differing(before: Strip, now: Strip) -> tuple[int, int]:
    """Where two strips of one width begin to differ, and over how many columns; in whole segments, as they are written."""
    old, new = list(before), list(now)
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    if head == len(old) == len(new):
        return 0, 0
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    start = sum(segment.cell_length for segment in new[:head])
    end = now.cell_length - sum(segment.cell_length for segment in new[len(new) - tail :])
    return start, max(1, end - start)


class Bar(Painted):
    """One line across the screen."""

    ground = "bar"

    def line(self, width: int) -> Line:
        """What it says now."""
        raise NotImplementedError

    def paint(self, y: int) -> Strip:
        return self.strip(self.line(self.size.width), self.size.width, self.ground)


def mark(line: Line, words: Sequence[str]) -> Line:
    """The line with these words underlined: what a filter found."""
    if not words:
        return line
    out: Line = []
    for text, roles in line:
        lowered = text.lower()
        at = 0
        while at < len(text):
            hits = [(lowered.find(w.lower(), at), len(w)) for w in words]
            found = min((h for h in hits if h[0] >= 0), default=None)
            if found is None:
                break
            start, length = found
            out.append((text[at:start], roles))
            out.append((text[start : start + length], f"{roles} bold under"))
            at = start + max(1, length)
        out.append((text[at:], roles))
    return [span for span in out if span[0]]


def drop(line: Line, columns: int) -> Line:
    """The line without its first columns (of narrow characters)."""
    out: Line = []
    for text, roles in line:
        if columns >= len(text):
            columns -= len(text)
            continue
        out.append((text[columns:], roles))
        columns = 0
    return out


class Viewport(Painted, can_focus=True):
    """A window on ``total()`` lines with a border, a title that tells the truth, and a cursor where rows can be chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup,ctrl+b", "page(-1)", show=False),
        Binding("pagedown,ctrl+f", "page(1)", show=False),
        Binding("home,g", "jump(0)", show=False),
        Binding("end,G", "jump(-1)", show=False),
        Binding("left,h", "shift(-8)", show=False),
        Binding("right,l", "shift(8)", show=False),
        Binding("enter", "open", show=False),
    ]

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, view: Viewport) -> None:
            super().__init__()
            self.view = view

        @property
        def control(self) -> Viewport:
            return self.view

    class Opened(Moved):
        """A row was opened."""

    dims = True
    selectable = False  #: whether there is a cursor
    head = 0  #: lines at the top that stay
    _title: Content | None = None
    _note: Content | None = None

    def __init__(
        self, caption: str = "", *, empty: str = "", id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.caption = caption
        self.empty = empty
        self.filter: Filter = NO_FILTER
        self.top = 0
        self.left = 0
        self.cursor = 0
        self.note = ""
        #: How many there are of what is listed, where only some are held here (infinity for nobody knows); what asks the node for the others.
        self.whole: Callable[[], float] | None = None
        self.seek: Callable[[], None] | None = None

    # --- what subclasses give -----------------------------------------------------------------------------------------

    def total(self) -> int:
        """How many lines there are."""
        raise NotImplementedError

    def line(self, index: int, width: int) -> Line:
        """One line."""
        raise NotImplementedError

    def header(self, y: int, width: int) -> Line:
        """A fixed line at the top."""
        return []

    def cursor_lines(self) -> range:
        """The lines that the cursor's row takes."""
        return range(self.cursor, self.cursor + 1)

    def rows(self) -> int:
        """How many rows the cursor can stand on."""
        return self.total()

    def states(self) -> list[str]:
        """What the title must admit: paused, filtered, dropped."""
        return [f"filter: {self.filter.source}", *self.searched()] if self.filter else []

    def held(self) -> int:
        """How many of what is listed are held here, whether they pass the filter or not."""
        return self.rows()

    def searched(self) -> list[str]:
        """What a filter over a part must admit: ``200 of 2,575 searched``."""
        whole = self.whole() if self.whole is not None else 0
        if whole <= self.held():
            return []
        return [
            f"{self.held():,} searched, there are more" if whole == inf else f"{self.held():,} of {whole:,} searched"
        ]

    def set_filter(self, wanted: Filter) -> None:
        """Show only what passes; the node is asked for what isn't held here."""
        self.filter = wanted
        if wanted and self.seek is not None:
            self.seek()
        self.retitle()
        self.refresh()

    # --- painting -----------------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        self.retitle()

    @property
    def body_height(self) -> int:
        return max(0, self.size.height - self.head)

    def retitle(self) -> None:
        """Write the title anew."""
        states = self.states()
        if self.dims and self.look.away:
            states.insert(0, f"{short(self.look.age_s)} old")
        table = self.glyphs.translate
        parts = [Content(clean(self.caption).translate(table))]
        if states:
            parts.append(
                Content.styled((" · " + clean(" · ".join(states))).translate(table), f"bold {self.look.palette.warn}")
            )
        title = Content.assemble(*parts)
        if not title.plain:
            return
        note = Content.styled(clean(self.note).translate(table), self.look.palette.dim) if self.note else None
        # A title is set only when it changed, and costs its line of the border.
        if title != self._title:
            self._title = title
            with self._on_edge(-1):
                self.border_title = title
        if note != self._note:
            self._note = note
            with self._on_edge(self.size.height):
                self.border_subtitle = note

    @contextmanager
    def _on_edge(self, y: int) -> Iterator[None]:
        """What is written meanwhile is on this line of the border."""
        left = self.content_offset.x
        self._edge = Region(-left, y, self.outer_size.width, 1) if self.size else None
        try:
            yield
        finally:
            self._edge = None

    def on_resize(self) -> None:
        self.keep_in_view()
        self.repaint()

    def keep_in_view(self) -> None:
        """Scroll so that the cursor is seen, and never past the end."""
        height = self.body_height
        if not height:
            return
        if self.selectable and self.rows():
            span = self.cursor_lines()
            if span.stop > self.top + height:
                self.top = span.stop - height
            if span.start < self.top:
                self.top = span.start
        self.top = max(0, min(self.top, self.total() - height))

    def before_painting(self) -> None:
        self.keep_in_view()  # what was shown before the size was known

    def ground(self, index: int) -> str:
        """The background role of a line."""
        if self.selectable and index in self.cursor_lines():
            return "select" if self.has_focus else "rest"
        return "ground"

    def render_lines(self, crop: Region) -> list[Strip]:
        self.before_painting()
        return super().render_lines(crop)

    def paint(self, y: int) -> Strip:
        width = self.size.width
        total = self.total()
        if not total:
            return self.strip(self._empty_line(y, width), width)
        if y < self.head:
            return self.strip(self.header(y, width - 1), width)
        index = self.top + y - self.head
        if index >= total:
            return self.strip([], width)
        line = self.line(index, width - 1)
        if self.left:
            line = drop(line, self.left)
        line = clip(mark(line, self.filter.words), width - 1)
        line.append((" " * (width - 1 - width_of(line)), ""))
        line.append((self._thumb(y - self.head, total), "faint"))
        return self.strip(line, width, self.ground(index))

    def _thumb(self, y: int, total: int) -> str:
        height = self.body_height
        if total <= height:
            return " "
        size = max(1, height * height // total)
        at = round(self.top / max(1, total - height) * (height - size))
        return self.glyphs.thumb if at <= y < at + size else " "

    def _empty_line(self, y: int, width: int) -> Line:
        part = f" ({found})" if self.filter and (found := ", ".join(self.searched())) else ""
        text = f"Nothing passes the filter “{self.filter.source}”{part}. esc clears it." if self.filter else self.empty
        lines = wrap(text, max(10, width - 4))
        at = y - (1 if self.size.height > len(lines) else 0)
        return [("  " + lines[at], "dim")] if 0 <= at < len(lines) else []

    # --- moving -------------------------------------------------------------------------------------------------------

    def set_cursor(self, row: int) -> None:
        """Put the cursor on a row, as near as there is one."""
        row = max(0, min(row, self.rows() - 1))
        changed = row != self.cursor
        self.cursor = row
        self.keep_in_view()
        self.repaint()
        if changed:
            self.post_message(self.Moved(self))

    def action_move(self, by: int) -> None:
        if self.selectable:
            self.set_cursor(self.cursor + by)
        else:
            self.top += by
            self.keep_in_view()
            self.repaint()

    def action_page(self, by: int) -> None:
        self.action_move(by * max(1, self.body_height - 1))

    def action_jump(self, to: int) -> None:
        self.action_move(-self.total() if to == 0 else self.total())

    def action_shift(self, by: int) -> None:
        self.left = max(0, min(400, self.left + by))
        self.repaint()

    def action_open(self) -> None:
        if self.selectable and self.rows():
            self.post_message(self.Opened(self))

    def row_at(self, y: int) -> int:
        """The row at a line of the window, for the mouse."""
        return self.top + y - self.head

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_move(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_move(-3)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or not self.selectable or not self.rows() or offset.y < self.head:
            return
        row = self.row_at(offset.y)
        again = row == self.cursor and event.chain > 1
        self.set_cursor(row)
        if again:
            self.action_open()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def copy_text(self) -> str:
        """What ``y`` copies: the row at the cursor."""
        return ""
