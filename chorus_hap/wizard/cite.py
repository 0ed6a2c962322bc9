"""Citing an address: completed from the addresses known here, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from chorus_hap.filter import parse as parse_filter
from chorus_hap.widgets.grid import Column, Grid, Row
from chorus_hap.widgets.keys import Field, Problem
from chorus_hap.widgets.viewport import Viewport
from chorus_hap.wizard.modal import Modal


class Cite(Modal[tuple[str, str]]):
    """Answers address and reason."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False, priority=True),
        Binding("ctrl+s", "accept", show=False, priority=True),
        Binding("down", "app.focus_next", show=False),
    ]

    def __init__(self, addresses: Sequence[str]) -> None:
        super().__init__()
        self.addresses = sorted(addresses)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog cite"):
            yield Static("Which address does it lean on?", markup=False, classes="question")
            yield Field(id="ci-address", placeholder="ucxl://…, or words to find one")
            yield Grid(
                "Known addresses",
                [Column("", 0)],
                header=False,
                empty="None is known that has these words.",
                id="ci-known",
            )
            yield Static("Why", markup=False, classes="label")
            yield Field(id="ci-reason", placeholder="what it shows")
            yield Problem("ci-problem")
            yield self.key_line()

    def keys(self) -> list[tuple[str, str]]:
        choose = [("⏎", "choose")] if self.query("#ci-address:focus, #ci-known:focus") else []
        add = [] if self._missing() else [("^s", "add") if choose else ("^s or ⏎", "add")]
        return [*choose, *add, ("tab", "next field"), ("esc", "leave it")]

    def _missing(self) -> str:
        """Why it can't be added yet; empty when it can."""
        if not self._value("ci-address").startswith("ucxl://"):
            return "An address begins with ucxl://."
        return "" if self._value("ci-reason") else "Say why: a citation without its reason helps nobody."

    def _value(self, id: str) -> str:
        found = self.query(f"#{id}").results(Field)
        return next((field.value.strip() for field in found), "")

    def on_mount(self) -> None:
        self.query_one("#ci-known", Grid).show([Row(a, ((a, "text"),)) for a in self.addresses])
        self.query_one("#ci-address", Field).focus()

    @on(Field.Changed)
    def _changed(self, event: Field.Changed) -> None:
        event.stop()
        self.query_one("#ci-problem", Problem).tell("")
        self.again()

    @on(Field.Changed, "#ci-address")
    def _typed(self, event: Field.Changed) -> None:
        words = event.value
        whole = words in self.addresses
        self.query_one("#ci-known", Grid).set_filter(
            parse_filter("" if whole else " ".join(f'"{w}"' for w in words.split()))
        )

    @on(Field.Submitted, "#ci-address")
    def _submitted(self, event: Field.Submitted) -> None:
        event.stop()
        grid = self.query_one("#ci-known", Grid)
        if event.value not in self.addresses and not event.value.startswith("ucxl://") and grid.key:
            self.query_one("#ci-address", Field).suggest(grid.key)
        self.query_one("#ci-reason", Field).focus()

    @on(Viewport.Opened, "#ci-known")
    def _chosen(self, event: Viewport.Opened) -> None:
        event.stop()
        self.query_one("#ci-address", Field).suggest(cast(Grid, event.view).key)
        self.query_one("#ci-reason", Field).focus()

    @on(Field.Submitted, "#ci-reason")
    def _reasoned(self, event: Field.Submitted) -> None:
        event.stop()
        self.action_accept()

    def action_accept(self) -> None:
        missing, address = self._missing(), self._value("ci-address")
        self.query_one("#ci-problem", Problem).tell(missing)
        if not missing:
            self.dismiss((address, self._value("ci-reason")))
        elif address.startswith("ucxl://"):
            self.query_one("#ci-reason", Field).focus()

    def action_leave(self) -> None:
        self.dismiss(None)
