"""A process that appends is killed at random instants, also while its disk is full; ``make crash`` does it as often as one likes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent_core.clock import HybridClock
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier
from tests.crash import appender
from tests.crash.__main__ import Checker, Wrong
from tests.support.feeds import note

pytestmark = pytest.mark.real


def _crash(*words: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", *words], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, object] = json.loads(done.stdout)
    print(result)
    return result


def test_nothing_acknowledged_is_lost_by_kills() -> None:
    result = _crash("--kills", "200")
    assert int(str(result["acknowledged"])) > 5000
    assert int(str(result["lives_that_opened"])) > 150


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root")
def test_a_full_disk_refuses_in_words_loses_nothing_and_is_left_behind_by_itself() -> None:
    result = _crash("--kills", "6", "--full")
    assert int(str(result["refused"])) > 6


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("A 3 {hash} op-3", "not there"),
        ("A 1 {hash} op-9", "another than was acknowledged"),
        ("A 0 00 op-0", "was acknowledged as"),
        ("P 2 00", "no prefix"),
        ("P 9 00", "no prefix"),
        ("O 1 a copy", "restored"),
    ],
)
async def test_the_checker_notices(tmp_path: Path, line: str, words: str) -> None:
    store = Store.open(tmp_path / appender.STORE)
    feeds = Feeds(store, Ed25519Signer(appender.SEED), Ed25519Verifier(), HybridClock())
    entries = await feeds.append([note(n, op=f"op-{n}") for n in range(3)])
    store.close()
    checker = Checker(tmp_path)

    def told(words: list[str]) -> None:
        checker.hear([words])
        checker.look()

    told(["A", "0", entries[0].hash.hex(), "op-0"])
    with pytest.raises(Wrong, match=words):
        told(line.format(hash=entries[1].hash.hex()).split(" ", 3))
