"""What lies over the panes owns the keyboard, proposes what typing replaces, and names no key that does nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from agent_core import shapes as s
from chorus_hap.actions import ACTIONS, key_name
from chorus_hap.widgets.chrome import Prompt
from chorus_hap.widgets.keys import Field
from chorus_hap.wizard.ask import Ask
from chorus_hap.wizard.compose import Compose
from chorus_hap.wizard.dialogs import Confirm, FirstRun, Pick, Quit, Reader
from chorus_hap.wizard.modal import Modal
from chorus_hap.wizard.propose import Propose
from chorus_hap.wizard.trouble import Trouble
from chorus_hap.wizard.vote import VoteCard
from tests.console.conftest import Drive, Driven
from tests.console.fake import FakeSource, decisions, status

pytestmark = pytest.mark.console

#: Every key that the panes and the application have, but for those that a form has itself.
PANE_KEYS = sorted({key for action in ACTIONS for key in action.keys} - {"enter", "escape", "tab", "shift+tab"})


async def _open(c: Driven, kind: type[Modal[Any]]) -> None:
    """Bring a screen up as a person would, or as what happens does."""
    app = c.app
    if kind is Compose:
        await c.press("n")
    elif kind is Propose:
        await c.press("p")
    elif kind is VoteCard:
        await c.press("6", "v")
    elif kind is Quit:
        await c.press("q")
    elif kind is Reader:
        await c.press("question_mark")
    elif kind is Confirm:
        await c.press("2", "t")
    elif kind is Ask:
        app.open_modal(Ask("A new address", "agent:role@project:task/path", "ucxl://a:b@c:d/e.md"))
    elif kind is Pick:
        app.open_modal(Pick("Go where?", ["here", "there"]))
    elif kind is Trouble:
        app.store.connect("failed", "Port 9000 is taken.", "Choose another with p2p.port.")
    await c.wait(lambda: isinstance(app.screen, kind))
    await c.pilot.pause()


MODALS: list[type[Modal[Any]]] = [Compose, Propose, VoteCard, Quit, Reader, Confirm, Ask, Pick, Trouble]


@pytest.mark.parametrize("kind", MODALS, ids=lambda kind: kind.__name__)
def test_no_key_of_the_panes_acts_beneath_a_screen(drive: Drive, kind: type[Modal[Any]]) -> None:
    async def job(c: Driven) -> None:
        for before in ("", "tab", "mouse", "escape") if kind is Quit else ("", "enter", "tab", "mouse", "escape"):
            if not isinstance(c.app.screen, Modal):
                await _open(c, kind)
            if before == "mouse":
                await c.pilot.click(offset=(40, 12))
            elif before:
                await c.press(before)
            if not c.app.is_running or not isinstance(c.app.screen, Modal):
                continue  # that was its own key, and closed it
            screen, pane = c.app.screen, c.app.pane_name
            for key, active in screen.active_bindings.items():
                assert screen in active.node.ancestors_with_self, f"{key_name(key)} acts on {active.node}"
            await c.press("4", "colon", "ctrl+p", "W")
            assert c.app.pane_name == pane
            assert len({type(screen) for screen in c.app.screen_stack}) == len(c.app.screen_stack)
            assert not c.app.screen_stack[0].query_one("#promptbar").has_class("-shown")

    drive(job)


def test_the_keys_of_the_panes_are_bound_to_their_screen_alone(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        bound = set(c.app._bindings.key_to_bindings) & {key for action in ACTIONS for key in action.keys}
        assert not bound, "what the application binds acts beneath every screen"
        await c.press("n", "escape", "n", "n")
        assert [type(screen) for screen in c.app.screen_stack[1:]] == [Compose]

    drive(job)


@pytest.mark.parametrize("label", ["slash", "colon"])
def test_no_key_of_the_panes_acts_while_a_line_is_typed(drive: Drive, label: str) -> None:
    async def job(c: Driven) -> None:
        await c.press("6", label)
        await c.type("abc")
        for key in ("tab", "shift+tab", "ctrl+p", "ctrl+q", "f5", *(k for k in PANE_KEYS if len(k) == 1)):
            await c.press(key)
        assert c.app.pane_name == "decisions"
        assert len(c.app.screen_stack) == 1
        prompt = c.app.screen.query_one(Prompt)
        assert prompt.has_focus
        assert prompt.value.startswith("abc")
        await c.pilot.click(offset=(20, 8))  # into a box: the line is left, and what was typed is recalled
        await c.wait(lambda: not c.app.screen.query_one("#promptbar").has_class("-shown"))
        assert "abc" in prompt.histories[prompt.mode].older()

    drive(job)


def test_a_page_that_comes_late_waits_for_the_keys_to_be_free(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("n")
        c.app.open_modal(Reader("A ticket", lambda _width: [[("ticket", "text")]]))
        await c.press("escape")
        assert isinstance(c.app.screen, Compose)
        await c.press("escape")
        await c.wait(lambda: isinstance(c.app.screen, Reader))

    drive(job)


def test_a_vote_that_is_cast_while_the_node_fails_closes_its_own_card_only(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("6", "v")
        card = c.app.screen
        assert isinstance(card, VoteCard)
        c.app.store.connect("failed", "Gone.", "Look.")
        await c.wait(lambda: isinstance(c.app.screen, Trouble))
        card.dismiss(None)
        await c.pilot.pause()
        assert isinstance(c.app.screen, Trouble)
        c.app.store.connect("attached")
        await c.wait(lambda: len(c.app.screen_stack) == 1)

    drive(job)


# --- what is proposed -------------------------------------------------------------------------------------------------


async def _room(c: Driven) -> Field:
    await c.press("5", "tab", "n", "2", "ctrl+s")
    return c.app.screen.query_one("#co-room", Field)


async def _address(c: Driven) -> Field:
    await c.press("7")
    c.app.pane.box = None  # type: ignore[union-attr]
    await _open(c, Ask)
    return c.app.screen.query_one(Field)


async def _deadline(c: Driven) -> Field:
    await c.press("p")
    field = c.app.screen.query_one("#pr-deadline", Field)
    field.focus()
    await c.pilot.pause()
    return field


@pytest.mark.parametrize("keep", ["", "end", "left", "right", "mouse"])
@pytest.mark.parametrize("find", [_room, _address, _deadline], ids=["room", "address", "deadline"])
def test_typing_replaces_what_is_proposed_and_an_arrow_keeps_it(
    drive: Drive, find: Callable[[Driven], Awaitable[Field]], keep: str
) -> None:
    async def job(c: Driven) -> None:
        field = await find(c)
        proposed = field.value
        assert proposed
        assert field.selection == (0, len(proposed))
        if keep == "mouse":
            await c.pilot.click(field)
            await c.pilot.click(field)
        elif keep:
            await c.press(keep)
        await c.type("x2")
        assert (field.value == "x2") is (not keep)
        assert not keep or set(proposed) <= set(field.value)

    drive(job)


def test_every_field_of_the_first_run_is_proposed(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        for name in ("anna", "boss", "net-2", ""):
            field = c.app.screen.query_one(Field) if not name else c.app.focused
            assert isinstance(field, Field)
            if name:
                await c.type(name)
                assert field.value == name
                await c.press("tab")

    drive(job, setup=FirstRun("root-box", "operator", "chorus"))


def test_no_form_has_a_line_of_another_kind() -> None:
    import pathlib
    import re

    import chorus_hap.wizard as wizard

    for path in pathlib.Path(wizard.__path__[0]).glob("*.py"):
        assert not re.search(r"\bInput\(", path.read_text()), f"{path.name}: use Field"


def test_what_a_person_wrote_is_not_selected_when_the_keys_come_back(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("p")
        await c.type("Freeze")
        await c.press("tab", "shift+tab")
        await c.type("!")
        assert c.app.screen.query_one("#pr-title", Field).value == "Freeze!"
        await c.press("escape", "p")
        await c.type("!")
        assert c.app.screen.query_one("#pr-title", Field).value == "Freeze!!"

    drive(job)


# --- what a form says of itself ---------------------------------------------------------------------------------------


def _read_only(c: Driven) -> None:
    c.app.read_only = "This console is read-only."


STATES: dict[str, Callable[[Driven], None]] = {
    "read-only": _read_only,
    "away": lambda c: c.app.store.connect("away", "starting it again"),
    "silent": lambda c: setattr(c.node, "mute", True),
    "starting": lambda c: c.app.store.connect("starting", "looking"),
}


async def _review(c: Driven) -> None:
    await c.press("n", "1", "ctrl+s")
    await c.type("cache")
    await c.press("ctrl+s", "ctrl+s")
    await c.type("fine")
    await c.press("ctrl+s")
    await c.see("^s sends it", "^s send")


async def _proposal(c: Driven) -> None:
    await c.press("p")
    await c.type("Freeze")
    await c.see("^s propose")


async def _vote(c: Driven) -> None:
    await c.press("6", "v", "1")
    await c.see("^s or ⏎ cast")


async def _asked(c: Driven) -> None:
    await c.press("2", "t")
    await c.see("y  call election")


FORMS = {"review": _review, "proposal": _proposal, "vote": _vote, "question": _asked}
SENDS = ("^s send", "^s propose", "^s or", "y  call")


@pytest.mark.parametrize("form", FORMS)
def test_a_form_names_no_key_for_what_can_not_be_done_now(drive: Drive, form: str) -> None:
    async def job(c: Driven) -> None:
        await FORMS[form](c)
        for enter in STATES.values():
            enter(c)
            await c.wait(lambda: not any(key in c.screen() for key in SENDS))
            await c.press("y" if form == "question" else "ctrl+s")
            assert not {"hmmm.post", "decisions.propose", "decisions.vote", "election.trigger"} & {
                m for m, _ in c.node.calls
            }
            c.app.read_only = ""
            c.node.mute = False
            c.app.store.connect("attached")
            await c.wait(lambda: any(key in c.screen() for key in SENDS))

    drive(job)


@pytest.mark.parametrize("form", ["review", "proposal", "vote"])
def test_a_secret_takes_the_key_away_that_would_send_it(drive: Drive, form: str) -> None:
    async def job(c: Driven) -> None:
        await FORMS[form](c)
        if form == "review":
            await c.press("ctrl+b")
        elif form == "vote":
            await c.press("tab")
        await c.type(" AKIAABCDEFGHIJKLMNOP")
        if form == "review":
            await c.press("ctrl+s")
        await c.see("This can't be sent")
        await c.wait(lambda: not any(key in c.screen() for key in SENDS))
        await c.press("ctrl+s")
        assert not [m for m, _ in c.node.calls if m in ("hmmm.post", "decisions.propose", "decisions.vote")]

    drive(job, size=(100, 36))


def test_what_is_missing_still_is_said_with_the_key(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("p")
        await c.see("^s propose, once it has a title")
        await c.type("Freeze")
        await c.wait(lambda: "once" not in c.screen())
        await c.press("escape", "n")
        await c.see("^s next, once you chose")
        await c.press("2", "ctrl+s")
        await c.see("^s next, once it has a room")

    drive(job)


def test_a_card_whose_decision_is_closed_meanwhile_says_so(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("6", "v")
        await c.see("^s or ⏎ cast")
        closed = (msgspec.structs.replace(decisions()[0], state="approved", may_vote=""), *decisions()[1:])
        c.node.push("decisions", closed)
        await c.see("no: It is approved; votes are no longer taken.", "esc back")
        await c.wait(lambda: "Your vote" not in c.screen())
        await c.press("enter")
        assert not isinstance(c.app.screen, VoteCard)

    drive(job)


@pytest.mark.parametrize("size", [(60, 18), (80, 24), (120, 36), (160, 48)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_who_replies_sees_what_is_answered(drive: Drive, size: tuple[int, int]) -> None:
    async def job(c: Driven) -> None:
        await c.press("5", "tab", "home", "r")
        await c.see("agent-a  proposal", "Replace the")
        await c.type("Agreed")
        await c.see("agent-a  proposal", "Agreed")

    drive(job, size=size)


# --- on a small screen ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(60, 18), (80, 24), (120, 36)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_what_must_be_read_is_seen_whole_at_every_size(drive: Drive, size: tuple[int, int]) -> None:
    """The command for a second node, all of it; the keys of every form."""
    node = FakeSource()
    alone = {"lone": True, "peers": 0, "voters": s.Voters(total=1, reachable=1, quorum=1)}
    node.slices["status"] = status(**alone)

    async def job(c: Driven) -> None:
        await c.see("Bring a second node:", "y copies it")
        shown = "".join(line.strip("│╭╮╰╯▐▌ ") for line in c.screen().split("\n"))
        await c.press("y")
        assert "".join(c.app.clipboard.split()) in "".join(shown.split())
        c.app.clear_notifications()  # they lie over what is looked at
        for kind, words in (
            (Compose, "esc leave the field"),
            (Propose, "esc leave, the text stays"),
            (Reader, "esc back"),
        ):
            await _open(c, kind)
            await c.see(words)
            while isinstance(c.app.screen, Modal):
                await c.press("escape")
        await _open(c, VoteCard)
        await c.see("esc leave it")

    drive(job, size=size, node=node)


@pytest.mark.parametrize("size", [(60, 18), (80, 24)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_first_run_shows_its_keys_at_every_size(drive: Drive, size: tuple[int, int]) -> None:
    async def job(c: Driven) -> None:
        await c.see("Your name on the mesh", "Ticket", "Home: ", "⏎  start", "esc  leave, nothing is made")
        await c.press("delete")
        await c.wait(lambda: "⏎  start" not in c.screen())
        await c.see("empty")

    drive(job, size=size, setup=FirstRun("root-box", "operator", "chorus"))
