"""A daemon's life leaves no file that others may read; and every reading command works where nothing can be written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent_core.api.operations import OPERATIONS
from chorus_hap.link import connect
from chorus_hap.tour import TIMINGS, Daemon
from tests.support.every_command import every_command
from tests.support.forked import Case, Result, run_all

pytestmark = pytest.mark.real

ADDRESS = "ucxl://a:b@c:d/big"
BIG = os.urandom(150_000)


def opened(root: Path) -> list[str]:
    return [str(p) for p in (root, *root.rglob("*")) if not p.is_symlink() and p.stat().st_mode & 0o077]


def mounted(home: Path, place: Path, cases: list[tuple[str, ...]]) -> list[Result]:
    """Run commands on a read-only mount of a home; a directory that can't be written where mounts can't be made."""
    given = [Case(("--home", str(place), "--timeout", "10", *words), "text") for words in cases]
    if os.getuid() == 0:
        mount = 'mount --bind "$0" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
        return run_all(given, prefix=["unshare", "-m", "sh", "-c", mount, str(home), str(place)])
    home.chmod(0o500)
    try:
        return run_all([Case(tuple(str(home) if w == str(place) else w for w in c.words), "text") for c in given])
    finally:
        home.chmod(0o700)


def reading() -> list[tuple[str, ...]]:
    """The commands that change nothing, by the operations they are named after."""
    changing = {name.replace(".", " ") for name, operation in OPERATIONS.items() if operation.changes}
    out = [c for c in every_command() if " ".join(c[:2]) not in changing and c[0] != "watch" and "watch" not in c]
    return [c for c in out if c[:2] not in {("members", "invite"), ("log", "export"), ("cluster", "policy")}]


def test_files_of_a_life_and_reading_on_a_read_only_mount(tmp_path: Path) -> None:
    home, place = tmp_path / "home", tmp_path / "mount"
    home.mkdir()
    place.mkdir()
    for name in ("store.db", "blocks.db", "folds.db", "api.token", "log", "run", "drafts"):  # of an older life
        (home / name).mkdir() if "." not in name else (home / name).touch()
    for path in (home, *home.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    daemon = Daemon(home, "agent-a", TIMINGS, prefix=("sh", "-c", 'umask 0; exec "$@"', "sh"))
    try:
        daemon.wait("leader")
        words = [sys.executable, "-m", "chorus_hap", "--home", str(home), "ucxl", "put", ADDRESS, "-"]
        subprocess.run(words, input=BIG, check=True, capture_output=True, timeout=60)
        with connect(home) as link:
            link.call("hmmm.post", room="r", text="hello", op_id="0190a1b2-0000-7000-8000-000000000001")
        assert opened(home) == []
        look(home, place, "")
        daemon.end(signal.SIGKILL)
        killed = look(home, place, "offline")
        for path in home.glob("*.db-shm"):
            path.unlink()
        without_lock = look(home, place, "offline")
        assert opened(home) == []
    finally:
        daemon.end()
    assert killed == without_lock


def look(home: Path, place: Path, said: str) -> list[int | None]:
    """Run every reading command; their statuses."""
    commands = [*reading(), ("hmmm", "show", "r"), ("ucxl", "get", ADDRESS), ("ucxl", "log", ADDRESS)]
    results = mounted(home, place, commands)
    for words, result in zip(commands, results, strict=True):
        problem = f"{words}: {result.status} {result.err[-400:]}"
        assert result.status in (0, 1, 2) or "needs a running node" in result.err, problem
        for word in ("Traceback", "nobody foresaw", "can't be opened", "thrown away", "unable to open"):
            assert word not in result.err, problem
        if said and words[0] not in ("config", "doctor"):
            assert said in result.err, problem
    at = dict(zip(commands, results, strict=True))
    assert "hello" in at["hmmm", "show", "r"].out
    assert len(at["ucxl", "get", ADDRESS].out) > 1000
    assert "can only be read" in at["doctor",].out or os.getuid() != 0
    assert at["log", "verify"].status == 0
    return [r.status for w, r in zip(commands, results, strict=True) if w[0] not in ("peers", "election")]
