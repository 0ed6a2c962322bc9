"""Whoever edits replaces what was seen and nothing else, on every way that edits; what was typed is never lost."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_core.errors import Unavailable
from chorus_hap.panes import editing
from tests.console.conftest import Drive, Driven
from tests.console.fake import FakeSource, _hash

pytestmark = pytest.mark.console

PLACE = "ucxl://agent-b:agent@search:cache/deploy/plan.txt"
NEW = "ucxl://alice:operator@project:task/path.md"
BASE = "22:00 canary\n23:00 all\n"


class Editor:
    """What the person types, text after text; ``meanwhile`` is what others do while the editor is open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *texts: str, ends: str = "") -> None:
        self.texts = list(texts)
        self.opened_on: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.ends = ends
        monkeypatch.setattr(editing, "run_editor", self.run)

    def run(self, _app: object, path: Path) -> str:
        self.opened_on.append(path.read_text())
        path.write_text(self.texts.pop(0))
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return self.ends


def write(node: FakeSource, address: str, author: str, text: str, tell: bool = True) -> None:
    """Somebody else writes a version; ``tell`` is whether this console hears of it."""
    node.texts.setdefault(address, []).append((author, text))
    if tell:
        node._addresses()
        node.push("ucxl", node.slices["ucxl"])


async def at_place(c: Driven) -> None:
    await c.press("7")
    await c.app.show_pane("ucxl", PLACE)
    await c.see("22:00 canary", "Versions · 1")


def left(c: Driven) -> list[str]:
    """The texts that are kept in the home."""
    return [p.read_text() for p in (c.app.options.home / "drafts").glob("ucxl-*") if p.suffix != ".json"]


def put(node: FakeSource) -> list[tuple[str, str]]:
    return [(base64.b64decode(p["data"]).decode(), p["if_match"]) for p in node.asked("ucxl.put")]


def test_the_second_edit_opens_the_version_that_the_first_one_wrote(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, editor = FakeSource(), Editor(monkeypatch, "one\n", "one\ntwo\n")

    async def job(c: Driven) -> None:
        await at_place(c)
        await c.press("e")
        await c.see(f"Kept as version {_hash('one' + chr(10))[:8]}", "Versions · 2")
        await c.wait(lambda: "22:00 canary" not in c.screen())
        await c.press("e")
        await c.see("Versions · 3")
        assert editor.opened_on == [BASE, "one\n"]
        assert put(node) == [("one\n", _hash(BASE)), ("one\ntwo\n", _hash("one\n"))]
        assert left(c) == []

    drive(job, node=node)


def test_the_latest_is_followed_but_not_away_from_an_older_one_that_is_being_read(drive: Drive) -> None:
    node = FakeSource()

    async def job(c: Driven) -> None:
        await at_place(c)
        write(node, PLACE, "agent-b", "a newer plan\n")
        await c.see("a newer plan")
        await c.press("left_square_bracket")
        await c.see("22:00 canary")
        write(node, PLACE, "agent-b", "the newest plan\n")
        await c.see("Versions · 3", "22:00 canary")

    drive(job, node=node)


#: What is edited, and whether this console had heard of the version that is in the way when it put.
WAYS = [("latest", True), ("latest", False), ("older", True), ("new", True), ("new", False)]


@pytest.mark.parametrize(("way", "told"), WAYS, ids=[f"{w}-{'heard' if t else 'unheard'}" for w, t in WAYS])
@pytest.mark.parametrize(("key", "outcome"), [("m", "mine"), ("t", "theirs"), ("e", "both"), ("escape", "kept")])
def test_a_conflict_shows_the_three_texts_and_loses_none(
    drive: Drive, monkeypatch: pytest.MonkeyPatch, way: str, told: bool, key: str, outcome: str
) -> None:
    node, editor = FakeSource(), Editor(monkeypatch, "mine\n", "both\n")
    place = NEW if way == "new" else PLACE

    async def job(c: Driven) -> None:
        if way == "new":
            node.texts.clear()
            node._addresses()
            node.push("ucxl", ())
            await c.press("7")
        else:
            await at_place(c)
        if way == "older":
            write(node, PLACE, "agent-b", "theirs\n")
            await c.see("theirs")
            await c.press("left_square_bracket")
            await c.see("22:00 canary")
        else:
            editor.meanwhile = lambda: write(node, place, "agent-b", "theirs\n", told)
        await c.press("e")
        if way == "new":
            await c.see("A new address")
            await c.press("enter")
        await c.see("was changed while you edited it", "What you opened", "Theirs: agent-b", "theirs", "Yours", "mine")
        assert "mine\n" in left(c)
        assert node.texts[place][-1][1] == "theirs\n"
        await c.press(key)
        stood = _hash("theirs\n")
        if outcome == "mine":
            await c.see("Kept as version")
            assert put(node)[-1] == ("mine\n", stood)
            assert left(c) == []
        elif outcome == "theirs":
            await c.see("Nothing was put. Your text stays in")
            assert left(c) == ["mine\n"]
        elif outcome == "both":
            await c.see("Kept as version")
            assert "mine" in editor.opened_on[-1]
            assert "theirs" in editor.opened_on[-1]
            assert put(node)[-1] == ("both\n", stood)
            assert left(c) == []
        else:
            await c.see("Your text is kept in")
            assert left(c) == ["mine\n"]

    drive(job, node=node, size=(120, 36))


@pytest.mark.parametrize("trouble", ["node away", "editor failed"])
def test_a_text_that_was_not_put_is_offered_again_on_what_it_was_opened_on(
    drive: Drive, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    node, editor = FakeSource(), Editor(monkeypatch, "typed for an hour\n", "typed for two hours\n")

    async def job(c: Driven) -> None:
        await at_place(c)
        if trouble == "node away":
            node.fail["ucxl.put"] = Unavailable("The node is away.")
        else:
            editor.ends = "vi ended with status 1; nothing was put."
        await c.press("e")
        await c.see("e opens it again")
        assert left(c) == ["typed for an hour\n"]
        node.fail.clear()
        editor.ends = ""
        write(node, PLACE, "agent-b", "theirs\n")
        await c.see("theirs")
        await c.press("e")
        await c.see("was never put", "Go on with what you typed")
        await c.press("enter")
        await c.see("was changed while you edited it")  # what it was opened on is not what stands there now
        assert editor.opened_on[-1] == "typed for an hour\n"
        assert put(node)[-1] == ("typed for two hours\n", _hash(BASE))

    drive(job, node=node)


def test_what_is_buried_is_what_was_seen(drive: Drive) -> None:
    node = FakeSource()

    async def job(c: Driven) -> None:
        await at_place(c)
        write(node, PLACE, "agent-b", "theirs\n", tell=False)
        await c.press("D")
        await c.see("y  ")
        await c.press("y")
        await c.see("has moved on")
        assert node.asked("ucxl.delete")[-1]["if_match"] == _hash(BASE)

    drive(job, node=node)
