"""The console's connection: calls, events after their snapshot, and attaching again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agent_core.errors import NoNode, NotFound, Refused
from agent_core.shapes import SliceEvent
from chorus_hap import link_async
from tests.support.fake_node import FakeNode

SNAPSHOT = {"status": {"rev": 1, "value": {"n": 1}}}
EVENTS = [{"slice": "status", "rev": 2, "value": {"n": 2}}]


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(limited())


def test_calls_overlap_and_refusals_are_errors(tmp_path: Path) -> None:
    def refuse(params: dict[str, Any]) -> None:
        raise Refused("No.", "Ask another.")

    async def main() -> None:
        link = await link_async.connect(tmp_path, start=False)
        first, second = await asyncio.gather(link.call("echo", n=1), link.call("echo", n=2))
        assert (first, second) == ({"n": 1}, {"n": 2})
        with pytest.raises(Refused, match="No"):
            await link.call("refuse")
        with pytest.raises(NotFound):
            await link.call("unknown")
        await link.aclose()
        with pytest.raises(NoNode):
            await link.call("echo")

    with FakeNode(tmp_path, {"echo": lambda p: p, "refuse": refuse}):
        run(main)


def test_no_node(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(NoNode):
            await link_async.connect(tmp_path, start=False)

    run(main)


def test_a_snapshot_comes_before_the_events_behind_it(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def main() -> None:
        got = asyncio.Event()

        def on_event(event: SliceEvent) -> None:
            seen.append(event.rev)
            got.set()

        link = await link_async.connect(tmp_path, start=False, on_event=on_event)
        await link.subscribe(["status"], lambda name, answer: seen.append((name, answer["rev"])))
        await got.wait()
        await link.aclose()

    with FakeNode(tmp_path, {"subscribe": SNAPSHOT}, EVENTS):
        run(main)
    assert seen == [("status", 1), 2]


def test_it_attaches_again_after_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_async, "BACKOFF_S", (0.0,))
    states: list[str] = []
    snapshots: list[int] = []

    async def main() -> None:
        changed = asyncio.Event()

        def on_state(state: str, reason: str, next: str) -> None:
            states.append(state)
            changed.set()

        attachment = link_async.Attachment(
            tmp_path,
            ["status"],
            on_event=lambda event: None,
            on_snapshot=lambda name, answer: snapshots.append(answer["rev"]),
            on_state=on_state,
        )

        async def until(count: int) -> None:
            while states.count("attached") < count:
                changed.clear()
                await changed.wait()

        task = asyncio.create_task(attachment.run())
        await until(1)
        assert await attachment.call("echo", n=3) == {"n": 3}
        node.hang_up()
        await until(2)
        await attachment.watch("status")
        # the third loss within a minute: it stops until the person asks
        node.hang_up()
        await until(3)
        node.hang_up()
        while "stopped" not in states:
            changed.clear()
            await changed.wait()
        with pytest.raises(NoNode):
            await attachment.call("echo")
        attachment.retry()
        await until(4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with FakeNode(tmp_path, {"subscribe": SNAPSHOT, "echo": lambda p: p}) as node:
        run(main)
    assert states[:4] == ["starting", "attached", "away", "starting"]
    assert len(snapshots) >= 5
