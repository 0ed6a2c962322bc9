"""The line that names what keys do, and one line of input that proposes something."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import events
from textual.widgets import Input, Static
from textual.widgets.input import Selection

from chorus_hap.widgets.choice import Note
from chorus_hap.widgets.lines import Line, Span, width_of


def key_lines(keys: Sequence[tuple[str, str]], width: int, gap: str = " ") -> list[Line]:
    """Keys and what they do, as many on a line as fit; a key is never parted from its word."""
    lines: list[Line] = [[]]
    between = "      " if len(gap) > 1 else "   "
    for key, word in keys:
        item: list[Span] = [(key, "accent bold"), (gap + word, "dim")]
        if lines[-1] and width_of(lines[-1]) + len(between) + width_of(item) > width:
            lines.append([])
        lines[-1] += [(between, ""), *item] if lines[-1] else item
    return [line for line in lines if line]


class KeyLine(Note):
    """What keys do here and now.

    Args:
        keys: asked whenever something changed.
        gap: what stands between a key and its word.
    """

    def __init__(self, keys: Callable[[], Sequence[tuple[str, str]]], gap: str = " ") -> None:
        super().__init__(lambda width: key_lines(keys(), width, gap), classes="keys")


class Problem(Static):
    """What speaks against going on; takes no room where nothing does."""

    def __init__(self, id: str) -> None:
        super().__init__("", id=id, markup=False, classes="problem")
        self.display = False

    def tell(self, text: str) -> None:
        """Say it; nothing takes back what was said."""
        self.display = bool(text)
        self.update(text)


class Field(Input):
    """One line of text. What it proposes is selected when the keys come to it, so that typing replaces it and an arrow keeps it;
    what a person wrote isn't, so that typing never loses it.

    Args:
        suggested: what it proposes.
        written: what the person wrote earlier, in place of a proposal.
    """

    def __init__(
        self,
        suggested: str = "",
        *,
        written: str = "",
        id: str | None = None,
        placeholder: str = "",
        password: bool = False,
    ) -> None:
        super().__init__(
            written or suggested, id=id, compact=True, placeholder=placeholder, password=password, select_on_focus=False
        )
        self._suggested = "" if written else suggested
        self._entered = False

    def suggest(self, value: str) -> None:
        """Propose another text in place of what stands here."""
        self._suggested = self.value = value
        if self.has_focus:
            self.select_all()

    @property
    def proposes(self) -> bool:
        """Whether what stands here is a proposal still."""
        return bool(self.value) and self.value == self._suggested

    def _on_focus(self, event: events.Focus) -> None:
        if self.proposes and not event.from_app_focus:
            self.selection = Selection(0, len(self.value))
            self._entered = True

    def _on_blur(self, event: events.Blur) -> None:
        self._entered = False

    async def _on_mouse_down(self, event: events.MouseDown) -> None:
        if self._entered:  # the click that gave it the keys; the next one puts the cursor
            event.prevent_default()
        self._entered = False

    async def _on_key(self, event: events.Key) -> None:
        self._entered = False
