"""Every command at a node that doesn't answer, or anything but the protocol: over within ``--timeout``, and said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chorus_hap.patience import Patience
from tests.support.every_command import every_command
from tests.support.forked import Case, Result, run_all
from tests.support.mute_node import GARBAGE, SORTS, MuteNode

pytestmark = pytest.mark.real

TIMEOUT_S = 0.3
#: What a fork may take beside that on a machine with other things to do.
SLACK_S = 4.0
#: These ask no node.
ALONE = {("config", "show")}


def run(home: Path, commands: list[tuple[str, ...]], work: Path) -> list[Result]:
    words = [("--home", str(home), "--timeout", str(TIMEOUT_S), *command) for command in commands]
    return run_all([Case(w, "text", cwd=str(work)) for w in words], hangs_s=TIMEOUT_S + 4 * SLACK_S)


@pytest.mark.parametrize("sort", SORTS)
def test_no_command_waits_longer_than_it_was_told(tmp_path: Path, sort: str) -> None:
    silent = sort in ("silent", "queue full", "drip", "flood", "greets only")
    # Where the answer is broken each command ends the same way; there a few of each sort are enough.
    commands = [c for n, c in enumerate(every_command()) if silent or n % 6 == 0 or c[0] in ("watch", "doctor", "ucxl")]
    with MuteNode(tmp_path / "home", sort):
        results = run(tmp_path / "home", commands, tmp_path)
    wrong = []
    for command, result in zip(commands, results, strict=True):
        if result.status is None or result.seconds > TIMEOUT_S + SLACK_S:
            wrong.append(f"{command}: took {result.seconds:.1f} s")
        if "Traceback" in result.err or "nobody foresaw" in result.err:
            wrong.append(f"{command}: {result.err[-500:]}")
        if command in ALONE:
            continue
        if command == ("doctor",):
            if result.status != 1 or "fail  node" not in result.out:
                wrong.append(f"{command}: {result.status} {result.out}")
        elif (
            (silent and (result.status != 4 or "chorus-hap: The node" not in result.err))
            or result.status not in (1, 3, 4)
            or not result.err
        ):
            wrong.append(f"{command}: {result.status} {result.err}")
    assert not wrong, "\n".join(wrong)


def test_a_stopped_process_is_named(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as sleeper:
        try:
            sleeper.send_signal(signal.SIGSTOP)
            os.waitpid(sleeper.pid, os.WUNTRACED)
            with MuteNode(tmp_path / "home", "silent", pid=sleeper.pid):
                status, doctor = run(tmp_path / "home", [("status",), ("doctor",)], tmp_path)
        finally:
            sleeper.kill()
    assert status.status == 4
    assert f"is stopped (process {sleeper.pid})" in status.err
    assert f"kill -CONT {sleeper.pid}" in status.err
    assert f"kill -CONT {sleeper.pid}" in doctor.out


def test_patience_is_shared_until_one_watches() -> None:
    now = 0.0
    patience = Patience(3.0, clock=lambda: now)
    now = 2.0
    assert patience.left_s() == 1.0
    now = 5.0
    assert patience.left_s() == 0.0
    patience.renew()
    assert patience.left_s() == 3.0
    assert len(GARBAGE) > 5
