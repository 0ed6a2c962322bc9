"""Small screens over the panes: a question, a page to read, the keys, quitting, the first run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widgets import Static

from agent_core.errors import InvalidInput
from agent_core.names import AGENT, NETWORK, ROLE, judged
from agent_core.roster.warrants import from_token
from chorus_hap.actions import PANES, Registry, key_name
from chorus_hap.shown import clean_lines
from chorus_hap.widgets.choice import Note
from chorus_hap.widgets.grid import Column, Grid, Row
from chorus_hap.widgets.keys import Field
from chorus_hap.widgets.lines import Line, fit, wrap
from chorus_hap.widgets.sheet import Builder, Sheet
from chorus_hap.widgets.viewport import Viewport
from chorus_hap.wizard.modal import Modal

T = TypeVar("T")


class Dialog(Modal[T]):
    """A small box with a question."""

    gap = "  "


class Confirm(Dialog[bool]):
    """One question before what can't be undone. ``y`` does it; everything else is no.

    Args:
        question: what is asked; it names what would be acted on.
        yes: the word for ``y``.
        refusal: why it can't be done at the moment, asked for as long as the question stands; empty when it can.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("n,escape,q", "answer(False)", show=False),
    ]

    def __init__(self, question: str, yes: str = "do it", refusal: Callable[[], str] = str) -> None:
        super().__init__()
        self.question = question
        self.yes = yes
        self.refusal = refusal

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog small"):
            yield Static(clean_lines(self.question), markup=False, classes="question")
            yield Note(lambda width: [[(part, "warn")] for part in wrap(self.refusal(), width) if part])
            yield self.key_line()

    def keys(self) -> list[tuple[str, str]]:
        return [("n", "leave it")] if self.refusal() else [("y", self.yes), ("n", "leave it")]

    def action_answer(self, answer: bool) -> None:
        if not (answer and self.refusal()):
            self.dismiss(answer)


class Quit(Dialog[str]):
    """Says what quitting does. Answers ``quit``, ``leave`` (the node goes on) or nothing.

    Args:
        preview: what becomes of the node.
        may_leave: whether it could go on without this console, asked for as long as the question stands.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,y,enter,ctrl+q,ctrl+c", "answer('quit')", show=False),
        Binding("Q", "answer('leave')", show=False),
        Binding("escape,n", "answer('')", show=False),
    ]

    def __init__(self, preview: str, may_leave: Callable[[], bool]) -> None:
        super().__init__()
        self.preview = preview
        self.may_leave = may_leave

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog small"):
            yield Static("Quit?", markup=False, classes="question")
            yield Note(lambda width: [[(part, "text")] for part in wrap(self.preview, width)])
            yield self.key_line()

    def keys(self) -> list[tuple[str, str]]:
        leave = [("Q", "quit and leave the node running")] if self.may_leave() else []
        return [("q", "quit"), *leave, ("esc", "stay")]

    def tell(self, preview: str) -> None:
        """What becomes of the node, once it has said so."""
        self.preview = preview
        self.again()

    def action_answer(self, answer: str) -> None:
        self.dismiss(answer if answer != "leave" or self.may_leave() else "quit")


class Pick(Dialog[int]):
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
            yield self.key_line()

    def keys(self) -> list[tuple[str, str]]:
        return [("⏎", "go"), ("esc", "back")]

    def on_mount(self) -> None:
        grid = self.query_one("#pick", Grid)
        grid.show([Row(str(number), ((label, "text"),)) for number, label in enumerate(self.labels)])
        grid.focus()

    @on(Viewport.Opened)
    def _opened(self, event: Viewport.Opened) -> None:
        event.stop()
        self.dismiss(event.view.cursor)


class Reader(Modal[None]):
    """A page to read. ``y`` copies it whole."""

    comes_late = True
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


class Setup(Dialog[FirstRun]):
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
                classes="about",
            )
            yield Static("Your name on the mesh", markup=False, classes="label")
            yield Field(self.proposal.name, id="name")
            yield Static("Role", markup=False, classes="label")
            yield Field(self.proposal.role, id="role")
            yield Static("Network (separates meshes)", markup=False, classes="label")
            yield Field(self.proposal.network, id="network")
            yield Static("Ticket, if somebody invited you", markup=False, classes="label")
            yield Field(self.proposal.ticket, id="ticket", password=True)
            yield Static(f"Home: {self.home}", markup=False, classes="hint")
            yield Note(lambda width: [[(part, "bad")] for part in wrap(self._read()[1], width) if part])
            yield self.key_line()

    def keys(self) -> list[tuple[str, str]]:
        start = [] if self._read()[1] else [("⏎", "start")]
        return [*start, ("tab", "next field"), ("esc", "leave, nothing is made")]

    def on_mount(self) -> None:
        self.query_one("#name", Field).focus()

    @on(Field.Changed)
    def _typed(self) -> None:
        self.again()

    @on(Field.Submitted)
    def _submitted(self) -> None:
        self.action_accept()

    def _read(self) -> tuple[FirstRun | None, str]:
        """What stands in the fields, or why it can't be."""
        found = {name: field.value.strip() for name in _FIELDS for field in self.query(f"#{name}").results(Field)}
        if len(found) < len(_FIELDS):
            return None, ""  # they aren't there yet
        ticket = found["ticket"]
        try:
            name, role = judged(found["name"], AGENT), judged(found["role"], ROLE)
            network = judged(found["network"], NETWORK)
            invitation = from_token(ticket) if ticket else None
        except InvalidInput as error:
            return None, str(error)
        if invitation is not None:  # it says where to go, and as what
            network, role = invitation.network, invitation.ticket.role or role
        return FirstRun(name, role, network, ticket), ""

    def action_accept(self) -> None:
        answers, _ = self._read()
        if answers is not None:
            self.dismiss(answers)


_FIELDS = ("name", "role", "network", "ticket")
