"""Citing an address: completed from the addresses known here, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from chorus_hap.filter import parse as parse_filter
from chorus_hap.widgets.grid import Column, Grid, Row
from chorus_hap.widgets.viewport import Viewport


class Cite(ModalScreen[tuple[str, str]]):
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
            yield Input(
                id="ci-address", compact=True, placeholder="ucxl://…, or words to find one", select_on_focus=False
            )
            yield Grid(
                "Known addresses",
                [Column("", 0)],
                header=False,
                empty="None is known that has these words.",
                id="ci-known",
            )
            yield Static("Why", markup=False, classes="label")
            yield Input(id="ci-reason", compact=True, placeholder="what it shows", select_on_focus=False)
            yield Static("", id="ci-problem", markup=False, classes="problem")
            yield Static(
                "⏎ choose, then add      tab next field      ^s add      esc leave it", markup=False, classes="keys"
            )

    def on_mount(self) -> None:
        self.query_one("#ci-known", Grid).show([Row(a, ((a, "text"),)) for a in self.addresses])
        self.query_one("#ci-address", Input).focus()

    @on(Input.Changed, "#ci-address")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        words = event.value
        whole = words in self.addresses
        self.query_one("#ci-known", Grid).set_filter(
            parse_filter("" if whole else " ".join(f'"{w}"' for w in words.split()))
        )

    @on(Input.Submitted, "#ci-address")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        grid = self.query_one("#ci-known", Grid)
        if event.value not in self.addresses and not event.value.startswith("ucxl://") and grid.key:
            self.query_one("#ci-address", Input).value = grid.key
        self.query_one("#ci-reason", Input).focus()

    @on(Viewport.Opened, "#ci-known")
    def _chosen(self, event: Viewport.Opened) -> None:
        event.stop()
        self.query_one("#ci-address", Input).value = cast(Grid, event.view).key
        self.query_one("#ci-reason", Input).focus()

    @on(Input.Submitted, "#ci-reason")
    def _reasoned(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_accept()

    def action_accept(self) -> None:
        address = self.query_one("#ci-address", Input).value.strip()
        reason = self.query_one("#ci-reason", Input).value.strip()
        problem = self.query_one("#ci-problem", Static)
        if not address.startswith("ucxl://"):
            problem.update("An address begins with ucxl://.")
        elif not reason:
            problem.update("Say why: a citation without its reason helps nobody.")
            self.query_one("#ci-reason", Input).focus()
        else:
            self.dismiss((address, reason))

    def action_leave(self) -> None:
        self.dismiss(None)
