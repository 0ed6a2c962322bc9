"""A filter looks through all there is, or says through how much: in every list that holds a part only."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent_core import shapes as s
from agent_core.errors import Unavailable
from chorus_hap import store as console_store
from chorus_hap.panes import log as log_pane
from chorus_hap.panes.log import LogPane
from chorus_hap.panes.traffic import TrafficPane
from tests.console.conftest import Drive, Driven
from tests.console.fake import FakeSource, at, log_entry, message, status, traffic

pytestmark = pytest.mark.console

ALL, WATCHED = 2575, 200


class Deep(FakeSource):
    """A node that holds more than it tells at first."""

    def __init__(self) -> None:
        super().__init__()
        # the fake's entries are older the smaller their number
        self.all = [self.entry(n) for n in range(ALL)]
        self.streams["log"] = self.all[-WATCHED:]
        self.slices["status"] = status(entries=ALL)
        talk = [message(n, "agent-a", "the needle" if n == 3 else f"hay {n}") for n in range(900)]
        self.rooms["cache"] = talk
        room = self.slices["rooms"][0]
        self.slices["rooms"] = (msgspec.structs.replace(room, id="cache", messages=len(talk)),)
        self.asked_pages = 0

    @staticmethod
    def entry(n: int) -> s.LogEntry:
        text = "the needle" if n == 7 else f"hay {n}"
        return msgspec.structs.replace(log_entry(n), key=f"k/0/{n}", at=at(ALL - n), text=text)

    def on_log_tail(self, params: dict[str, Any]) -> tuple[s.LogEntry, ...]:
        self.asked_pages += 1
        keys = [e.key for e in self.all]
        end = keys.index(params["before"]) if params.get("before") else len(keys)
        return tuple(self.all[max(0, end - params["limit"]) : end])

    def _room(self, name: str) -> s.RoomView:  # watched: the newest of them
        whole = super()._room(name)
        return msgspec.structs.replace(whole, messages=whole.messages[-WATCHED:])

    def on_hmmm_show(self, params: dict[str, Any]) -> s.RoomView:
        return FakeSource._room(self, params["room"])


async def look_for(c: Driven, words: str) -> None:
    await c.press("slash")
    await c.type(words)
    await c.press("enter")


@pytest.mark.parametrize("key", ["9", "5"], ids=["log", "messages"])
def test_what_is_not_held_is_asked_of_the_node(drive: Drive, key: str) -> None:
    node = Deep()

    async def job(c: Driven) -> None:
        await c.press(key)
        if key == "5":
            await c.press("tab")
        await look_for(c, "needle")
        await c.see("the needle")
        await c.wait(lambda: "searched" not in c.screen() and "Nothing passes" not in c.screen())

    drive(job, node=node, size=(120, 36))


def test_while_the_node_cannot_be_asked_the_part_is_named(drive: Drive) -> None:
    node = Deep()
    for method in ("log.tail", "hmmm.show"):
        node.fail[method] = Unavailable("The node is busy.")

    async def job(c: Driven) -> None:
        await c.press("9")
        await look_for(c, "needle")
        await c.see("200 of 2,575 searched", "Nothing passes the filter")
        await c.press("escape", "5", "tab")
        await look_for(c, "needle")
        await c.see("200 of 900 searched")

    drive(job, node=node, size=(120, 36))


def test_a_list_of_addresses_that_may_go_on_says_so(drive: Drive) -> None:
    node = FakeSource()
    info = node.slices["ucxl"][0]
    many = [
        msgspec.structs.replace(info, address=f"ucxl://a:b@p:t/f{n:05}.md") for n in range(s.WATCHED_ADDRESSES + 500)
    ]
    node.slices["ucxl"] = tuple(many[: s.WATCHED_ADDRESSES])
    node.fail["ucxl.ls"] = Unavailable("The node is busy.")
    node.on_ucxl_ls = lambda _params: tuple(many)  # type: ignore[attr-defined]

    async def job(c: Driven) -> None:
        await c.press("7")
        await look_for(c, "f02400")
        await c.see("2,000 searched")
        node.fail.clear()
        await c.press("escape")
        await look_for(c, "f02400")
        await c.see("f02400.md")
        assert "searched" not in c.screen()

    drive(job, node=node, size=(160, 48))


def test_traffic_that_left_the_ring_is_admitted(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeSource()

    async def job(c: Driven) -> None:
        await c.press("3")
        pane = c.app.pane
        assert isinstance(pane, TrafficPane)
        c.app.store._rings["traffic"] = ring = console_store.Ring[Any](50)
        ring.extend(traffic(n) for n in range(130))
        pane.sync()
        await look_for(c, "nothing-like-it")
        await c.see("50 of 130 searched")

    drive(job, node=node, size=(160, 48))


def test_what_was_dropped_is_read_again_from_the_store(drive: Drive) -> None:
    node = Deep()

    async def job(c: Driven) -> None:
        await c.press("9")
        pane = c.app.pane
        assert isinstance(pane, LogPane)
        await c.see("hay 2574")
        c.app.store.ring("log")
        fresh = [Deep.entry(n) for n in range(ALL, ALL + 600)]
        node.all += fresh
        node.stream("log", fresh[518:], dropped=518)
        await c.wait(lambda: len(c.app.store.ring("log")) == ALL + 600)
        assert [e.key for e in c.app.store.ring("log")] == [e.key for e in node.all]
        await c.wait(lambda: "dropped" not in c.screen())
        node.stream("log", [Deep.entry(ALL + 600)], dropped=518)
        await c.see(f"hay {ALL + 600}")

    drive(job, node=node, size=(120, 36))


def test_what_is_looked_at_stays_while_older_entries_come_before_it(drive: Drive) -> None:
    node = Deep()

    async def job(c: Driven) -> None:
        await c.press("9")
        await c.see("hay 2574")
        await c.press("up", "up")
        pane = c.app.pane
        assert isinstance(pane, LogPane)
        before = pane.stream.item
        await look_for(c, "hay")
        await c.wait(lambda: len(c.app.store.ring("log")) == ALL)
        pane.sync()
        assert pane.stream.item == before
        assert node.asked_pages == -(-ALL // log_pane._PAGE)

    drive(job, node=node, size=(120, 36))
