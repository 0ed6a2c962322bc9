"""A person lets a newcomer in, from the keyboard of a real console, on real nodes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from chorus_hap.tour import TIMINGS, Daemon, mesh
from tests.console.terminal import Terminal
from tests.support.daemons import revived, status
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.console, pytest.mark.timeout(180)]


def test_a_newcomer_is_let_in_and_sent_away_by_keys(tmp_path: Path) -> None:
    with mesh(tmp_path / "mesh", names=("agent-a",)) as (founder,):
        address = str(status(founder)["addresses"][0])
        words = [sys.executable, "-m", "chorus_hap", "--home", str(tmp_path / "home"), "--bootstrap", address]
        # On a busy machine it would else found a cluster of its own first, and might be the one that stays.
        for setting in ("p2p.port=0", *TIMINGS, "cluster.discovery_s=60"):
            words += ["--set", setting]
        newcomer: Daemon | None = None
        with Terminal(words, 80, 24) as terminal:
            try:
                terminal.wait_for("Welcome to chorus-hap", 60)
                terminal.press("enter")
                terminal.wait(lambda screen: "★" in screen.split("\n")[0] and "peer" in screen, "no leader", 60)
                until(lambda: len(_members(founder)) == 2, 20, "the console is a member")
                founder.call("cluster.policy", policy="approve")
                newcomer = Daemon(tmp_path / "agent-n", "agent-n", TIMINGS, bootstrap=address)
                terminal.press("4")
                terminal.wait_for("1 waiting", 40)
                terminal.press("a")
                terminal.wait_for("Let agent-n")
                terminal.press("y")
                terminal.wait_for("is a member now", 20)
                until(lambda: any(m["agent_id"] == "agent-n" for m in _members(founder)), 10, "a member everywhere")
                terminal.press("i")
                terminal.wait_for("chorus-ticket-", 10)
                terminal.press("esc")
                terminal.wait(lambda screen: "chorus-ticket-" not in screen, "the page of the ticket stays", 10)
                newcomer.end()
                until(lambda: not any(p["agent_id"] == "agent-n" for p in _peers(founder)), 10, "away")
                terminal.press("g", "/")
                terminal.type("name:agent-n")
                terminal.press("enter", "E")
                terminal.wait_for("Evict agent-n")
                terminal.press("y")
                terminal.wait_for("was evicted", 20)
                until(lambda: any(m["agent_id"] == "agent-n" and m["evicted"] for m in _members(founder)), 10, "gone")
                newcomer = revived(newcomer, bootstrap=address)
                terminal.wait_for("1 waiting", 40)
                terminal.press("a")
                terminal.wait_for("Let agent-n")
                terminal.press("y")
                terminal.wait_for("is a member now", 20)
                until(lambda: _belongs(newcomer, founder), 15, "it is back")
                terminal.press("X")
                terminal.wait_for("Revoke agent-n")
                terminal.press("y")
                terminal.wait_for("was revoked", 20)
                until(lambda: status(newcomer)["stage"] == "revoked", 15, "it knows")
            finally:
                if newcomer is not None:
                    newcomer.end()


def _belongs(daemon: Daemon, to: Daemon) -> bool:
    mine, its = status(daemon), status(to)
    return bool(mine["stage"] == "ready" and mine["cluster_id"] == its["cluster_id"])


def _members(daemon: Daemon) -> list[dict[str, Any]]:
    found: Any = daemon.call("members")
    return list(found)


def _peers(daemon: Daemon) -> list[dict[str, Any]]:
    found: Any = daemon.call("peers")
    return list(found)
