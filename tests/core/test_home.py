"""The home: one node at a time, files whole or not at all, and clear words when it can't be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent_core.errors import HomeInUse, StoreError
from agent_core.home import Home, HomeLock, write_whole


def test_a_second_node_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    with HomeLock(home), pytest.raises(HomeInUse) as caught:
        HomeLock(home).__enter__()
    assert str(os.getpid()) in caught.value.message
    with HomeLock(home):
        pass


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    code = (
        "import sys; from pathlib import Path; from agent_core.home import *\n"
        "l = HomeLock(Home(Path(sys.argv[1]))); l.__enter__(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(HomeInUse):
            HomeLock(home).__enter__()
        holder.kill()
        holder.wait(10)
    with HomeLock(home):
        pass


def test_a_home_that_is_a_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(StoreError) as caught:
        Home(tmp_path / "home" / "x").create()
    assert "--home" in caught.value.next


def test_writing_whole_replaces_and_keeps_mode(tmp_path: Path) -> None:
    write_whole(tmp_path / "f", b"1")
    write_whole(tmp_path / "f", b"22")
    assert (tmp_path / "f").read_bytes() == b"22"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_long_path_moves_the_socket(tmp_path: Path) -> None:
    assert Home(Path("/tmp/h")).socket == Path("/tmp/h/run/control.sock")
    moved = Home(tmp_path / ("x" * 100)).socket
    assert len(os.fsencode(moved)) <= 100


def test_a_lock_that_can_not_be_opened_says_what_to_do(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    (home.run / "lock").mkdir()
    with pytest.raises(StoreError, match="lock") as caught:
        HomeLock(home).__enter__()
    assert "remove it" in caught.value.next
