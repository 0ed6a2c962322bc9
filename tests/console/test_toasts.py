"""A toast is one, above the footer, for three seconds, and over no dialog."""

from __future__ import annotations

import pytest
from textual.geometry import Region
from textual.widgets._toast import Toast

from chorus_hap.app import TOAST_S
from chorus_hap.wizard.dialogs import Confirm
from tests.console.conftest import Drive, Driven

pytestmark = pytest.mark.console

SIZES = [(60, 18), (80, 24), (120, 36), (160, 48)]
NAMES = [f"{w}x{h}" for w, h in SIZES]


@pytest.mark.parametrize("size", SIZES, ids=NAMES)
def test_the_newest_replaces_the_one_before_above_the_footer(drive: Drive, size: tuple[int, int]) -> None:
    async def job(c: Driven) -> None:
        await c.see("n new message")  # once it is attached, the footer has all its keys
        footer = c.screen().split("\n")[-1]
        for number in range(5):
            c.app.say(f"toast {number}", "warning" if number % 2 else "information")
        await c.see("toast 4")
        await c.wait(lambda: len(c.app.screen.query(Toast)) == 1)
        lines = c.screen().split("\n")
        assert "toast 4" in lines[-2]
        assert "toast" not in "".join(lines[:-2])
        assert lines[-1] == footer
        assert [n.timeout for n in c.app._notifications] == [TOAST_S] == [3.0]
        for number in range(5, 12):  # each is seen before the next one comes
            c.app.say(f"toast {number}")
            await c.see(f"toast {number}")
            assert f"toast {number}" in c.screen().split("\n")[-2]
        c.app.say("a sentence that says what happened, and then what there is to do about it. " * 2)
        await c.see("a sentence")
        assert c.screen().split("\n")[-1] == footer

    drive(job, size=size)


def within(c: Driven, region: Region) -> list[str]:
    """What is seen in a part of the screen; the clocks beside it go on."""
    return [line[region.x : region.right] for line in c.screen().split("\n")[region.y : region.bottom]]


@pytest.mark.parametrize("size", SIZES, ids=NAMES)
@pytest.mark.parametrize("lines", [1, 200], ids=["small", "as large as can be"])
def test_no_dialog_is_covered(drive: Drive, size: tuple[int, int], lines: int) -> None:
    async def job(c: Driven) -> None:
        c.app.push_screen(Confirm("\n".join(f"line {n}" for n in range(lines))))
        await c.see("line 0")
        dialog = c.app.screen.query_one(".dialog").region
        before = within(c, dialog)
        c.app.say("said over it")
        await c.see("said over it")
        await c.wait(lambda: any("said over it" in line for line in c.screen().split("\n")))
        assert within(c, dialog) == before

    drive(job, size=size)
