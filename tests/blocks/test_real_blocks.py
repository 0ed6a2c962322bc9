"""Large content through real daemons and the command line: put, waited for, got elsewhere, read offline, purged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chorus_hap.tour import TIMINGS, Daemon, mesh
from tests.support.blocks import content
from tests.support.waiting import until

pytestmark = pytest.mark.real

ADDRESS = "ucxl://agent:dev@chorus:blobs/model.bin"
BODY = content(3 * 1024 * 1024 + 5)


def command(home: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """A command on a home, to its end."""
    words = (sys.executable, "-m", "chorus_hap", *words, "--home", str(home))
    return subprocess.run(words, capture_output=True, timeout=60, check=False)


def got(home: Path) -> bytes:
    """What ``ucxl get`` prints."""
    return command(home, "ucxl", "get", ADDRESS).stdout


def is_purged(daemon: Daemon) -> bool:
    """Whether the daemon shows the content as purged."""
    said: dict[str, object] = daemon.call("ucxl.get", address=ADDRESS)  # type: ignore[assignment]
    return said["missing"] == "purged"


def test_large_content_through_three_daemons(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(BODY)
    settings = (*TIMINGS, "dht.enabled=true", "blocks.max_mib=4")
    with mesh(tmp_path / "mesh", settings=settings) as (a, b, c):
        until(lambda: len(a.call("members")) == 3, 20, "three are members")  # type: ignore[arg-type]
        put = command(a.home, "ucxl", "put", ADDRESS, str(file), "--wait", "2", "--json")
        assert put.returncode == 0, put.stderr
        posted = json.loads(put.stdout)
        assert posted["delivered"] == 2, "two others hold all of it"
        assert got(b.home) == BODY
        more = command(a.home, "ucxl", "put", ADDRESS, str(file), "--wait", "3", "--timeout", "2")
        assert more.returncode == 4
        assert b"Only 2 of 3 members" in more.stderr
        file.write_bytes(bytes(5 * 1024 * 1024))
        large = command(a.home, "ucxl", "put", ADDRESS, str(file))
        assert (large.returncode, b"blocks.max_mib" in large.stderr) == (1, True)
        c.end()
        assert got(c.home) == BODY, "offline, from the store on disk"
        purged = json.loads(command(a.home, "ucxl", "log", ADDRESS, "--json").stdout.splitlines()[0])["key"]
        assert command(a.home, "log", "purge", purged, "--yes").returncode == 0
        until(lambda: is_purged(a) and is_purged(b), 15, "both dropped it")
