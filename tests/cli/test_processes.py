"""What only a real process shows: signals, closed pipes, odd locales."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_commands import MESSAGE, ROOM, STATUS
from tests.support.fake_node import FakeNode

pytestmark = pytest.mark.real


def spawn(home: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "chorus_hap", *words, "--home", str(home)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | (env or {}),
    )


def view(text: str) -> dict[str, Any]:
    return {"room": ROOM, "messages": [MESSAGE | {"text": text}]}


def test_an_interrupted_watch_is_130_and_says_nothing(tmp_path: Path) -> None:
    answers = {"status": STATUS, "subscribe": {"room:r": {"rev": 1, "value": view("hi")}}}
    with FakeNode(tmp_path, answers), spawn(tmp_path, "hmmm", "watch", "r", "--last", "1", "--json") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"{")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == b""


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    rooms = [ROOM | {"id": f"room-{n}"} for n in range(5000)]
    with FakeNode(tmp_path, {"hmmm.rooms": rooms}), spawn(tmp_path, "hmmm", "rooms", "--json") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        process.wait(20)
    assert (process.returncode, err) == (0, b"")


def test_a_terminal_without_unicode_is_no_error(tmp_path: Path) -> None:
    answers = {"hmmm.show": view("漢字 → é")}
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    with FakeNode(tmp_path, answers), spawn(tmp_path, "hmmm", "show", "r", env=env) as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")
    assert b"what" in out or b"\\u6f22" in out


def test_the_program_answers_wrong_words_as_the_commands_do(tmp_path: Path) -> None:
    with spawn(tmp_path, "stats") as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (2, b"")
    assert b"Did you mean `status`?" in err
