"""The vote card: what is asked, how it stands, whether you may vote, and your voice with its reason."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from agent_core.errors import ChorusError
from agent_core.shapes import Decision, Posted, VoteRequest
from chorus_hap.panes.decisions import RULES, STATE_ROLES, owed, tally_words, time_left
from chorus_hap.widgets.bars import choice_role, tally_bar
from chorus_hap.widgets.choice import Choice, Note
from chorus_hap.widgets.keys import Field, Problem
from chorus_hap.widgets.lines import Line, ago, facts, one_line, words_of, wrap
from chorus_hap.wizard.modal import Checked

_HINTS = {"approve": "for it", "reject": "against it; needs a reason", "abstain": "counts for the quorum only"}


class VoteCard(Checked[None]):
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
    def decision(self) -> Decision | None:
        """The decision as the store has it now."""
        return next((d for d in self.console.store.items("decisions") if d.id == self.decision_id), None)

    def compose(self) -> ComposeResult:
        decision = self.decision
        options = decision.options if decision else ()
        options = options if "abstain" in options else (*options, "abstain")
        with Vertical(classes="card"):
            yield Note(self._facts, id="vo-facts")
            with Vertical(id="vo-voice"):
                yield Static("Your vote", markup=False, classes="label")
                yield Choice([(o, o, _HINTS.get(o, "")) for o in options], id="vo-choice")
                yield Static("Reason", markup=False, classes="label")
                yield Field(id="vo-reason", placeholder="one sentence that others can follow")
                yield Note(self._stand, id="vo-stand")
            yield Problem("vo-problem")
            yield self.key_line()

    def keys(self) -> list[tuple[str, str]]:
        if self._why_not():
            return [("esc", "back")]
        missing = self._missing()
        cast = [] if self.secret else [("^s or ⏎", "cast" + (f", once {missing}" if missing else ""))]
        return [*cast, ("j k", "choose"), ("tab", "next field"), ("esc", "leave it")]

    def on_mount(self) -> None:
        self.op_id = self.console.op_id()
        self.again()
        if self._why_not():
            self.set_focus(None)
        else:
            self.query_one(Choice).focus()

    def again(self) -> None:
        voice = self.query_one("#vo-voice")
        may = not self._why_not()
        if voice.display != may:  # it was closed, or the node went away, while the card was open
            voice.display = may
            self.set_focus(self.query_one(Choice) if may else None)
        super().again()

    def text_to_check(self) -> str:
        return self.query_one("#vo-reason", Field).value

    def place(self, line: int) -> str:
        return "the reason"

    def found(self) -> None:
        self.query_one("#vo-problem", Problem).tell(self.secret)
        self.again()

    def _why_not(self) -> str:
        """Why no vote can be cast; empty when it can."""
        return self.may_not() or self.console.why_unchanged()

    def may_not(self) -> str:
        """Why this node has no voice here, whatever it does; empty when it has."""
        decision = self.decision
        if decision is None:
            return "This decision is not known here any more."
        if decision.may_vote:
            return decision.may_vote
        return "" if decision.state == "open" else f"It is {words_of(decision.state)}; votes are no longer taken."

    def _missing(self) -> str:
        """What is still to be done before it can be cast, as ``once …``; empty for nothing."""
        chosen, reason = self.query_one(Choice).chosen, self.query_one("#vo-reason", Field).value.strip()
        if not chosen:
            return "you chose"
        return "it has a reason" if chosen == "reject" and not reason else ""

    def _facts(self, width: int) -> list[Line]:
        d = self.decision
        if d is None:
            return [[("This decision is not known here any more.", "dim")]]
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
            [(ago(left), "warn bold" if left < 60 and owed(d, not self._why_not()) else "text")]
            if d.state == "open"
            else [(words_of(d.state), STATE_ROLES.get(d.state, "text"))]
        )
        bar = tally_bar(d.tally, d.eligible, d.options, max(8, min(24, width - 13 - len(tally_words(d)))), glyphs)
        yours: Line = [(d.your_vote or "not cast", choice_role(d.your_vote, d.options) if d.your_vote else "dim")]
        never, now = self.may_not(), self.console.why_unchanged()
        eligible: Line = [(f"{glyphs.ok} yes, one voice of {d.eligible}", "good")]
        if never:  # nothing that could be done about it
            eligible = [(f"{glyphs.no} no: {never}", "dim")]
        elif now:
            eligible = [(f"{glyphs.no} not now: {now}", "warn")]
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
        if d is None or self._why_not():
            return []
        chosen = self.query_one(Choice).chosen
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
        self.query_one("#vo-problem", Problem).tell(self.secret)
        self.again()

    @on(Field.Changed)
    def _typed(self) -> None:
        self.check_soon()
        self.again()

    @on(Field.Submitted)
    def _submitted(self, event: Field.Submitted) -> None:
        event.stop()
        self.action_cast()

    @on(Choice.Taken)
    def _taken(self) -> None:
        self.query_one("#vo-reason", Field).focus()

    def action_leave(self) -> None:
        focused = self.app.focused
        if isinstance(focused, Field) and focused.value:
            self.query_one(Choice).focus()
        else:
            self.dismiss(None)

    def action_close_if_closed(self) -> None:
        """Enter leaves a card on which nothing can be cast."""
        if self._why_not():
            self.dismiss(None)

    def action_cast(self) -> None:
        problem = self.query_one("#vo-problem", Problem)
        if self._why_not() or self.secret:
            return  # it says so already
        choice, reason = self.query_one(Choice).chosen, self.query_one("#vo-reason", Field).value.strip()
        if not choice:
            problem.tell("Choose first; nothing is preselected.")
            self.query_one(Choice).focus()
            return
        if choice == "reject" and not reason:
            problem.tell("A reject needs a reason: it is what the others can act on.")
            self.query_one("#vo-reason", Field).focus()
            return
        if self._casting:
            return
        self._casting = True
        request = VoteRequest(id=self.decision_id, choice=choice, reason=reason, op_id=self.op_id)

        async def job() -> None:
            try:
                msgspec.convert(await self.console.source.call("decisions.vote", msgspec.to_builtins(request)), Posted)
            except ChorusError as error:
                self.fail(problem, error)
                return
            finally:
                self._casting = False
            self.console.say(f"Voted {choice}.")
            self.dismiss(None)

        self.console.work(job, "vote")
