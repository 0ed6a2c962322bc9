"""What every screen over the panes is: it owns the keyboard, and the keys it names are those that do something now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import msgspec
from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen
from textual.timer import Timer

from agent_core.errors import ChorusError
from agent_core.shapes import Finding
from chorus_hap.widgets.choice import Note
from chorus_hap.widgets.keys import KeyLine, Problem

if TYPE_CHECKING:
    from chorus_hap.app import ConsoleApp

T = TypeVar("T")

#: How long nothing is typed before a text is looked through for secrets, seconds.
CHECK_AFTER_S = 0.3


class Modal(ModalScreen[T]):
    """A screen over the panes. Nothing beneath it takes a key: neither the pane's keys nor the application's.

    What can be done is asked for whenever something changed, by :meth:`again`: a form that said at its beginning what its keys
    do would be wrong as soon as the node is away, the decision is closed or a secret stands in the text.
    """

    gap: ClassVar[str] = " "  #: between a key and its word
    comes_late: ClassVar[bool] = (
        False  #: a node is asked before it opens, so that something else may have the keys by then
    )

    @property
    def console(self) -> ConsoleApp:
        return cast("ConsoleApp", self.app)

    def keys(self) -> Sequence[tuple[str, str]]:
        """The keys that do something now, each with its word."""
        return ()

    def key_line(self) -> KeyLine:
        """The line that names :meth:`keys`."""
        return KeyLine(self.keys, self.gap)

    def again(self) -> None:
        """Say what holds now."""
        for note in self.query(Note):
            note.again()

    def on_descendant_focus(self) -> None:
        self.again()

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        """Close this screen, and no other: one that lies over it, such as a trouble of the node, is left alone until it goes."""
        if self not in self.app.screen_stack:  # it was left while what it asked for was under way
            return AwaitComplete()
        if self.app.screen is not self:
            self._late = (result,)
            return AwaitComplete()
        return super().dismiss(result)

    def fail(self, problem: Problem, error: ChorusError) -> None:
        """Say why what was asked for isn't done: here, or as a toast where this screen was left meanwhile."""
        text = self.console.here(str(error))
        if self in self.app.screen_stack:
            problem.tell(text)
        else:
            self.console.say(text, "error")

    _late: tuple[Any] | None = None

    def on_screen_resume(self) -> None:
        if self._late is not None:
            result, self._late = self._late[0], None
            self.dismiss(result)


class Checked(Modal[T]):
    """A form with texts that are signed and sent, which SHHH looks through while they are typed (SPEC section 11)."""

    findings: tuple[Finding, ...] = ()
    _checked = ""
    _timer: Timer | None = None

    def text_to_check(self) -> str:
        """What would be sent."""
        raise NotImplementedError

    def found(self) -> None:
        """Other secrets were found than before, or none any more."""
        self.again()

    def check_soon(self) -> None:
        """A text was changed."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(CHECK_AFTER_S, self.check)

    def check(self) -> None:
        """Have the text looked through, unless it was."""
        if self not in self.app.screen_stack:
            return  # it was left
        text = self.text_to_check()
        if text == self._checked or not self.console.store.live:
            return

        async def job() -> None:
            try:
                found = await self.console.source.call("shhh.check", {"text": text})
            except ChorusError:
                return  # the node looks again when it is sent
            if self in self.app.screen_stack and text == self.text_to_check():
                self.findings, self._checked = msgspec.convert(found, tuple[Finding, ...]), text
                self.found()

        self.console.work(job, f"check-{type(self).__name__}")

    @property
    def secret(self) -> str:
        """Why SHHH won't let it be sent; empty when it will."""
        worst = next((f for f in self.findings if f.severity == "critical"), None)
        return (
            f"This can't be sent: {self.place(worst.line)} holds a secret ({worst.rule}); take it out first."
            if worst
            else ""
        )

    def place(self, line: int) -> str:
        """What a line of :meth:`text_to_check` is called on the form."""
        return f"line {line}"
