"""The form that puts something to a vote."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static, TextArea

from agent_core.errors import ChorusError
from agent_core.shapes import Posted, ProposeRequest
from chorus_hap.widgets.choice import Choice

if TYPE_CHECKING:
    from chorus_hap.app import ConsoleApp

KINDS = ("architecture", "security", "operational", "policy", "code", "emergency")
RULES = (("majority", "majority", ""), ("supermajority", "two thirds", ""), ("unanimous", "unanimous", ""))


class Propose(ModalScreen[None]):
    """Title, description, kind, rule, deadline, options."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False, priority=True),
        Binding("ctrl+s", "send", show=False, priority=True),
    ]

    _last: ClassVar[dict[str, str]] = {}  # what was typed when the form was left

    @property
    def console(self) -> ConsoleApp:
        return cast("ConsoleApp", self.app)

    def compose(self) -> ComposeResult:
        with Vertical(classes="card propose"):
            yield Static("Put to a vote", markup=False, classes="question")
            yield Static("Title", markup=False, classes="label")
            yield Input(
                self._last.get("title", ""),
                id="pr-title",
                compact=True,
                placeholder="what is decided, as a sentence that can be approved",
                select_on_focus=False,
            )
            yield Static("Why (Markdown)", markup=False, classes="label")
            yield TextArea(self._last.get("description", ""), id="pr-description", soft_wrap=True, tab_behavior="focus")
            yield Static("Kind", markup=False, classes="label")
            yield Choice([(k, k, "") for k in KINDS], "operational", across=True, id="pr-kind")
            yield Static("Rule", markup=False, classes="label")
            yield Choice(RULES, "majority", across=True, id="pr-rule")
            yield Static("Deadline (10m, 2h, 3d, or a time)", markup=False, classes="label")
            yield Input("1h", id="pr-deadline", compact=True, select_on_focus=False)
            yield Static("Options, separated by commas", markup=False, classes="label")
            yield Input(
                self._last.get("options", ""),
                id="pr-options",
                compact=True,
                placeholder="approve, reject, abstain",
                select_on_focus=False,
            )
            yield Static("", id="pr-problem", markup=False, classes="problem")
            yield Static(
                "^s propose   tab next field   h l choose   esc leave, the text stays",
                markup=False,
                classes="keys",
            )

    def on_mount(self) -> None:
        self.op_id = self.console.op_id()
        self._sending = False
        self.query_one("#pr-title", Input).focus()

    def _typed(self) -> dict[str, str]:
        return {
            "title": self.query_one("#pr-title", Input).value,
            "description": self.query_one("#pr-description", TextArea).text,
            "options": self.query_one("#pr-options", Input).value,
        }

    def action_leave(self) -> None:
        Propose._last = self._typed()
        self.dismiss(None)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.focus_next()

    @on(Choice.Taken)
    def _taken(self) -> None:
        self.focus_next()

    def action_send(self) -> None:
        problem = self.query_one("#pr-problem", Static)
        typed = self._typed()
        title = typed["title"].strip()
        options = tuple(o.strip() for o in typed["options"].split(",") if o.strip())
        if not title:
            problem.update("Give it a title.")
            self.query_one("#pr-title", Input).focus()
            return
        if len(options) == 1:
            problem.update("One option is no choice: name at least two, or none for approve and reject.")
            return
        refusal = self.console.refusal(self.console.registry.actions["propose"])
        if refusal or self._sending:
            problem.update(refusal)
            return
        self._sending = True
        request = ProposeRequest(
            title=title, description=typed["description"].strip(), options=options, op_id=self.op_id,
            kind=self.query_one("#pr-kind", Choice).chosen, rule=self.query_one("#pr-rule", Choice).chosen,
            deadline=self.query_one("#pr-deadline", Input).value.strip() or "1h",
        )  # fmt: skip

        async def job() -> None:
            try:
                posted = msgspec.convert(
                    await self.console.source.call("decisions.propose", msgspec.to_builtins(request)), Posted
                )
            except ChorusError as error:
                problem.update(str(error))
                return
            finally:
                self._sending = False
            Propose._last = {}
            self.console.say(f"Proposed as {posted.id}. v votes on it.")
            self.dismiss(None)
            self.console.go("decisions", posted.id)

        self.console.work(job, "propose")
