"""Makes the screenshots: the real console on a real mesh of three daemons with some life in it, every pane as SVG.

Run ``python -m screenshots.make``. Each picture is checked for the texts that its pane must show.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent_core.errors import ChorusError
from chorus_hap.tour import TIMINGS, Daemon, mesh

HERE = Path(__file__).parent
TRACE = "ucxl://agent-a:agent@search:cache/trace.md"
SIZES = {"": (132, 38), "-80x24": (80, 24)}
#: Pane, key, and what its picture must show.
PANES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("overview", "1", ("This cluster", "Waiting for you", "Just now")),
    ("election", "2", ("Voters", "Timeline", "of 1.5 s")),
    ("traffic", "3", ("Traffic", "in all")),
    ("members", "4", ("Roster", "agent-c")),
    ("hmmm", "5", ("Rooms", "search-cache", "TinyLFU")),
    ("decisions", "6", ("Adopt TinyLFU", "provisional")),
    ("ucxl", "7", ("Addresses", "Versions · 2", "0.83")),
    ("log", "9", ("Log", "hmmm")),
)


def populate(daemons: list[Daemon]) -> None:
    """A discussion, an address with two versions, a decision and its first votes."""
    a, b, c = daemons
    trace = TRACE
    for text in (
        "# Trace\n\n- 4.1 M requests\n- hit rate **0.71**\n",
        "# Trace\n\n- 4.1 M requests\n- hit rate **0.71**, with TinyLFU **0.83**\n",
    ):
        a.call("ucxl.put", address=trace, data=base64.b64encode(text.encode()).decode(), media="text/markdown")
    a.call(
        "ucxl.put",
        address="ucxl://agent-a:agent@search:cache/deploy/plan.md",
        data=base64.b64encode(b"22:00 canary, 23:00 all\n").decode(),
    )
    plan = (
        "Replace the **LRU** by a *TinyLFU* admission filter.\n\n- hit rate on the trace: `0.71` → `0.83`\n- one more counter array, 64 kB\n\n"
        "I would start with the read path and leave invalidation as it is."
    )
    first = _dict(
        a.call(
            "hmmm.post",
            room="search-cache",
            text=plan,
            intent="proposal",
            citations=[{"address": trace, "reason": "the measured trace"}],
        )
    )
    _until(lambda: _dict(c.call("hmmm.show", room="search-cache")).get("messages"))
    question = "The counters age with a global reset; that stalls for 3 ms. Can it be incremental?"
    second = _dict(
        c.call(
            "hmmm.post",
            room="search-cache",
            text=question,
            intent="question",
            reply_to=first["id"],
            stance="disagree",
            weight="advisory",
        )
    )
    _until(lambda: len(_dict(a.call("hmmm.show", room="search-cache")).get("messages", ())) > 1)
    a.call(
        "hmmm.post",
        room="search-cache",
        text="Yes: reset 1/16th on every 4096th access.",
        intent="answer",
        reply_to=second["id"],
    )
    b.call(
        "hmmm.post",
        room="login-timeouts",
        text="Reproduced on the staging mesh: the pool is exhausted after a fail-over.",
        intent="update",
    )


def decide(daemons: list[Daemon]) -> None:
    """A proposal that every member may vote on, the person included, and two votes."""
    a, b, _ = daemons
    decision = _dict(
        a.call(
            "decisions.propose",
            title="Adopt TinyLFU in the search cache",
            description="The plan of room `search-cache`.",
            kind="architecture",
            rule="unanimous",
            deadline="45m",
        )
    )
    for daemon, reason in ((a, "measured gain of 12 points"), (b, "cheap to roll back")):
        _until(lambda daemon=daemon: daemon.call("decisions.show", id=decision["id"]))  # type: ignore[misc]
        daemon.call("decisions.vote", id=decision["id"], choice="approve", reason=reason)


def _dict(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value


def _until(ask: Callable[[], object], timeout_s: float = 20.0) -> None:
    import time

    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            if ask():
                return
        except ChorusError:
            pass
        time.sleep(0.1)
    raise SystemExit("The mesh didn't get that far.")


_SPAN = re.compile(
    r'<text([^>]*) x="([\d.]+)"([^>]*) textLength="([\d.]+)"([^>]*)>((?:&#160;)*)([^<]*?)(?:&#160;)*</text>'
)
_CELL = 12.2  #: width of a character in the drawing


def tidy(picture: str) -> str:
    """The picture with no span beginning or ending in blanks: not every program that draws SVG keeps those in place."""

    def moved(span: re.Match[str]) -> str:
        before, x, between, length, after, blanks, text = span.groups()
        if not text:
            return ""
        skipped = len(blanks) // len("&#160;") * _CELL
        trailing = (len(span[0]) - len("</text>") - (span.end(7) - span.start())) // len("&#160;") * _CELL
        width = float(length) - skipped - trailing
        return f'<text{before} x="{float(x) + skipped:g}"{between} textLength="{width:g}"{after}>{text}</text>'

    return _SPAN.sub(moved, picture)


async def shoot(home: Path, flags: list[str], suffix: str, size: tuple[int, int], daemons: list[Daemon]) -> None:
    """One console, every pane."""
    from chorus_hap.app import ConsoleApp, Options
    from chorus_hap.source_link import LinkSource
    from chorus_hap.store import Store

    store = Store()
    app = ConsoleApp(store, LinkSource(home, lambda: flags), Options(home=home))
    async with app.run_test(size=size) as pilot:

        async def wait(condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
            end = asyncio.get_running_loop().time() + timeout_s
            while not condition():
                if asyncio.get_running_loop().time() > end:
                    raise SystemExit(
                        f"{what} never came:\n" + re.sub("<[^>]*>", "", app.export_screenshot().replace("&#160;", " "))
                    )
                await pilot.pause(0.1)

        await wait(
            lambda: store.live and store.status and store.status.stage == "ready" and store.leader()[1],
            "A console that is ready",
        )
        if not suffix:
            await wait(lambda: any(m.you for m in store.items("members")), "The console's membership")
            await asyncio.to_thread(decide, daemons)
        await wait(
            lambda: len(store.items("rooms")) >= 2 and len(store.items("ucxl")) >= 2 and store.items("decisions"),
            "The mesh's content",
        )
        for name, key, texts in PANES:
            await pilot.press(key)
            if name == "hmmm":
                await app.show_pane("hmmm", "search-cache")
            elif name == "ucxl":
                await app.show_pane("ucxl", TRACE)
            elif name == "election":
                await wait(lambda: any(v.score for v in store.value("election").ballots), "The voters' scores")
            await pilot.pause()

            def shown(texts: tuple[str, ...] = texts) -> bool:
                picture = app.export_screenshot().replace("&#160;", " ")
                return all(text in picture for text in texts)

            await wait(shown, f"{texts} in {name}", 20)
            (HERE / f"{name}{suffix}.svg").write_text(tidy(app.export_screenshot()), "utf-8")
        if not suffix:
            await pilot.press("6", "v")
            await pilot.pause(0.5)
            (HERE / "vote.svg").write_text(tidy(app.export_screenshot()), "utf-8")
            await pilot.press("escape", "n", "2", "ctrl+s")
            await pilot.pause(0.3)
            await pilot.press(*"search-cache", "ctrl+s", "ctrl+s")
            await pilot.press(*"Is", "space", *"*incremental*", "space", *"reset", "space", *"safe?")
            await pilot.pause(0.5)
            (HERE / "wizard.svg").write_text(tidy(app.export_screenshot()), "utf-8")
        await app.source.leave(False)
        app.session.read.clear()


def main() -> int:
    """Write the pictures; returns the exit status."""
    os.environ["TEXTUAL_ANIMATIONS"] = "none"
    with tempfile.TemporaryDirectory(prefix="chorus-shots-") as root, mesh(Path(root)) as daemons:
        populate(daemons)
        address = str(_dict(daemons[0].call("status"))["addresses"][0])
        flags = ["--kind", "human", "--agent-id", "alice", "--bootstrap", address, "--set", "p2p.port=0"]
        for setting in TIMINGS:
            flags += ["--set", setting]
        for suffix, size in SIZES.items():
            asyncio.run(shoot(Path(root) / "you", flags, suffix, size, daemons))
    print(f"{len(list(HERE.glob('*.svg')))} pictures in {HERE.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
