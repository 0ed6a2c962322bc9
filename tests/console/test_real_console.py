"""The real console in a real terminal on a real mesh: what a person does here arrives there, and what happens there shows here."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chorus_hap.actions import PANES
from chorus_hap.tour import TIMINGS, Daemon, mesh
from tests.console.terminal import Terminal
from tests.support.daemons import agreed, messages, revived, status
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.console, pytest.mark.timeout(240)]

SIZES = pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 48)])


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    """Three daemons with a leader, for the whole module."""
    with mesh(tmp_path_factory.mktemp("mesh")) as found:
        yield found


def console(daemons: list[Daemon], home: Path, columns: int, rows: int) -> Terminal:
    """A console with a node of its own in a new home, whose first run has been answered by flags."""
    address = str(daemons[0].wait("addresses")["addresses"][0])  # type: ignore[index]
    words = [sys.executable, "-m", "chorus_hap", "--home", str(home), "--bootstrap", address]
    for setting in ("p2p.port=0", *TIMINGS):
        words += ["--set", setting]
    return Terminal(words, columns, rows)


@SIZES
def test_a_person_talks_and_votes_from_the_keyboard(
    daemons: list[Daemon], tmp_path: Path, columns: int, rows: int
) -> None:
    room = f"room{columns}"
    with console(daemons, tmp_path / "home", columns, rows) as terminal:
        terminal.wait_for("Welcome to chorus-hap", 60)
        terminal.press("enter")
        terminal.wait_for("This cluster", 60)
        terminal.wait(lambda screen: "★" in screen.split("\n")[0] and "peer" in screen, "no leader is shown", 60)

        terminal.press("n")
        terminal.wait_for("What do you want to say?")
        terminal.press("2", "ctrl+s")
        terminal.wait_for("In which room?")
        terminal.type(room)
        terminal.press("ctrl+s")
        terminal.wait_for("Who should see it?")
        terminal.press("ctrl+s")
        terminal.wait_for("Preview")
        terminal.type("Does **this** arrive?")
        terminal.press("ctrl+s")
        terminal.wait_for("What is signed and sent")
        terminal.press("ctrl+s")
        terminal.wait_for(f"Sent to {room} as")
        (arrived,) = until(lambda: messages(daemons[1], room), 15, "the message on another daemon")
        assert arrived["text"] == "Does **this** arrive?"
        assert arrived["via"] == "console"

        title = f"Adopt plan {columns}"
        posted = daemons[1].call("decisions.propose", title=title, deadline="5m")
        decision_id = posted["id"]  # type: ignore[index]
        terminal.press("6")
        terminal.wait_for(title)
        terminal.press("/")
        terminal.type(title)
        terminal.press("enter", "v")
        terminal.wait_for("Nothing is chosen yet.")
        terminal.press("1", "enter")
        terminal.type("it is sound")
        terminal.press("ctrl+s")
        terminal.wait_for("Voted approve.")

        def counted() -> list[Any]:
            shown: Any = daemons[2].call("decisions.show", id=decision_id)
            return [v for v in shown["votes"] if v["choice"]] if shown["tally"].get("approve") == 1 else []

        (mine,) = until(counted, 15, "the vote in another daemon's tally")
        assert mine["reason"] == "it is sound"

        terminal.press("esc")
        terminal.wait(lambda screen: "filter:" not in screen, "the filter is still there")
        terminal.press("q")
        terminal.wait_for("Quit?")
        terminal.press("q")
        end = time.monotonic() + 15
        while terminal.process.poll() is None and time.monotonic() < end:
            terminal.pump(0.1)
        assert terminal.process.poll() == 0, terminal.text()


@SIZES
def test_the_new_leader_shows_after_a_kill(daemons: list[Daemon], tmp_path: Path, columns: int, rows: int) -> None:
    old_id, old_term = until(lambda: agreed(daemons), 30, "one leader before the kill")
    victim = next(d for d in daemons if status(d)["peer_id"] == old_id)
    others = [d for d in daemons if d is not victim]
    with console(daemons, tmp_path / "home", columns, rows) as terminal:
        terminal.wait_for("Welcome to chorus-hap", 60)
        terminal.press("enter")
        terminal.wait(lambda screen: "★" in screen.split("\n")[0], "no leader is shown", 60)
        terminal.press("2")
        terminal.wait_for("Timeline")
        terminal.wait_for(f"★ {victim.name}", 30)
        victim.end(signal.SIGKILL)

        def replaced() -> dict[str, Any] | None:
            leader = status(others[0])["leader"]
            return leader if leader and leader["certain"] and leader["term"] > old_term else None

        new: Any = until(replaced, 40, "a new leader")
        terminal.wait(
            lambda screen: f"★ {new['agent_id']}" in screen and f"term {new['term']}" in screen,
            f"the new leader {new} is not shown",
            30,
        )
    # The mesh is shared: whoever comes next finds it whole.
    daemons[daemons.index(victim)] = revived(victim)
    until(lambda: agreed(daemons), 30, "one view with the killed one back")
    until(lambda: all(status(d)["voters"]["reachable"] == 3 for d in daemons), 30, "three voters in reach")


def test_an_idle_pane_writes_next_to_nothing(daemons: list[Daemon], tmp_path: Path) -> None:
    until(lambda: agreed(daemons), 30, "one leader")
    written = {}
    with console(daemons, tmp_path / "home", 120, 36) as terminal:
        terminal.wait_for("Welcome to chorus-hap", 60)
        terminal.press("enter")
        terminal.wait(lambda screen: "★" in screen.split("\n")[0] and "peer" in screen, "no leader is shown", 60)
        for key, pane, _ in PANES:
            terminal.press(key)
            idle(terminal, 1.5)
            before = terminal.written
            idle(terminal, 2.5)
            written[pane] = (terminal.written - before) / 2.5
            assert terminal.process.poll() is None
        # It isn't idle because it hangs: the time a node is up goes on being told.
        terminal.press("1")
        shown = terminal.wait_for("This cluster")
        terminal.wait(lambda screen: screen != shown, "nothing moves any more", 10)
    assert max(written.values()) <= 4000, written


def idle(terminal: Terminal, for_s: float) -> None:
    """Read what is written for so long, pauses or not."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        terminal.pump(0.1)
