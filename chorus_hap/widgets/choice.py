"""A choice among few, with nothing preselected unless somebody chose before; and a note as tall as its text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from chorus_hap.widgets.lines import Line, width_of
from chorus_hap.widgets.sheet import Builder
from chorus_hap.widgets.viewport import Painted

#: How long a choice that was taken waits for its next field to have the keys, seconds.
_GIVEN_AWAY_S = 0.5


class Choice(Painted, can_focus=True):
    """Options under one another, or side by side when ``across``.

    Args:
        options: key, label and hint of each.
        chosen: the key that stands; empty for none.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,left,k,h", "step(-1)", show=False),
        Binding("down,right,j,l,space", "step(1)", show=False),
        Binding("enter", "take", show=False),
    ]

    class Changed(Message):
        """Another option was chosen."""

        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

        @property
        def control(self) -> Choice:
            return self.choice

    class Taken(Changed):
        """Enter was pressed: on to the next field."""

    def __init__(
        self, options: Sequence[tuple[str, str, str]], chosen: str = "", *, across: bool = False, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self.options = list(options)
        self.chosen = chosen
        self.across = across
        self._taken = False  # until the keys are really given away

    def choose(self, key: str) -> None:
        """Choose an option by its key."""
        if key in (k for k, _, _ in self.options) and key != self.chosen:
            self.chosen = key
            self.refresh()
            self.post_message(self.Changed(self))

    def action_step(self, by: int) -> None:
        keys = [k for k, _, _ in self.options]
        if self.chosen in keys:
            self.choose(keys[max(0, min(len(keys) - 1, keys.index(self.chosen) + by))])
        elif keys:
            self.choose(keys[0] if by > 0 else keys[-1])

    def action_take(self) -> None:
        self._taken = True
        self.set_timer(_GIVEN_AWAY_S, self._again)
        self.post_message(self.Taken(self))

    def _again(self) -> None:
        self._taken = False

    def on_key(self, event: events.Key) -> None:
        # Bindings run once the key came back to the application. Whoever types fast is ahead of that, and words that were
        # meant for the next field must not choose another option.
        if self._taken and event.is_printable:
            event.stop()
        elif event.key == "enter":
            event.stop()
            self.action_take()
        elif event.character and event.character.isdigit():
            number = int(event.character)
            if 0 < number <= len(self.options):
                event.stop()
                self.choose(self.options[number - 1][0])

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._rows(width)) if self.across else len(self.options)

    def _rows(self, width: int) -> list[Line]:
        """The options side by side, on as many lines as they need."""
        rows: list[Line] = [[]]
        for key, label, _ in self.options:
            item = self._item(key, label)
            if rows[-1] and width_of(rows[-1]) + 2 + width_of(item) > width:
                rows.append([])
            rows[-1] += [("  ", ""), *item] if rows[-1] else item
        return rows

    def paint(self, y: int) -> Strip:
        width = self.size.width
        if self.across:
            rows = self._rows(width)
            return self.strip(rows[y] if y < len(rows) else [], width)
        if y >= len(self.options):
            return self.strip([], width)
        key, label, hint = self.options[y]
        here = key == self.chosen and self.has_focus
        size = max(len(text) for _, text, _ in self.options)
        return self.strip(
            [
                (f"{y + 1} ", "accent" if self.has_focus else "faint"),
                *self._item(key, label.ljust(size)),
                ("   " + hint, "dim"),
            ],
            width,
            "select" if here else "ground",
        )

    def _item(self, key: str, label: str) -> Line:
        here = key == self.chosen
        role = "accent bold" if here and self.has_focus else "text bold" if here else "dim"
        return [(f"{self.glyphs.on if here else self.glyphs.off} {label}", role)]

    def on_click(self, event: events.Click) -> None:
        if not self.across and 0 <= event.y < len(self.options):
            self.choose(self.options[event.y][0])

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self._taken = False
        self.refresh()


class Note(Painted):
    """Lines that a function builds; as tall as they are."""

    def __init__(self, builder: Builder, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._builder = builder
        self._shown: list[Line] = []  # what was painted last

    def again(self) -> None:
        """Build anew; it is painted only where that says something else."""
        if self._builder(self.size.width or self.app.size.width) != self._shown:
            self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        lines = self._builder(width)
        if not lines:
            self._shown = []  # nothing is painted then
        return len(lines)

    def paint(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            self._shown = self._builder(width)
        return self.strip(self._shown[y] if y < len(self._shown) else [], width)
