"""The form that puts something to a vote."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static, TextArea

from agent_core.errors import ChorusError
from agent_core.shapes import Posted, ProposeRequest
from chorus_hap.widgets.choice import Choice
from chorus_hap.widgets.keys import Field, Problem
from chorus_hap.wizard.modal import Checked

KINDS = ("architecture", "security", "operational", "policy", "code", "emergency")
RULES = (("majority", "majority", ""), ("supermajority", "two thirds", ""), ("unanimous", "unanimous", ""))


class Propose(Checked[None]):
    """Title, description, kind, rule, deadline, options."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False, priority=True),
        Binding("ctrl+s", "send", show=False, priority=True),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="card propose"):
            yield Static("Put to a vote", markup=False, classes="question")
            yield Static("Title", markup=False, classes="label")
            yield Field(
                written=self.console.proposal.get("title", ""),
                id="pr-title",
                placeholder="what is decided, as a sentence that can be approved",
            )
            yield Static("Why (Markdown)", markup=False, classes="label why")
            yield TextArea(
                self.console.proposal.get("description", ""), id="pr-description", soft_wrap=True, tab_behavior="focus"
            )
            yield Static("Kind", markup=False, classes="label")
            yield Choice([(k, k, "") for k in KINDS], "operational", across=True, id="pr-kind")
            yield Static("Rule", markup=False, classes="label rule")
            yield Choice(RULES, "majority", across=True, id="pr-rule")
            yield Static("Deadline (10m, 2h, 3d, or a time)", markup=False, classes="label")
            yield Field("1h", written=self.console.proposal.get("deadline", ""), id="pr-deadline")
            yield Static("Options, separated by commas", markup=False, classes="label")
            yield Field(
                written=self.console.proposal.get("options", ""),
                id="pr-options",
                placeholder="approve, reject, abstain",
            )
            yield Problem("pr-problem")
            yield self.key_line()

    def keys(self) -> list[tuple[str, str]]:
        missing = self._missing()[0]
        send = [] if self._blocked() else [("^s", "propose" + (f", once {missing}" if missing else ""))]
        return [*send, ("tab", "next field"), ("h l", "choose"), ("esc", "leave, the text stays")]

    def again(self) -> None:
        blocked = self._blocked()
        if blocked != self._said:
            self._said = blocked
            self.query_one("#pr-problem", Problem).tell(blocked)
        super().again()

    _said = ""

    def _blocked(self) -> str:
        """Why it can't be put to a vote now, whatever is typed; empty when it can."""
        return self.console.why_unchanged() or self.secret

    def _missing(self) -> tuple[str, str]:
        """What is still to be done, as ``once …`` and as a sentence; empty for nothing."""
        typed = self._typed()
        if not typed["title"].strip():
            return "it has a title", "Give it a title."
        if len(_options(typed["options"])) == 1:
            text = "One option is no choice: name at least two, or none for approve and reject."
            return "it has two options", text
        return "", ""

    def text_to_check(self) -> str:
        return "\n".join(self._typed()[name] for name in ("title", "description", "options"))

    def place(self, line: int) -> str:
        last = self._typed()["description"].count("\n") + 2
        return "the title" if line == 1 else f"line {line - 1}" if line <= last else "an option"

    @on(Field.Changed)
    @on(TextArea.Changed)
    def _changed(self) -> None:
        if self._told:
            self._told = False
            self.query_one("#pr-problem", Problem).tell(self._said)
        self.check_soon()
        self.again()

    _told = False  #: whether a refusal of what was typed before stands there

    def _tell(self, problem: str) -> None:
        self._told = True
        self.query_one("#pr-problem", Problem).tell(problem)

    def on_mount(self) -> None:
        self.op_id = self.console.op_id()
        self._sending = False
        self.query_one("#pr-title", Field).focus()

    def _typed(self) -> dict[str, str]:
        return {
            "title": self.query_one("#pr-title", Field).value,
            "description": self.query_one("#pr-description", TextArea).text,
            "options": self.query_one("#pr-options", Field).value,
            "deadline": deadline.value if not (deadline := self.query_one("#pr-deadline", Field)).proposes else "",
        }

    def action_leave(self) -> None:
        self.console.proposal = self._typed()
        self.dismiss(None)

    @on(Field.Submitted)
    def _submitted(self, event: Field.Submitted) -> None:
        event.stop()
        self.focus_next()

    @on(Choice.Taken)
    def _taken(self) -> None:
        self.focus_next()

    def action_send(self) -> None:
        missing = self._missing()[1]
        if missing:
            self._tell(missing)
            self.query_one("#pr-options" if self._typed()["title"].strip() else "#pr-title", Field).focus()
            return
        if self._blocked() or self._sending:
            return
        self._sending = True
        typed = self._typed()
        request = ProposeRequest(
            title=typed["title"].strip(), description=typed["description"].strip(), options=_options(typed["options"]), op_id=self.op_id,
            kind=self.query_one("#pr-kind", Choice).chosen, rule=self.query_one("#pr-rule", Choice).chosen,
            deadline=self.query_one("#pr-deadline", Field).value.strip() or "1h",
        )  # fmt: skip

        async def job() -> None:
            try:
                posted = msgspec.convert(
                    await self.console.source.call("decisions.propose", msgspec.to_builtins(request)), Posted
                )
            except ChorusError as error:
                self._told = True
                self.fail(self.query_one("#pr-problem", Problem), error)
                return
            finally:
                self._sending = False
            self.console.proposal = {}
            self.console.say(f"Proposed as {posted.id}. v votes on it.")
            self.dismiss(None)
            self.console.go("decisions", posted.id)

        self.console.work(job, "propose")


def _options(text: str) -> tuple[str, ...]:
    return tuple(option.strip() for option in text.split(",") if option.strip())
