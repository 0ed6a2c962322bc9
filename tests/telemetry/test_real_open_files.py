"""A daemon that runs out of file descriptors says so once, writes no flood, and goes on when there are some again."""

from __future__ import annotations

import json
import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent_core import system
from agent_core.system import OpenFiles
from chorus_hap.link import connect
from chorus_hap.tour import TIMINGS, Daemon
from tests.support.waiting import until

pytestmark = pytest.mark.real


def test_a_daemon_without_descriptors_says_so_and_recovers(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home", "agent-a", TIMINGS)
    log = daemon.home / "log" / "node.jsonl"
    try:
        daemon.wait("leader")
        with ExitStack() as stack:
            link = stack.enter_context(connect(daemon.home))
            port = link.call("status")["ports"]["api"]
            held = len(list((Path("/proc") / str(daemon.process.pid) / "fd").iterdir()))
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (held + 12, held + 12))
            size, printed = log.stat().st_size, (daemon.home / "daemon.out").stat().st_size
            for _ in range(20):
                peer = stack.enter_context(socket.socket())
                peer.setblocking(False)
                peer.connect_ex(("127.0.0.1", port))
            until(
                lambda: any("new connections wait" in note for note in link.call("status")["notes"]),
                15,
                "status says it",
            )
            # Two seconds of an accept loop that fails ten times a second, on every port there is.
            until(lambda: link.call("status")["uptime_s"] > 0 and _errors(log) >= 1, 10, "the log says it")
            begun = link.call("status")["uptime_s"]
            until(lambda: link.call("status")["uptime_s"] > begun + 3, 10, "it goes on like that")
            assert log.stat().st_size - size < 60_000
            assert (daemon.home / "daemon.out").stat().st_size - printed < 20_000
            assert _errors(log) <= 12
        with connect(daemon.home) as link:
            until(
                lambda: not any("new connections wait" in note for note in link.call("status")["notes"]),
                40,
                "it is well again",
            )
            assert link.call("hmmm.post", room="r", text="still here", op_id="0190a1b2-0000-7000-8000-000000000001")
    finally:
        daemon.end()


def _errors(log: Path) -> int:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return sum("EMFILE" in line["event"] or "Too many open files" in line.get("exception", "") for line in lines)


def test_what_is_short_is_known_without_proc_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not system.open_files().short
    monkeypatch.setattr(system, "PROC", Path("/nowhere"))
    assert not system.open_files().short
    assert system.started_at() == 0
    assert (system.state_of(1), system.open_files_of(1)) == ("", OpenFiles(0, 0))
    assert OpenFiles(60, 64).short
    assert not OpenFiles(50, 64).short
    assert not OpenFiles(10, -1).short
