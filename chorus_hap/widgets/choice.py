"""A choice among few, with nothing preselected unless somebody chose before; and a note as tall as its text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from chorus_hap.widgets.lines import Line
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
        return 1 if self.across else len(self.options)

    def paint(self, y: int) -> Strip:
        width = self.size.width
        if self.across:
            line: Line = []
            for key, label, _ in self.options:
                line += [*self._item(key, label), ("  ", "")]
            return self.strip(line[:-1], width)
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

    def show(self, builder: Builder | None = None) -> None:
        """Build anew."""
        if builder is not None:
            self._builder = builder
        self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._builder(width))

    def paint(self, y: int) -> Strip:
        width = self.size.width
        lines: list[Any] = self._builder(width)
        return self.strip(lines[y] if y < len(lines) else [], width)
