"""One question with one line for the answer."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from chorus_hap.shown import clean_lines


class Ask(ModalScreen[str]):
    """Answers the line, or nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("ctrl+s", "accept", show=False, priority=True),
    ]

    def __init__(self, question: str, hint: str, value: str = "") -> None:
        super().__init__()
        self.question = question
        self.hint = hint
        self.value = value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(clean_lines(self.question), markup=False, classes="question")
            yield Input(self.value, compact=True, select_on_focus=False)
            yield Static(clean_lines(self.hint), markup=False, classes="hint")
            yield Static("⏎  go on      esc  leave it", markup=False, classes="keys")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self) -> None:
        self.action_accept()

    def action_accept(self) -> None:
        self.dismiss(self.query_one(Input).value.strip())

    def action_leave(self) -> None:
        self.dismiss("")
