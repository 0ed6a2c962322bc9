"""The actions that are the same in every pane: copying, themes, commands, composing, leaving."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING

from agent_core.errors import ChorusError
from chorus_hap.actions import NOT_YET
from chorus_hap.commands import Command, described, parse_command
from chorus_hap.subjects import subject
from chorus_hap.themes import PALETTES
from chorus_hap.widgets.lines import Line, facts, wrap
from chorus_hap.wizard.compose import Compose
from chorus_hap.wizard.dialogs import Confirm, Quit, Reader, help_lines
from chorus_hap.wizard.drafts import Start
from chorus_hap.wizard.propose import Propose

if TYPE_CHECKING:
    from chorus_hap.app import ConsoleApp

_GONE = "The node is not reachable; this console just closes."
#: Two columns of a table, as commands print them.
_COLUMNS = re.compile(r"\S {2,}\S")


def printed(text: str, width: int) -> list[Line]:
    """What a command printed: sentences wrapped, tables left as they are, to be read sideways where they are wider."""
    out: list[Line] = []
    for line in text.split("\n"):
        parts = [line] if _COLUMNS.search(line) else wrap(line, width) or [""]
        out += [[(part, "text")] for part in parts]
    return out


class Everywhere:
    """Handlers of the registry's actions, ``do_<id>``; a pane that has its own goes first.

    Args:
        app: the console.
    """

    def __init__(self, app: ConsoleApp) -> None:
        self.app = app

    def do_pane(self, argument: str) -> None:
        """Show a pane."""
        self.app.go(argument)

    def do_absent(self, argument: str) -> None:
        """A key whose pane this version has not."""
        self.app.say(NOT_YET.format(argument), "warning")

    def do_noop(self, _argument: str = "") -> None:
        """Open what is selected, from the palette."""
        view = self.app.pane.view if self.app.pane else None
        if view is not None:
            view.action_open()

    def do_back(self, _argument: str = "") -> None:
        """Clear the filter of the box, else one step back in the pane."""
        pane = self.app.pane
        if pane is None:
            return
        if pane.view is not None and pane.view.filter:
            self.app.forget_filter(pane.view)
        else:
            pane.back()

    def do_next_box(self, _argument: str = "") -> None:
        """The keys go to the next box."""
        if self.app.pane:
            self.app.pane.do_next_box()

    def do_previous_box(self, _argument: str = "") -> None:
        """The keys go to the box before."""
        if self.app.pane:
            self.app.pane.do_previous_box()

    def do_help(self, _argument: str = "") -> None:
        """The keys that work here."""
        self.app.open_modal(Reader("Keys", help_lines(self.app.registry, self.app.pane_name)))

    def do_commands(self, _argument: str = "") -> None:
        """The commands that can be typed, a line each."""

        def build(width: int) -> list[Line]:
            about_it = "Typed after :, with tab for the rest of a word. :help and a word says more."
            lines: list[Line] = [*([(part, "dim")] for part in wrap(about_it, width)), []]
            for word, about in described():
                lines += facts([(f":{word}", [(about, "text")])], 13, width)
            return lines

        self.app.open_modal(Reader("Commands", build))

    def do_palette(self, _argument: str = "") -> None:
        """Every action, by name."""
        self.app.action_command_palette()

    def do_copy(self, _argument: str = "") -> None:
        """Copy what is selected."""
        view = self.app.pane.view if self.app.pane else None
        text = view.copy_text() if view else ""
        if text:
            self.app.copy_to_clipboard(text)
            first = text.strip().splitlines()[0] if text.strip() else ""
            self.app.say(f"Copied: {first[:60]}" + ("…" if len(first) > 60 or "\n" in text.strip() else ""))
        else:
            self.app.say("Nothing is selected here.", "warning")

    def do_theme(self, argument: str = "") -> None:
        """The next theme, or the one that is named."""
        names = list(PALETTES)
        wanted = [n for n in names if argument and argument in (n, n.removeprefix("chorus-"), PALETTES[n].label)]
        if argument and not wanted:
            self.app.say("Themes: " + ", ".join(n.removeprefix("chorus-") for n in names), "warning")
            return
        name = wanted[0] if wanted else names[(names.index(self.app.look.palette.name) + 1) % len(names)]
        self.app.use_palette(PALETTES[name])
        self.app.say(f"Theme: {PALETTES[name].label}")

    def do_mouse(self, _argument: str = "") -> None:
        """Give the mouse to the terminal, or take it back."""
        here = self.app.session.mouse = not self.app.session.mouse
        name = "_enable_mouse_support" if here else "_disable_mouse_support"  # Textual has no public way
        getattr(self.app._driver, name, lambda: None)()
        self.app.say(
            "The mouse works here again." if here else "The terminal selects text now; M gives the mouse back."
        )

    def do_screenshot(self, _argument: str = "") -> None:
        """Save the screen as SVG in the home."""
        path = self.app.options.home / "screenshots"
        try:
            path.mkdir(parents=True, exist_ok=True)
            self.app.say(f"Saved {self.app.save_screenshot(path=str(path))}")
        except OSError as error:
            self.app.say(f"The screenshot can't be written: {error.strerror}.", "error")

    def do_compose(self, _argument: str = "") -> None:
        """The composition wizard."""
        room = getattr(self.app.pane, "room_id", "") if self.app.pane_name == "hmmm" else ""
        self.app.open_modal(Compose(Start(room=room)))

    def do_propose(self, _argument: str = "") -> None:
        """The form for a proposal."""
        self.app.open_modal(Propose())

    def do_renew(self, _argument: str = "") -> None:
        """Renew this home's log, once its clock is right; the node refuses when there is nothing to renew."""
        app = self.app

        async def job() -> None:
            done = await app.source.call("log.renew", {"confirmed": True, "op_id": app.op_id()})
            app.say(str(done["text"]))

        app.work(job)

    def run_command(self, text: str) -> None:
        """Do what a ``:`` line says: the same words as ``chorus-hap …``."""
        command = parse_command(text, self.app.registry, partial(subject, self.app.store))
        if command.refusal:
            self.app.say(command.refusal, "warning")
        elif command.told:
            self.app.say(command.told)
        elif command.action.startswith("pane_"):
            self.app.go(command.action.removeprefix("pane_"), command.argument)
        elif command.action:
            self.app.perform(self.app.registry.actions[command.action], command.argument)
        elif command.words:
            self._run_scripted(command)

    def _run_scripted(self, command: Command) -> None:
        if command.changes:
            refusal = self.app.why_unchanged()
            if refusal:
                self.app.say(refusal, "warning")
                return
        if self.app.options.run is None:
            self.app.say(NOT_YET.format("That command"), "warning")
            return
        run = self.app.options.run

        async def job() -> None:
            status, out, err = await run(command.words)
            said = err.strip().removeprefix("chorus-hap: ")
            text = "\n\n".join(part for part in (out.rstrip(), said) if part.strip()) or "Done."
            if (status or "\n" not in text) and len(text) < 300:
                self.app.say(text, "error" if status else "information")
                return
            title, table = ":" + " ".join(command.words), bool(_COLUMNS.search(text))
            self.app.open_modal(Reader(title, lambda width: printed(text, width), copy=text, sideways=table))

        def answered(yes: bool | None) -> None:
            if yes:
                self.app.work(job, "command")

        if command.question:
            self.app.open_modal(
                Confirm(command.question, " ".join(command.words[:2]), self.app.why_unchanged), answered
            )
        else:
            answered(True)

    # --- leaving ------------------------------------------------------------------------------------------------------

    def do_speak(self, _argument: str = "") -> None:
        """Allow changes on an agent's home."""
        if not self.app.read_only or self.app.options.read_only:
            self.app.say("This console may speak already." if not self.app.read_only else self.app.read_only)
            return
        status = self.app.store.status
        name = status.agent_id if status else "this agent"

        def answered(yes: bool | None) -> None:
            if yes:
                self.app.let_speak()

        self.app.open_modal(
            Confirm(f"Speak as {name}? What you write is signed by it, and says that it came from a console.", "speak"),
            answered,
        )

    def do_retry(self, _argument: str = "") -> None:
        """Start the node again."""
        self.app.source.retry()

    def do_quit(self, _argument: str = "") -> None:
        """Say what quitting does, and do it."""

        def may_leave() -> bool:
            return self.app.store.connection.owned and self.app.store.live

        quit = Quit("The node is asked what happens to it." if self.app.store.live else _GONE, may_leave)

        async def ask() -> None:
            try:
                answer = await asyncio.wait_for(self.app.source.call("session.end_preview", {}), 1.5)
                preview = str(answer.get("text", "")) if isinstance(answer, dict) else str(answer)
                quit.tell(preview[:1].upper() + preview[1:] + ("." if preview and preview[-1] not in ".!" else ""))
            except (ChorusError, TimeoutError):
                quit.tell("The node doesn't say what happens to it.")

        def answered(answer: str | None) -> None:
            if answer:
                self.app.work(lambda: self._leave(answer == "leave"), "leave")

        self.app.open_modal(quit, answered)
        if self.app.store.live:
            self.app.work(ask, "quit")

    def do_leave_running(self, _argument: str = "") -> None:
        """Quit; the node goes on as a daemon."""
        self.app.work(lambda: self._leave(True), "leave")

    async def _leave(self, keep_running: bool) -> None:
        self.app.session.save(self.app.options.home)
        try:
            await asyncio.wait_for(self.app.source.leave(keep_running), 3)
        except (ChorusError, TimeoutError) as error:
            if keep_running:
                self.app.say(f"The node can't be told to stay: {error} Quit with q instead.", "error")
                return
        self.app.window_title("")
        self.app.exit("left" if keep_running else "quit")
