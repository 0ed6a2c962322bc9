"""A node answers before it has opened its store; when it fails then, those attached to it say what it said."""

from __future__ import annotations

import asyncio
import stat
import sys
from pathlib import Path

import pytest

from agent_core.errors import StoreError
from chorus_hap import link, link_async

#: Listens, answers as many calls as it is told to, leaves its sentence and ends.
NODE = """#!{python}
import json, os, pathlib, socket, sys
from agent_core.home import Home
home = Home(pathlib.Path(sys.argv[sys.argv.index("--home") + 1]))
server = socket.socket(socket.AF_UNIX)
server.bind(str(home.socket))
server.listen()
home.node_file.write_text(json.dumps({{"pid": os.getpid(), "socket": str(home.socket)}}))
calls = server.accept()[0].makefile("rwb")
for result in {results}:
    number = json.loads(calls.readline())["id"]
    calls.write(json.dumps({{"jsonrpc": "2.0", "id": number, "result": result}}).encode() + b"\\n")
    calls.flush()
home.node_file.unlink()
home.socket.unlink()
home.failure.write_text(json.dumps({{"code": "store", "message": "The key is broken.", "next": "Mend it."}}))
sys.exit(1)
"""
WELCOME = {"protocol": 1, "version": "0", "peer_id": "me", "boot_id": "b"}


def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *results: object) -> None:
    program = tmp_path / "node"
    program.write_text(NODE.format(python=sys.executable, results=results))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))


def test_a_command_says_what_the_node_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, WELCOME)
    with (
        link.connect(tmp_path / "h", start=True) as connection,
        pytest.raises(StoreError, match="The key is broken") as caught,
    ):
        connection.call("status")
    assert caught.value.next == "Mend it."


def test_the_console_says_it_and_waits_for_the_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, WELCOME, {})
    states: list[tuple[str, str, str]] = []

    async def main() -> None:
        failed = asyncio.Event()

        def on_state(state: str, reason: str, next: str) -> None:
            states.append((state, reason, next))
            if state == "failed":
                failed.set()

        attachment = link_async.Attachment(
            tmp_path / "h", [], on_event=lambda event: None, on_snapshot=lambda name, answer: None, on_state=on_state
        )
        task = asyncio.create_task(attachment.run())
        async with asyncio.timeout(20):
            await failed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [state for state, _, _ in states] == ["starting", "attached", "failed"]
    assert states[-1] == ("failed", "The key is broken.", "Mend it.")
