"""The bridge: finding, starting and speaking to a node, against a scripted one and scripted starts."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent_core.errors import ConfigError, NoNode, NotFound, TimedOut, Unavailable
from agent_core.home import Home
from agent_core.shapes import Finding
from chorus_hap import link
from tests.support.fake_node import FakeNode


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """Let a node's start run this script; it gets the node's own words as arguments."""
    program = tmp_path / "pretended"
    program.write_text(f"#!{sys.executable}\nimport sys\nhome = sys.argv[sys.argv.index('--home') + 1]\n{script}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))


def test_no_node(tmp_path: Path) -> None:
    with pytest.raises(NoNode, match="No node runs"):
        link.connect(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_call_and_its_answer(tmp_path: Path) -> None:
    finding = {"rule": "r", "severity": "low", "line": 1, "column": 2, "length": 3, "message": "m", "grown": True}
    with FakeNode(tmp_path, {"status": {"state": "idle"}, "shhh.check": lambda p: [finding]}) as node:
        with link.connect(tmp_path, kind="console", read_only=True) as connection:
            assert connection.welcome.peer_id == "me"
            assert not connection.started
            assert connection.call("status") == {"state": "idle"}
            (found,) = connection.ask(tuple[Finding, ...], "shhh.check", text="x")
            assert found.column == 2
        assert node.named("shhh.check") == [{"text": "x"}]
        assert node.named("hello")[0]["session_kind"] == "console"
        assert node.named("hello")[0]["read_only"] is True


def test_a_refusal_comes_back_as_its_own_error(tmp_path: Path) -> None:
    def refuse(params: dict[str, Any]) -> None:
        raise ConfigError("No such thing.", "Do another.")

    with FakeNode(tmp_path, {"x": refuse}), link.connect(tmp_path) as connection:
        with pytest.raises(ConfigError) as refusal:
            connection.call("x")
        assert (refusal.value.message, refusal.value.next) == ("No such thing.", "Do another.")
        with pytest.raises(NotFound):
            connection.call("unknown")


def test_an_answer_of_another_shape_is_said(tmp_path: Path) -> None:
    with (
        FakeNode(tmp_path, {"x": {"rule": 3}}),
        link.connect(tmp_path) as connection,
        pytest.raises(Unavailable, match="same version"),
    ):
        connection.ask(Finding, "x")


def test_silence_times_out(tmp_path: Path) -> None:
    import threading

    held = threading.Event()
    with FakeNode(tmp_path, {"x": lambda p: held.wait(10)}), link.connect(tmp_path) as connection:
        with pytest.raises(TimedOut):
            connection.call("x", timeout_s=0.05)
        held.set()


def test_a_node_that_ends_is_said(tmp_path: Path) -> None:
    with FakeNode(tmp_path, {}) as node, link.connect(tmp_path) as connection:
        node.answers["x"] = lambda p: node.hang_up()
        with pytest.raises(NoNode, match="ended"):
            connection.call("x")


def test_subscribe_gives_the_snapshot_then_changes(tmp_path: Path) -> None:
    snapshot = {"status": {"rev": 4, "value": {"a": 1}}, "log": {"rev": 2, "items": [1, 2], "dropped": 5}}
    events = [{"slice": "status", "rev": 5, "value": {"a": 2}}, {"slice": "log", "rev": 3, "items": [3], "dropped": 5}]
    with FakeNode(tmp_path, {"subscribe": snapshot}, events), link.connect(tmp_path) as connection:
        stream = connection.subscribe("status", "log")
        got = [next(stream) for _ in range(4)]
    assert [(e.slice, e.rev) for e in got] == [("status", 4), ("log", 2), ("status", 5), ("log", 3)]
    assert got[0].value is not None
    assert json.loads(bytes(got[0].value)) == {"a": 1}
    assert [bytes(item) for item in got[1].items] == [b"1", b"2"]
    assert got[1].dropped == 5


def test_what_a_dead_process_left_is_cleared(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    home.socket.write_bytes(b"")
    home.node_file.write_text(json.dumps({"pid": dead_pid(), "socket": str(home.socket)}))
    with pytest.raises(NoNode):
        link.connect(tmp_path)
    assert not home.node_file.exists()
    assert not home.socket.exists()


def test_what_a_living_process_holds_is_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    home.node_file.write_text(json.dumps({"pid": os.getpid(), "socket": str(home.socket)}))
    with pytest.raises(NoNode):
        link.connect(tmp_path)
    assert home.node_file.exists()


def test_a_damaged_node_file_is_no_node(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    home.node_file.write_text("{")
    with pytest.raises(NoNode):
        link.connect(tmp_path)


def test_a_failed_start_says_its_own_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(
        monkeypatch,
        tmp_path,
        "import json, pathlib\n"
        "pathlib.Path(home, 'run/failure.json').write_text(json.dumps("
        "{'code': 'config', 'message': 'No such key.', 'next': 'Mend it.'}))\nsys.exit(2)\n",
    )
    with pytest.raises(ConfigError, match="No such key") as refusal:
        link.connect(tmp_path / "h", start=True)
    assert refusal.value.next == "Mend it."


def test_a_start_that_dies_shows_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, "print('first'); print('out of luck', file=sys.stderr); sys.exit(9)")
    with pytest.raises(NoNode, match="status 9 before it answered: out of luck"):
        link.connect(tmp_path / "h", start=True)


def test_the_loser_of_a_race_attaches_to_the_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, "sys.exit(5)")
    starting = link.Starting(Home(tmp_path / "h"), ["--set", "p2p.port=0"])
    while starting.poll() is None:
        pass
    assert starting.check() is None  # the winner isn't up yet, and that is no failure
    with FakeNode(tmp_path / "h", {"status": {}}), starting.wait(5) as connection:
        assert link.Link(connection, starting=starting).started


def test_a_start_that_takes_too_long_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, "import os, time\nopen(home + '/pid', 'w').write(str(os.getpid()))\ntime.sleep(20)")
    starting = link.Starting(Home(tmp_path / "h"))
    try:
        with pytest.raises(TimedOut, match="didn't answer"):
            starting.wait(0.1)
        assert os.getsid(starting.pid) == starting.pid  # a session of its own: no terminal signal reaches it
    finally:
        os.kill(starting.pid, 9)
        os.waitpid(starting.pid, 0)
        starting._process.returncode = -9


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    from agent_core.errors import StoreError

    with pytest.raises(StoreError, match="can't be written"):
        link.connect(tmp_path / "file" / "home", start=True)
