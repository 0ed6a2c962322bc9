"""The vote card: what is asked, how it stands, whether you may vote, and your voice with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from agent_core.errors import ChorusError
from agent_core.shapes import Decision, Posted, VoteRequest
from chorus_hap.panes.decisions import RULES, STATE_ROLES, tally_words, time_left
from chorus_hap.widgets.bars import choice_role, tally_bar
from chorus_hap.widgets.choice import Choice, Note
from chorus_hap.widgets.lines import Line, ago, facts, one_line, wrap

if TYPE_CHECKING:
    from chorus_hap.app import ConsoleApp

_HINTS = {"approve": "for it", "reject": "against it; needs a reason", "abstain": "counts for the quorum only"}


class VoteCard(ModalScreen[None]):
    """One decision, one voice."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False, priority=True),
        Binding("ctrl+s", "cast", show=False, priority=True),
        Binding("enter", "close_if_closed", show=False),
    ]

    def __init__(self, decision_id: str) -> None:
        super().__init__()
        self.decision_id = decision_id
        self._casting = False

    @property
    def console(self) -> ConsoleApp:
        return cast("ConsoleApp", self.app)

    @property
    def decision(self) -> Decision | None:
        """The decision as the store has it now."""
        return next((d for d in self.console.store.items("decisions") if d.id == self.decision_id), None)

    def compose(self) -> ComposeResult:
        decision = self.decision
        options = decision.options if decision else ()
        options = options if "abstain" in options else (*options, "abstain")
        with Vertical(classes="card"):
            yield Note(self._facts, id="vo-facts")
            if decision is not None and not self._why_not():
                yield Static("Your vote", markup=False, classes="label")
                yield Choice([(o, o, _HINTS.get(o, "")) for o in options], id="vo-choice")
                yield Static("Reason", markup=False, classes="label")
                yield Input(
                    id="vo-reason",
                    compact=True,
                    placeholder="one sentence that others can follow",
                    select_on_focus=False,
                )
            yield Note(self._stand, id="vo-stand")
            yield Static("", id="vo-problem", markup=False, classes="problem")
            keys = (
                "^s or ⏎ cast      j k choose      tab next field      esc leave it"
                if not self._why_not()
                else "esc back"
            )
            yield Static(keys, markup=False, classes="keys")

    def on_mount(self) -> None:
        self.op_id = self.console.op_id()
        self._stop = self.console.store.listen("decisions", self._news)
        self.set_interval(1.0, self._again)
        choices = self.query(Choice)
        if choices:
            choices.first().focus()
        else:
            self.set_focus(None)

    def on_unmount(self) -> None:
        self._stop()

    def _news(self, _slice: str) -> None:
        self.call_later(self._again)

    def _again(self) -> None:
        for note in self.query(Note):
            note.show()

    def _why_not(self) -> str:
        """Why no vote can be cast; empty when it can."""
        decision = self.decision
        if decision is None:
            return "This decision is not known here any more."
        if decision.may_vote:
            return decision.may_vote
        if decision.state != "open":
            return f"It is {decision.state.replace('_', ' ')}; votes are no longer taken."
        return (
            self.console.refusal(self.console.registry.actions["vote"])
            if self.console.pane_name in ("decisions", "attention")
            else ""
        )

    def _facts(self, width: int) -> list[Line]:
        d = self.decision
        if d is None:
            return [[("This decision is not known here any more.", "warn")]]
        glyphs = self.console.look.glyphs
        age = self.console.store.age_s("decisions")
        lines: list[Line] = [[(part, "text bold")] for part in wrap(one_line(d.title), max(10, width))]
        for part in (
            wrap(one_line(d.description), max(10, width))[: 1 if self.app.size.height < 36 else 6]
            if d.description
            else ()
        ):
            lines.append([(part, "dim")])
        lines.append([])
        left = time_left(d, age)
        when: Line = (
            [(ago(left), "warn bold" if left < 60 else "text")]
            if d.state == "open"
            else [(d.state.replace("_", " "), STATE_ROLES.get(d.state, "text"))]
        )
        bar = tally_bar(d.tally, d.eligible, d.options, max(8, min(24, width - 13 - len(tally_words(d)))), glyphs)
        yours: Line = [(d.your_vote or "not cast", choice_role(d.your_vote, d.options) if d.your_vote else "dim")]
        why = self._why_not()
        eligible: Line = (
            [(f"{glyphs.no} no: {why}", "warn")] if why else [(f"{glyphs.ok} yes, one voice of {d.eligible}", "good")]
        )
        lines += facts(
            [
                (
                    "Rule",
                    [(RULES.get(d.rule, d.rule), "text"), (f"; quorum {round(d.quorum * 100)} % of eligible", "dim")],
                ),
                ("Time left", when),
                ("Tally", [*bar, ("  " + tally_words(d), "text")]),
                ("May you?", eligible),
                ("Stands at", yours),
                ("Waits for", ", ".join(sorted(d.waiting_for)) or "nobody else"),
            ],
            11,
            width,
        )
        return lines

    def _stand(self, width: int) -> list[Line]:
        d = self.decision
        choices = self.query(Choice)
        if d is None or not choices:
            return []
        chosen = choices.first().chosen
        glyphs = self.console.look.glyphs
        if not chosen:
            return [[("Nothing is chosen yet.", "dim")]]
        change: Line = (
            [(d.your_vote, choice_role(d.your_vote, d.options)), (f" {glyphs.right} ", "dim")]
            if d.your_vote and d.your_vote != chosen
            else []
        )
        note = "  replaces your vote; it may change until the close" if change else "  may change until the close"
        return [[("Casts ", "dim"), *change, (chosen, choice_role(chosen, d.options) + " bold"), (note, "dim")]]

    @on(Choice.Changed)
    def _chosen(self) -> None:
        self.query_one("#vo-problem", Static).update("")
        self.query_one("#vo-stand", Note).show()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_cast()

    @on(Choice.Taken)
    def _taken(self) -> None:
        self.query_one("#vo-reason", Input).focus()

    def action_leave(self) -> None:
        focused = self.app.focused
        if isinstance(focused, Input) and focused.value:
            self.query_one(Choice).focus()
        else:
            self.dismiss(None)

    def action_close_if_closed(self) -> None:
        """Enter leaves a card on which nothing can be cast."""
        if not self.query(Choice):
            self.dismiss(None)

    def action_cast(self) -> None:
        problem = self.query_one("#vo-problem", Static)
        why = self._why_not()
        choices = self.query(Choice)
        if why or not choices:
            problem.update(why)
            return
        choice, reason = choices.first().chosen, self.query_one("#vo-reason", Input).value.strip()
        if not choice:
            problem.update("Choose first; nothing is preselected.")
            choices.first().focus()
            return
        if choice == "reject" and not reason:
            problem.update("A reject needs a reason: it is what the others can act on.")
            self.query_one("#vo-reason", Input).focus()
            return
        if self._casting:
            return
        self._casting = True
        request = VoteRequest(id=self.decision_id, choice=choice, reason=reason, op_id=self.op_id)

        async def job() -> None:
            try:
                msgspec.convert(await self.console.source.call("decisions.vote", msgspec.to_builtins(request)), Posted)
            except ChorusError as error:
                problem.update(str(error))
                return
            finally:
                self._casting = False
            self.console.say(f"Voted {choice}.")
            self.dismiss(None)

        self.console.work(job, "vote")
