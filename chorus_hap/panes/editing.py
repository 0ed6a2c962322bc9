"""Editing an address: what was opened is what may be replaced, a conflict shows all the texts, and nothing typed is lost.

Every put names in ``if_match`` the versions that were seen when the editor opened. The file that the editor works on lies in the
home's ``drafts`` until its text is put, so that it outlives the editor, a refusal, and this console.
"""

from __future__ import annotations

import base64
import contextlib
import difflib
import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content as Plain
from textual.widgets import Static

from agent_core.errors import ChorusError, Conflict
from agent_core.home import write_whole
from agent_core.shapes import Content, Posted
from chorus_hap.panes.addresses import body_of
from chorus_hap.panes.base import Pane
from chorus_hap.widgets.lines import clean, clock, plural, wrap
from chorus_hap.widgets.sheet import Sheet
from chorus_hap.wizard.dialogs import Pick
from chorus_hap.wizard.modal import Modal

if TYPE_CHECKING:
    from chorus_hap.app import ConsoleApp

#: Of versions that stand side by side so many are shown in a conflict.
_SHOWN_BESIDE = 4
_MARKS = ("<<<<<<< yours", "=======", ">>>>>>> theirs")


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What an editor was opened on: the address, the text, and the versions seen, which a put may replace."""

    address: str
    base: str
    if_match: str
    op_id: str
    at: str = ""


def seen(content: Content) -> str:
    """The ``if_match`` that lets exactly what this content shows be replaced: the version, and those beside it."""
    return ",".join([content.version.hash, *(v.hash for v in content.siblings)])


def opened(content: Content, op_id: str) -> Opened:
    """What an edit of this content starts from."""
    text = "" if content.version.deleted else body_of(content) or ""
    return Opened(
        address=content.address, base=text, if_match=seen(content), op_id=op_id, at=datetime.now(UTC).isoformat()
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """A text in the home that isn't put yet.

    Args:
        home: the console's home.
        start: what it was opened on.
    """

    home: Path
    start: Opened

    @property
    def path(self) -> Path:
        """The file the editor works on."""
        suffix = Path(self.start.address).suffix
        return self.home / "drafts" / f"ucxl-{self.start.op_id}{suffix if suffix[1:].isalnum() else '.md'}"

    @property
    def _about(self) -> Path:
        return self.home / "drafts" / f"ucxl-{self.start.op_id}.json"

    def write(self, text: str) -> None:
        """Keep this text.

        Raises:
            StoreError: the home can't be written.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self.path, text.encode())
        write_whole(self._about, msgspec.json.encode(self.start))

    def read(self) -> str:
        """The text as it is now.

        Raises:
            OSError: it can't be read.
            UnicodeDecodeError: it isn't UTF-8.
        """
        return self.path.read_text("utf-8")

    def done(self) -> None:
        """It was put, or nothing was changed: nothing need be kept."""
        for path in (self.path, self._about):
            with contextlib.suppress(OSError):
                path.unlink()

    def set_aside(self) -> None:
        """The text stays as a file; nothing asks for it any more."""
        with contextlib.suppress(OSError):
            self._about.unlink()


def kept_for(home: Path, address: str) -> Kept | None:
    """The newest text for an address that was never put, None if there is none."""
    found = []
    for about in (home / "drafts").glob("ucxl-*.json"):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            kept = Kept(home, msgspec.json.decode(about.read_bytes(), type=Opened))
            if kept.start.address == address and kept.path.exists():
                found.append(kept)
    return max(found, key=lambda kept: kept.start.at, default=None)


def marked(mine: str, theirs: str) -> str:
    """Both texts in one; where they differ both stand, between the marks that merge tools use."""
    left, right = mine.splitlines(), theirs.splitlines()
    out: list[str] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        out += left[a:b] if tag == "equal" else [_MARKS[0], *left[a:b], _MARKS[1], *right[c:d], _MARKS[2]]
    return "\n".join(out) + "\n"


class ConflictPage(Modal[str]):
    """The texts of an edit that came too late. Answers ``mine``, ``theirs`` or ``edit``; nothing when left."""

    comes_late = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "dismiss('mine')", show=False),
        Binding("t", "dismiss('theirs')", show=False),
        Binding("e", "dismiss('edit')", show=False),
        Binding("escape,q", "dismiss('')", show=False),
        Binding("tab", "app.focus_next", show=False),
        Binding("shift+tab", "app.focus_previous", show=False),
    ]

    def __init__(self, address: str, base: str, theirs: Sequence[tuple[str, str]], mine: str) -> None:
        super().__init__()
        self._address = address
        self._texts = [("What you opened", base), *theirs, ("Yours", mine)]

    def compose(self) -> ComposeResult:
        with Container(classes="page conflict") as page:
            page.border_title = Plain(clean(self._address))
            yield Static("The address was changed while you edited it.", markup=False, classes="question")
            with Container(classes="texts"):
                for number, (title, text) in enumerate(self._texts):
                    yield Sheet(title, id=f"conflict-{number}", copy=text, empty="Nothing.")
            yield self.key_line()

    def keys(self) -> list[tuple[str, str]]:
        return [
            ("m", "put mine over all"),
            ("t", "take theirs"),
            ("e", "edit both in one"),
            ("esc", "later; mine is kept"),
        ]

    def on_mount(self) -> None:
        for number, (_, text) in enumerate(self._texts):
            lines = text.rstrip("\n").split("\n") if text else []
            self.query_one(f"#conflict-{number}", Sheet).show(
                lambda width, lines=lines: [[(part, "text")] for line in lines for part in wrap(line, width) or [""]]  # type: ignore[misc]
            )
        self.query_one(f"#conflict-{len(self._texts) - 1}", Sheet).focus()


class Editing:
    """The edits of a pane.

    Args:
        pane: whose console runs the editor and asks the node.
        was_put: called with the address and the new version.
    """

    def __init__(self, pane: Pane, was_put: Callable[[str, str], None]) -> None:
        self._pane = pane
        self._was_put = was_put

    @property
    def _console(self) -> ConsoleApp:
        return self._pane.console

    def begin(self, start: Opened) -> None:
        """Open the editor, or first ask about a text that was never put."""
        home = self._console.options.home
        before = kept_for(home, start.address)
        if before is None:
            self._edit(Kept(home, start), start.base)
            return

        def chosen(number: int | None) -> None:
            if number == 0:
                self._again(before)
            elif number == 1:
                before.set_aside()
                self._console.say(f"What you typed before stays in {before.path}.")
                self._edit(Kept(home, start), start.base)

        self._console.open_modal(
            Pick(
                "A text of yours for this address was never put.",
                [f"Go on with what you typed at {clock(before.start.at)}", "Begin with what stands there now"],
            ),
            chosen,
        )

    def _again(self, kept: Kept) -> None:
        """Open the editor on what was typed before."""
        try:
            text = kept.read()
        except (OSError, UnicodeDecodeError) as error:
            self._console.say(f"What you typed in {kept.path} can't be read: {error}.", "error")
            return
        self._edit(kept, text)

    def _edit(self, kept: Kept, text: str) -> None:
        try:
            kept.write(text)
        except ChorusError as error:
            self._console.say(str(error), "error")
            return
        ended = run_editor(self._console, kept.path)
        try:
            edited = kept.read()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it isn't UTF-8 text"
            self._console.say(f"What the editor left in {kept.path} can't be read: {why}. Nothing was put.", "error")
            return
        if edited == kept.start.base:
            kept.done()
            self._console.say(ended or "Nothing was changed.", "warning" if ended else "information")
        elif ended:
            self._console.say(f"{ended} Your text is kept; e opens it again.", "warning")
        elif any(line in _MARKS[::2] for line in edited.splitlines()):
            self._console.say("Marks of a merge are still in the text; it is kept, and e opens it again.", "warning")
        else:
            self.put(kept, edited)

    def put(self, kept: Kept, text: str) -> None:
        """Have the text put; whatever is said against it, the text is kept."""
        start = kept.start
        media = "text/markdown" if start.address.endswith(".md") else "text/plain"

        async def job() -> None:
            try:
                posted = await self._pane.ask(
                    "ucxl.put",
                    Posted,
                    address=start.address,
                    data=base64.b64encode(text.encode()).decode(),
                    media=media,
                    if_match=start.if_match,
                    op_id=start.op_id,
                )
            except Conflict:
                await self._conflict(kept, text)
                return
            except ChorusError as error:
                self._console.say(f"{error} Your text is kept in {kept.path}; e opens it again.", "error")
                return
            kept.done()
            self._was_put(start.address, posted.version)
            self._console.say(f"Kept as version {posted.version[:8]}.")

        # Another put must not end this one before its answer is here: each is a group of its own.
        self._console.work(job, f"ucxl-put-{start.op_id}")

    async def _conflict(self, kept: Kept, mine: str) -> None:
        start = kept.start
        try:
            now = await self._pane.ask("ucxl.get", Content, address=start.address)
            theirs = await self._standing(now)
        except ChorusError as error:
            self._console.say(f"{error} Your text is kept in {kept.path}; e opens it again.", "error")
            return
        # What is put now is another operation: the one refused must not answer for it.
        again = Kept(
            kept.home,
            msgspec.structs.replace(start, base=theirs[0][1], if_match=seen(now), op_id=self._console.op_id()),
        )
        if len(theirs) == 1 and theirs[0][1] == mine:
            kept.done()
            self._was_put(start.address, now.version.hash)
            self._console.say("The same text stands there already.")
            return

        def answered(answer: str | None) -> None:
            if answer == "theirs":
                kept.set_aside()
                self._was_put(start.address, now.version.hash)
                self._console.say(f"Nothing was put. Your text stays in {kept.path}.")
            elif answer in ("mine", "edit"):
                again.write(mine)
                kept.done()
                if answer == "mine":
                    self.put(again, mine)
                else:
                    self._edit(again, marked(mine, theirs[0][1]))
            else:
                self._console.say(f"Nothing was put. Your text is kept in {kept.path}; e opens it again.", "warning")

        self._console.open_modal(ConflictPage(start.address, start.base, theirs, mine), answered)

    async def _standing(self, now: Content) -> list[tuple[str, str]]:
        """Titles and texts of all that stands there now."""
        found = [now]
        for version in now.siblings[:_SHOWN_BESIDE]:
            found.append(await self._pane.ask("ucxl.get", Content, address=now.address, version=version.hash))
        out = []
        for content in found:
            text = "" if content.version.deleted else body_of(content)
            gone = " (deleted)" if content.version.deleted else ""
            what = f"Theirs: {content.version.author}, {clock(content.version.at)}, {content.version.hash[:8]}{gone}"
            out.append((what, f"(not shown: {content.missing or 'not a text of this size'})" if text is None else text))
        hidden = len(now.siblings) - _SHOWN_BESIDE
        return [*out, ("", f"and {plural(hidden, 'more version')} beside them")] if hidden > 0 else out


def run_editor(app: ConsoleApp, path: Path) -> str:
    """Let a person edit a file in ``$VISUAL`` or ``$EDITOR``; a sentence when the editor failed or can't be had."""
    try:
        editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    except ValueError as error:
        return f"EDITOR can't be read as a command: {error}."
    try:
        with app.suspend():
            done = subprocess.run([*editor, str(path)], check=False)
    except (OSError, SuspendNotSupported) as error:
        return f"The editor {editor[0]!r} can't be run here: {error}. Set EDITOR."
    return f"{editor[0]} ended with status {done.returncode}; nothing was put." if done.returncode else ""
