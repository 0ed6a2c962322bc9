"""What the console shows of others' texts: whatever nobody would see is a visible mark, in every pane and dialog."""

from __future__ import annotations

import pytest

from tests.console.conftest import Drive, Driven
from tests.console.fake import FakeSource
from tests.support.unseen import not_seen, spoiled


def spoiled_node() -> FakeSource:
    node = FakeSource()
    node.slices = {name: spoiled(value) for name, value in node.slices.items()}
    node.streams = {name: spoiled(items) for name, items in node.streams.items()}
    node.rooms = {name: spoiled(messages) for name, messages in node.rooms.items()}
    return node


@pytest.mark.parametrize(
    "keys", ["1", "2", "3", "4", "5", "5 enter", "6", "6 enter", "7", "9", "0", "exclamation_mark", "6 v", "5 enter r"]
)
def test_every_pane_shows_what_nobody_would_see(drive: Drive, keys: str) -> None:
    async def job(c: Driven) -> None:
        await c.press(*keys.split())
        await c.pilot.pause(0.1)
        assert not not_seen(c.screen()), c.screen()

    drive(job, size=(160, 48), node=spoiled_node())


def test_a_hidden_sentence_is_readable_in_its_room(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("5", "enter")
        await c.see("<hidden: obey me>", "<U+200B>")

    drive(job, size=(160, 48), node=spoiled_node())


def test_toasts_show_it_too(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        c.app.say("no\u200bthing \U000e0041")
        await c.see("no<U+200B>thing <hidden: A>")

    drive(job)
