"""Small screens over the panes: a question, a page to read, the keys, quitting, the first run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, Static

from agent_core.errors import InvalidInput
from agent_core.names import AGENT, NETWORK, ROLE, judged
from agent_core.roster.warrants import from_token
from chorus_hap.actions import PANES, Registry, key_name
from chorus_hap.shown import clean_lines
from chorus_hap.widgets.grid import Column, Grid, Row
from chorus_hap.widgets.lines import Line, fit, wrap
from chorus_hap.widgets.sheet import Builder, Sheet
from chorus_hap.widgets.viewport import Viewport


class Confirm(ModalScreen[bool]):
    """One question before what can't be undone. ``y`` or enter on it; everything else is no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("n,escape,q", "answer(False)", show=False),
    ]

    def __init__(self, question: str, yes: str = "do it") -> None:
        super().__init__()
        self.question = question
        self.yes = yes

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog small"):
            yield Static(clean_lines(self.question), markup=False, classes="question")
            yield Static(f"y  {self.yes}      n  leave it", markup=False, classes="keys")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class Quit(ModalScreen[str]):
    """Says what quitting does. Answers ``quit``, ``leave`` (the node goes on) or nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,y,enter,ctrl+q,ctrl+c", "answer('quit')", show=False),
        Binding("Q", "answer('leave')", show=False),
        Binding("escape,n", "answer('')", show=False),
    ]

    def __init__(self, preview: str, may_leave: bool) -> None:
        super().__init__()
        self.preview = preview
        self.may_leave = may_leave

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog small"):
            yield Static("Quit?", markup=False, classes="question")
            yield Static(clean_lines(self.preview), markup=False)
            keys = (
                "q  quit      " + ("Q  quit and leave the node running      " if self.may_leave else "") + "esc  stay"
            )
            yield Static(keys, markup=False, classes="keys")

    def action_answer(self, answer: str) -> None:
        self.dismiss(answer if answer != "leave" or self.may_leave else "quit")


class Pick(ModalScreen[int]):
    """One of several; answers its number, nothing when left."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss(None)", show=False)]

    def __init__(self, question: str, labels: Sequence[str]) -> None:
        super().__init__()
        self.question = question
        self.labels = labels

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog cite"):
            yield Static(clean_lines(self.question), markup=False, classes="question")
            yield Grid("", [Column("", 0)], header=False, id="pick")
            yield Static("⏎  go      esc  back", markup=False, classes="keys")

    def on_mount(self) -> None:
        grid = self.query_one("#pick", Grid)
        grid.show([Row(str(number), ((label, "text"),)) for number, label in enumerate(self.labels)])
        grid.focus()

    @on(Viewport.Opened)
    def _opened(self, event: Viewport.Opened) -> None:
        event.stop()
        self.dismiss(event.view.cursor)


class Reader(ModalScreen[None]):
    """A page to read. ``y`` copies it whole."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss_it", show=False),
        Binding("y", "copy", show=False),
    ]

    def __init__(self, title: str, builder: Builder, copy: str = "", *, sideways: bool = False) -> None:
        super().__init__()
        self._sheet = Sheet(title, id="reader", copy=copy)
        self._sheet.note = ("← → sideways · " if sideways else "") + "esc back · y copy"
        self._builder = builder

    def compose(self) -> ComposeResult:
        with Container(classes="page"):
            yield self._sheet

    def on_mount(self) -> None:
        self._sheet.show(self._builder)
        self._sheet.focus()

    def action_dismiss_it(self) -> None:
        self.dismiss(None)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._sheet.copy_text())
        self.app.notify("Copied.", timeout=2)


def help_lines(registry: Registry, pane: str) -> Callable[[int], list[Line]]:
    """The keys of a pane and those that work everywhere, in as many columns as fit."""
    title = next((t for _, p, t in PANES if p == pane), pane)
    everywhere = {p for _, p, _ in PANES}

    def build(width: int) -> list[Line]:
        def row(keys: str, text: str, size: int) -> Line:
            return [("  ", ""), (fit(keys, 10), "accent bold"), (fit(text, size - 13), "text"), (" ", "")]

        mine = [a for a in registry.for_pane(pane) if a.panes != everywhere]
        general = [a for a in registry.for_pane(pane) if a.panes == everywhere and a.handler != "pane"]
        columns = 2 if width >= 90 else 1
        size = width // columns

        def table(rows: list[tuple[str, str]]) -> list[Line]:
            height = -(-len(rows) // columns)
            out: list[Line] = []
            for y in range(height):
                line: Line = []
                for x in range(columns):
                    if x * height + y < len(rows):
                        line += row(*rows[x * height + y], size)
                out.append(line)
            return out

        def entries(actions: list) -> list[tuple[str, str]]:  # type: ignore[type-arg]
            return [
                (" ".join(key_name(k) for k in registry.keys_of(a.id)), a.title)
                for a in actions
                if registry.keys_of(a.id)
            ]

        moving = [
            ("j k ↓ ↑", "move"), ("h l ← →", "sideways, or close and open"), ("g G", "first, last"), ("^b ^f", "page up, page down"),
        ]  # fmt: skip
        lines: list[Line] = []
        if mine:
            lines += [[(f"In {title}", "dim")], *table(entries(mine)), []]
        lines += [[("Everywhere", "dim")], *table(entries(general) + moving), []]
        lines += [[("Panes", "dim")], *table([(key, t) for key, _, t in PANES]), []]
        lines += [
            [("Forms", "dim")],
            *table([("^s", "next, or send"), ("tab", "next field"), ("esc", "leave the field")]),
            [],
        ]
        lines += [[("Filter", "dim")]]
        for part in wrap("word  !without  /regex/  field:value: all must hold; ↑ recalls earlier ones.", width - 4):
            lines.append([("  " + part, "text")])
        return lines

    return build


@dataclass(frozen=True, slots=True)
class FirstRun:
    """What the first run asks."""

    name: str
    role: str
    network: str
    ticket: str = ""


class Setup(Screen[FirstRun]):
    """The one screen of a new home: name, role, network, and a ticket. Enter accepts what stands there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "accept", show=False, priority=True),
        Binding("ctrl+q", "app.exit_now", show=False),
        Binding("escape", "app.exit_now", show=False),
    ]

    def __init__(self, proposal: FirstRun, home: str) -> None:
        super().__init__()
        self.proposal = proposal
        self.home = home

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog setup"):
            yield Static("Welcome to chorus-hap", markup=False, classes="question")
            yield Static(
                "This home is new. You become a member of a mesh of agents: same protocols, same limits, signed by a key that "
                "is made now and stays here.",
                markup=False,
            )
            yield Static("Your name on the mesh", markup=False, classes="label")
            yield Input(self.proposal.name, id="name", compact=True)
            yield Static("Role", markup=False, classes="label")
            yield Input(self.proposal.role, id="role", compact=True)
            yield Static("Network (separates meshes)", markup=False, classes="label")
            yield Input(self.proposal.network, id="network", compact=True)
            yield Static("Ticket, if somebody invited you", markup=False, classes="label")
            yield Input(self.proposal.ticket, id="ticket", compact=True, password=True)
            yield Static(f"Home: {self.home}", markup=False, classes="hint")
            yield Static("", id="problem", markup=False, classes="problem")
            yield Static(
                "⏎  start    tab  next field    esc  leave, nothing is made",
                markup=False,
                classes="keys",
            )

    def on_mount(self) -> None:
        self.query_one("#name", Input).focus()

    def on_input_submitted(self) -> None:
        self.action_accept()

    def action_accept(self) -> None:
        name, role, network = (self.query_one(f"#{i}", Input).value.strip() for i in ("name", "role", "network"))
        problem = self.query_one("#problem", Static)
        ticket = self.query_one("#ticket", Input).value.strip()
        try:
            name, role, network = judged(name, AGENT), judged(role, ROLE), judged(network, NETWORK)
            invitation = from_token(ticket) if ticket else None
        except InvalidInput as error:
            problem.update(str(error))
            return
        if invitation is not None:  # it says where to go, and as what
            network, role = invitation.network, invitation.ticket.role or role
        self.dismiss(FirstRun(name, role, network, ticket))
