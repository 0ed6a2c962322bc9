from __future__ import annotations

import getpass
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_core.api import control
from agent_core.api.control import MAX_LINE_BYTES, ControlServer, Greeting, listen
from agent_core.api.dispatch import Dispatcher
from agent_core.api.live import Live, expect_slices, status_while_starting
from agent_core.api.operations import Facade
from agent_core.api.sessions import SessionKind
from agent_core.api.slices import QUEUE_ITEMS, SliceHub
from agent_core.errors import Conflict, StoreError
from agent_core.feeds.model import Via
from agent_core.shapes import Traffic
from tests.support.parts import ME, FakeNode, a_status


def traffic(n: int, size: int = 10) -> Traffic:
    return Traffic(n=n, at="", topic="t", type="x", sender="s", size=size, verdict="accept", raw="r" * size)


@dataclass
class Client:
    """The plainest possible speaker of the protocol."""

    stream: trio.SocketStream
    buffer: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, **message: Any) -> None:
        await self.raw(msgspec.json.encode({"jsonrpc": "2.0", **message}) + b"\n")

    async def raw(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self) -> dict[str, Any] | None:
        """The next line, of whatever sort; nothing at the end."""
        with trio.fail_after(5):
            while b"\n" not in self.buffer:
                chunk = await self.stream.receive_some(65536)
                if not chunk:
                    return None
                self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        assert len(line) < MAX_LINE_BYTES
        message: dict[str, Any] = msgspec.json.decode(line)
        return message

    async def answer(self) -> dict[str, Any]:
        """The next response; events before it are put by."""
        while True:
            message = await self.receive()
            assert message is not None
            if message.get("method") != "event":
                return message
            self.events.append(message["params"])

    async def event(self) -> dict[str, Any]:
        """The next event."""
        if self.events:
            return self.events.pop(0)
        message = await self.receive()
        assert message is not None
        assert message["method"] == "event"
        params: dict[str, Any] = message["params"]
        return params

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        await self.send(id=1, method=method, params=params)
        return await self.answer()

    async def hello(self, kind: str = "console", **more: Any) -> dict[str, Any]:
        return await self.call("hello", protocol=[1], client="test", session_kind=kind, **more)


@dataclass
class Served:
    node: FakeNode
    server: ControlServer
    hub: SliceHub
    dispatcher: Dispatcher
    path: Path

    def up(self) -> Live:
        parts = self.node.parts()
        facade = Facade(parts)
        self.dispatcher.open(facade)
        return Live(self.hub, facade, parts.sources)

    @asynccontextmanager
    async def client(self, kind: str | None = "console") -> AsyncIterator[Client]:
        async with await trio.open_unix_socket(str(self.path)) as stream:
            client = Client(stream)
            if kind:
                assert "result" in await client.hello(kind)
            yield client


@asynccontextmanager
async def serving(path: Path, ready: bool = True) -> AsyncIterator[Served]:
    node = FakeNode()
    hub = SliceHub()
    expect_slices(hub)

    def starting() -> Any:
        return a_status(stage="store", cluster_id="")

    status_while_starting(hub, starting)
    dispatcher = Dispatcher(starting)
    server = ControlServer(path, Greeting("0.1.0", "boot", ME), dispatcher, hub, node.sessions)
    served = Served(node, server, hub, dispatcher, path)
    if ready:
        served.up()
    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        await nursery.start(server.run)
        yield served
        nursery.cancel_scope.cancel()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path / "control.sock") as found:
        yield found


async def test_hello_then_status(served: Served) -> None:
    async with served.client(None) as client:
        welcome = await client.hello()
        assert welcome["result"] == {"protocol": 1, "version": "0.1.0", "peer_id": ME, "boot_id": "boot"}
        answer = await client.call("status")
        assert answer["id"] == 1
        assert answer["result"]["agent_id"] == "ann"
        assert answer["jsonrpc"] == "2.0"


async def test_the_socket_is_private_and_goes_away(tmp_path: Path) -> None:
    async with serving(tmp_path / "control.sock") as served:
        assert stat.S_IMODE(served.path.stat().st_mode) == 0o600
    assert not served.path.exists()


async def test_a_socket_left_by_a_dead_process_is_replaced(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "control.sock"))
    left.close()
    async with serving(tmp_path / "control.sock") as served, served.client():
        pass


def test_something_else_in_the_way_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("precious")
    with pytest.raises(StoreError, match="in the way"):
        listen(path)
    assert path.read_text() == "precious"


async def test_no_common_protocol_names_both_versions(served: Served) -> None:
    async with served.client(None) as client:
        answer = await client.call("hello", protocol=[7, 8], client="future", session_kind="console")
        error = answer["error"]["data"]
        assert error["code"] == "incompatible"
        assert "protocol 1;" in error["message"]
        assert "7, 8" in error["message"]
        assert error["next"]
        assert await client.receive() is None
    assert len(served.node.sessions) == 0


async def test_everything_waits_for_hello(served: Served) -> None:
    async with served.client(None) as client:
        answer = await client.call("status")
        assert answer["error"]["data"]["code"] == "invalid_input"
        assert "result" in await client.hello()


async def test_a_bad_session_kind_is_told(served: Served) -> None:
    async with served.client(None) as client:
        answer = await client.hello("toaster")
        assert "toaster" in answer["error"]["message"]
        assert "result" in await client.hello("mcp")


async def test_who_is_silent_is_closed(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with serving(tmp_path / "control.sock") as served, served.client(None) as client:
        with trio.fail_after(60):
            assert await client.stream.receive_some(10) == b""


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"garbage", -32700),
        (b"\xff\xfe\x00", -32700),
        (b"[]", -32600),
        (b'"text"', -32600),
        (b'{"id":1,"x":' + b"[" * 100_000, -32700),
        (b'{"jsonrpc":"2.0","method":"status"}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"status"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"nonsense"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"hmmm.post","params":{"room":5}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"hmmm.post","params":[]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"slices":["nope"]}}', -32602),
    ],
)
async def test_a_bad_line_costs_an_error_and_nothing_else(served: Served, line: bytes, code: int) -> None:
    async with served.client() as client:
        await client.raw(line + b"\n")
        answer = await client.answer()
        assert answer["error"]["code"] == code
        assert answer["error"]["data"]["message"]
        assert "result" in await client.call("status")


@given(data=st.binary(max_size=400).map(lambda data: data.replace(b"\n", b" ")))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_bytes_end_the_server(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    async def main() -> None:
        async with serving(tmp_path_factory.mktemp("c") / "s") as served:
            async with served.client(None) as client:
                await client.raw(data + b"\n")
            async with served.client() as client:
                assert "result" in await client.call("status")

    trio.run(main)


async def test_an_oversized_line_is_skipped_and_answered(served: Served) -> None:
    async with served.client() as client:
        text = b"x" * (3 * MAX_LINE_BYTES)
        line = b'{"jsonrpc":"2.0","id":77,"method":"hmmm.post","params":{"room":"r","text":"' + text + b'"}}\n'
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.raw, line)
            answer = await client.answer()
        assert answer["id"] == 77
        assert answer["error"]["data"]["code"] == "too_large"
        assert "result" in await client.call("status")
    assert served.server.statistics().bad_lines_total == 1
    assert not served.node.calls


async def test_an_answer_too_large_for_a_line_is_refused(served: Served) -> None:
    served.node.now = a_status(notes=("n" * MAX_LINE_BYTES,))
    async with served.client() as client:
        answer = await client.call("status")
        assert answer["error"]["data"]["code"] == "too_large"


async def test_calls_run_at_once_and_answers_carry_their_ids(served: Served) -> None:
    served.node.gate = trio.Event()
    async with served.client() as client:
        await client.send(id="slow", method="hmmm.post", params={"room": "r", "text": "hi"})
        await client.send(id="quick", method="status")
        assert (await client.answer())["id"] == "quick"
        served.node.gate.set()
        answer = await client.answer()
        assert answer["id"] == "slow"
        assert answer["result"]["id"] == "abcd2345"


async def test_more_calls_than_slots_wait_and_none_is_lost(served: Served) -> None:
    served.node.gate = trio.Event()
    async with served.client() as client:
        for n in range(100):
            await client.send(id=n, method="hmmm.post", params={"room": "r", "text": "hi"})
        with trio.fail_after(5):
            for _ in range(32):
                await served.node.entered.acquire()
        await trio.testing.wait_all_tasks_blocked()
        assert len(served.node.calls) == 32
        served.node.gate.set()
        ids = {(await client.answer())["id"] for _ in range(100)}
    assert ids == set(range(100))


async def test_the_caller_is_who_the_socket_says(served: Served) -> None:
    async with served.client("command") as client:
        await client.call("hmmm.post", room="r", text="hi")
    caller = served.node.calls[0][2]
    assert caller is not None
    assert (caller.via, caller.login, caller.read_only) == (Via.COMMAND, getpass.getuser(), False)


async def test_a_read_only_session_changes_nothing(served: Served) -> None:
    async with served.client(None) as client:
        await client.hello(read_only=True)
        answer = await client.call("hmmm.post", room="r", text="hi")
        assert answer["error"]["data"]["code"] == "refused"
        assert "result" in await client.call("status")
    assert not served.node.calls


async def test_failures_keep_their_sentence(served: Served) -> None:
    served.node.fail = Conflict("It is closed.", "Propose anew.")
    async with served.client() as client:
        answer = await client.call("decisions.vote", id="a", choice="approve")
        assert answer["error"] == {
            "code": -32000,
            "message": "It is closed.",
            "data": {"code": "conflict", "message": "It is closed.", "next": "Propose anew."},
        }


async def test_an_unforeseen_failure_is_one_clean_error(served: Served) -> None:
    served.node.fail = ZeroDivisionError("oops")
    async with served.client() as client:
        answer = await client.call("hmmm.post", room="r", text="hi")
        assert answer["error"]["data"]["code"] == "failed"
        assert "ZeroDivisionError" in answer["error"]["message"]
        assert "result" in await client.call("status")


async def test_delivery_is_waited_for_when_asked(served: Served) -> None:
    async with served.client() as client:
        assert (await client.call("hmmm.post", room="r", text="hi"))["result"]["delivered"] == 0
        assert (await client.call("hmmm.post", room="r", text="hi", wait_s=2.5))["result"]["delivered"] == 1
    name, (key, n, timeout_s), _ = served.node.calls[-1]
    assert (name, key.author, n, timeout_s) == ("wait_held", ME, 1, 2.5)


async def test_sessions_are_counted_by_their_connections(served: Served) -> None:
    sessions = served.node.sessions
    async with served.client("console") as first:
        async with served.client("command"):
            assert sessions.kinds == {SessionKind.CONSOLE: 1, SessionKind.COMMAND: 1}
            preview = (await first.call("session.end_preview"))["result"]
            assert preview == {"text": "node goes on: 1 other session", "ends": False}
        with trio.fail_after(5):
            while len(sessions) > 1:
                await trio.lowlevel.checkpoint()
        preview = (await first.call("session.end_preview"))["result"]
        assert preview == {"text": "node ends (bob takes over)", "ends": True}
        assert (await first.call("session.keep_running"))["result"] == {"mode": "daemon"}
        preview = (await first.call("session.end_preview"))["result"]
        assert preview["text"] == "node goes on: it runs as a daemon"


async def test_a_starting_node_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path / "control.sock", ready=False) as served, served.client() as client:
        assert (await client.call("status"))["result"]["stage"] == "store"
        error = (await client.call("hmmm.rooms"))["error"]["data"]
        assert error["code"] == "unavailable"
        assert "store" in error["message"]
        answer = (await client.call("subscribe", slices=["status", "rooms", "room:r", "log"]))["result"]
        assert answer["status"]["value"]["stage"] == "store"
        assert answer["log"] == {"rev": 0, "items": [], "dropped": 0}
        assert "rooms" not in answer
        served.up()
        came = {}
        while set(came) < {"status", "rooms", "room:r"}:
            event = await client.event()
            came[event["slice"]] = event["value"]
        assert came["status"]["stage"] == "ready"
        assert came["rooms"] == []
        assert came["room:r"]["messages"] == []
        assert (await client.call("hmmm.rooms"))["result"] == []


async def test_events_come_after_their_snapshot_and_stop(served: Served) -> None:
    async with served.client() as client:
        answer = (await client.call("subscribe", slices=["status"]))["result"]
        assert answer["status"]["value"]["term"] == 3
        served.node.now = a_status(term=4)
        served.hub.mark("status")
        event = await client.event()
        assert (event["slice"], event["value"]["term"]) == ("status", 4)
        assert event["rev"] > answer["status"]["rev"]
        assert (await client.call("unsubscribe", slices=["status"]))["result"] == {}
        served.node.now = a_status(term=5)
        served.hub.mark("status")
        assert (await client.call("status"))["result"]["term"] == 5
        assert not client.events


async def test_a_slow_reader_loses_items_honestly_and_slows_nobody(served: Served) -> None:
    sent = 4000
    async with served.client() as slow, served.client() as quick:
        for client in (slow, quick):
            await client.call("subscribe", slices=["traffic"])
        got = 0
        for n in range(sent):
            served.hub.push("traffic", traffic(n, 2000))
            if n % 200 == 199:  # the quick one reads on, the slow one never
                while got <= n:
                    event = await quick.event()
                    got += len(event["items"])
                    assert event["dropped"] == 0
        assert got == sent
        seen: list[int] = []
        while True:
            event = await slow.event()
            seen += [item["n"] for item in event["items"]]
            assert event["rev"] == seen[-1] + 1
            assert len(seen) + event["dropped"] == event["rev"]
            if event["rev"] == sent:
                break
        assert event["dropped"] > 0
        assert seen == sorted(set(seen))
        assert seen[-QUEUE_ITEMS // 2 :] == list(range(sent - QUEUE_ITEMS // 2, sent))
        assert served.hub.statistics().dropped_total == event["dropped"]


async def test_another_user_is_turned_away(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "peer_uid", lambda sock: os.getuid() + 1)
    async with served.client(None) as client:
        refusal = await client.receive()
        assert refusal is not None
        assert "another user" in refusal["error"]["message"]
        assert await client.receive() is None
    assert not served.node.sessions.kinds


async def test_connections_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_CONNECTIONS", 1)
    async with served.client() as first:
        async with served.client(None) as second:
            refusal = await second.receive()
            assert refusal is not None
            assert "too many" in refusal["error"]["message"]
        assert "result" in await first.call("status")


async def test_an_abrupt_end_is_no_event(served: Served) -> None:
    async with served.client() as client:
        await client.call("subscribe", slices=["traffic"])
        await client.send(id=1, method="hmmm.post", params={"room": "r", "text": "hi"})
    with trio.fail_after(5):
        while served.server.statistics().connections:
            await trio.lowlevel.checkpoint()
    assert len(served.node.sessions) == 0
    assert served.hub.statistics().readers == 0
