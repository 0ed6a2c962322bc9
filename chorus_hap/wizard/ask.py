"""One question with one line for the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from chorus_hap.shown import clean_lines
from chorus_hap.widgets.choice import Note
from chorus_hap.widgets.keys import Field
from chorus_hap.widgets.lines import wrap
from chorus_hap.wizard.dialogs import Dialog


class Ask(Dialog[str]):
    """Answers the line, or nothing.

    Args:
        question: what is asked.
        hint: the shape of the answer.
        value: a proposal.
        problem: why an answer can't be; empty when it can.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("ctrl+s", "accept", show=False, priority=True),
    ]

    def __init__(self, question: str, hint: str, value: str = "", problem: Callable[[str], str] = lambda _: "") -> None:
        super().__init__()
        self.question = question
        self.hint = hint
        self.value = value
        self.problem = problem

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(clean_lines(self.question), markup=False, classes="question")
            yield Field(self.value, id="answer")
            yield Static(clean_lines(self.hint), markup=False, classes="hint")
            yield Note(lambda width: [[(part, "bad")] for part in wrap(self.problem(self.answer), width) if part])
            yield self.key_line()

    def keys(self) -> list[tuple[str, str]]:
        may = self.answer and not self.problem(self.answer)
        return [*([("⏎", "go on")] if may else []), ("esc", "leave it")]

    @property
    def answer(self) -> str:
        """What stands in the line."""
        field = self.query(Field)
        return field.first().value.strip() if field else self.value

    def on_mount(self) -> None:
        self.query_one(Field).focus()

    @on(Field.Changed)
    def _typed(self) -> None:
        self.again()

    @on(Field.Submitted)
    def _submitted(self) -> None:
        self.action_accept()

    def action_accept(self) -> None:
        if self.answer and not self.problem(self.answer):
            self.dismiss(self.answer)

    def action_leave(self) -> None:
        self.dismiss("")
