"""Fixtures of the console's tests: a scripted node, a home of its own, no animation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from chorus_hap.app import ConsoleApp
from chorus_hap.widgets.viewport import Viewport
from tests.console.fake import FakeSource, console


class Driven:
    """A running console on a scripted node."""

    def __init__(self, app: ConsoleApp, node: FakeSource, pilot: Pilot[str]) -> None:
        self.app = app
        self.node = node
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        """Press keys, and wait until all they caused is on the screen."""
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Type a text."""
        await self.press(*("space" if c == " " else "enter" if c == "\n" else c for c in text))

    def screen(self) -> str:
        """What is seen now, as text."""
        lines = []
        width, height = self.app.size
        update = self.app.screen._compositor.render_strips()
        for strip in update[:height]:
            lines.append("".join(segment.text for segment in strip)[:width])
        return "\n".join(lines)

    def said(self) -> str:
        """The toasts, unwrapped."""
        return "\n".join(notification.message for notification in self.app._notifications)

    async def wait(self, condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
        """Until the condition holds.

        Raises:
            AssertionError: it never did; the screen is in the message.
        """
        end = asyncio.get_running_loop().time() + timeout_s
        while not condition():
            if asyncio.get_running_loop().time() > end:
                raise AssertionError(f"it never came to hold; the screen:\n{self.screen()}")
            await self.pilot.pause(0.02)

    async def see(self, *texts: str) -> None:
        """Until all these texts are on the screen."""
        for text in texts:
            try:
                await self.wait(lambda text=text: text in self.screen() or text in self.said())
            except AssertionError as error:
                raise AssertionError(f"{text!r} is not on the screen:\n{self.screen()}") from error

    def box(self, id: str) -> Viewport:
        """A box of the screen."""
        return self.app.screen.query_one(f"#{id}", Viewport)


Drive = Callable[..., None]


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drive:
    """Runs a coroutine function on a console: ``drive(job, size=(80, 24), node=…, **options)``."""
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("chorus_hap.program.program", lambda: "chorus-hap")  # as where it is on PATH

    def run(
        job: Callable[[Driven], Awaitable[None]],
        *,
        size: tuple[int, int] = (80, 24),
        node: FakeSource | None = None,
        **options: Any,
    ) -> None:
        async def main() -> None:
            app, source = console(tmp_path, node, **options)
            async with app.run_test(size=size, notifications=True) as pilot:
                driven = Driven(app, source, pilot)
                await pilot.pause()
                await job(driven)

        asyncio.run(main())

    return run
