"""The timings that a node has by default: however long the timeout, a leader's end is known when its process ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chorus_hap.tour import Daemon, mesh
from tests.support.daemons import agreed, revived, status, voters
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(90)]


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[list[Daemon]]:
    with mesh(tmp_path, settings=()) as running:
        until(lambda: all(voters(d) == 3 for d in running), 20, "three voters")
        yield running


def replaced_in(daemons: list[Daemon], number: signal.Signals, within_s: float) -> float:
    """End the leader by a signal; how long the others took to agree on another one, seconds."""
    peer_id, term = until(lambda: agreed(daemons), 20, "a leader")
    leader = next(d for d in daemons if status(d)["peer_id"] == peer_id)
    others = [d for d in daemons if d is not leader]
    began = time.monotonic()
    leader.process.send_signal(number)
    new = until(lambda: said if (said := agreed(others)) and said[0] != peer_id else None, within_s, "a new leader")
    took = time.monotonic() - began
    assert new[1] > term
    leader.end()
    daemons[daemons.index(leader)] = revived(leader, settings=())
    return took


def test_a_leader_that_ends_is_replaced_long_before_the_timeout(daemons: list[Daemon]) -> None:
    assert replaced_in(daemons, signal.SIGKILL, 20) < 5
    until(lambda: agreed(daemons), 20, "the killed one follows")
    assert replaced_in(daemons, signal.SIGTERM, 20) < 2
