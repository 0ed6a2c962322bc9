from __future__ import annotations

import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import hypercorn.trio
import msgspec
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent_core.api import http
from agent_core.api.dispatch import Dispatcher
from agent_core.api.live import Live, expect_slices
from agent_core.api.openapi import document
from agent_core.api.operations import OPERATIONS, Facade
from agent_core.api.slices import SliceHub
from agent_core.errors import NoQuorum, PortInUse
from agent_core.feeds.model import Via
from agent_core.shapes import Health
from agent_core.telemetry.metrics import Metrics
from tests.support.parts import FakeNode, a_status

TOKEN = "t" * 40


@dataclass
class Site:
    node: FakeNode
    hub: SliceHub
    urls: dict[str, str]
    health: Health

    def client(self, app: str = "api", token: str | None = TOKEN) -> httpx.AsyncClient:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=self.urls[app], headers=headers, trust_env=False, timeout=5)


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    node = FakeNode()
    parts = node.parts()
    hub = SliceHub()
    facade = Facade(parts)
    dispatcher = Dispatcher(parts.sources.status)
    dispatcher.open(facade)
    expect_slices(hub)
    Live(hub, facade, parts.sources)
    site = Site(node, hub, {}, Health(status="ok", checks={"store": {"status": "ok"}}))

    async def health() -> Health:
        return site.health

    web = http.Http(
        http.HttpParts(
            dispatcher=dispatcher,
            hub=hub,
            health=health,
            ready=health,
            startup=health,
            metrics=Metrics(parts.sources.status).text,
            token=TOKEN,
        )
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        for name, application in (("api", web.api()), ("health", web.health()), ("metrics", web.metrics())):
            listener = http.bind(0)
            site.urls[name] = f"http://127.0.0.1:{listener.getsockname()[1]}"
            await nursery.start(http.serve, application, listener)
        yield site
        nursery.cancel_scope.cancel()


async def test_status_and_election() -> None:
    async with site() as served, served.client() as client:
        status = await client.get("/api/v1/status")
        assert status.status_code == 200
        assert status.headers["content-type"] == "application/json"
        assert status.json()["agent_id"] == "ann"
        election = (await client.get("/api/v1/election")).json()
        assert (election["leader"]["peer_id"], election["term"], election["state"]) == ("12D3KooWother", 3, "follower")


async def test_all_but_health_and_metrics_needs_the_token() -> None:
    async with site() as served:
        for token in (None, "wrong", TOKEN + "x", TOKEN[:-1]):
            async with served.client(token=token) as client:
                for path in (
                    "/api/v1/status",
                    "/api/v1/election",
                    "/api/v1/openapi.json",
                    "/api/v1/events?slices=status",
                ):
                    answer = await client.get(path)
                    assert answer.status_code == 401, path
                    assert answer.json()["error"]["code"] == "unauthorized"
                assert (await client.post("/api/v1/op/status")).status_code == 401
                assert (await client.get("/health")).status_code == 200
                assert (await client.get("/metrics")).status_code == 200


async def test_operations_by_name() -> None:
    async with site() as served, served.client() as client:
        answer = await client.post("/api/v1/op/hmmm.post", json={"room": "r", "text": "hi"})
        assert (answer.status_code, answer.json()["id"]) == (200, "abcd2345")
        caller = served.node.calls[0][2]
        assert caller is not None
        assert (caller.via, caller.login) == (Via.HTTP, "")
        assert (await client.post("/api/v1/op/hmmm.rooms")).json() == []


async def test_failures_are_json_with_their_status() -> None:
    async with site() as served, served.client() as client:
        cases: list[tuple[str, Any, int, str]] = [
            ("/api/v1/op/nonsense", {}, 404, "no_operation"),
            ("/api/v1/op/hmmm.post", {"room": 5}, 400, "invalid_input"),
            ("/api/v1/op/decisions.show", {"id": "zzzz"}, 404, "not_found"),
            ("/api/v1/op/ucxl.get", {"address": "nonsense"}, 400, "invalid_address"),
            ("/api/v1/op/election.resign", {}, 409, "not_leader"),
            ("/nowhere", {}, 404, "not_found"),
        ]
        for path, body, status, code in cases:
            answer = await client.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), path
            assert answer.json()["error"]["message"]
        assert (await client.get("/api/v1/op/status")).status_code == 405
        served.node.fail = NoQuorum("No majority.")
        answer = await client.post("/api/v1/op/hmmm.post", json={"room": "r", "text": "hi"})
        assert answer.status_code == 503


async def test_bodies_are_bounded() -> None:
    async with site() as served, served.client() as client:
        answer = await client.post("/api/v1/op/hmmm.post", content=b" " * (http.MAX_BODY_BYTES + 1))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        assert (await client.post("/api/v1/op/status", content=b"\xff")).status_code == 400
        assert not served.node.calls


async def test_no_other_origin_is_let_in() -> None:
    async with site() as served, served.client() as client:
        headers = {"origin": "http://evil.example", "access-control-request-method": "POST"}
        answer = await client.options("/api/v1/op/status", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        answer = await client.get("/health", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_each_port_serves_only_its_own() -> None:
    async with site() as served:
        async with served.client("health", None) as client:
            for path in ("/health", "/health/live", "/health/ready", "/health/startup"):
                assert (await client.get(path)).json()["status"] == "ok"
            assert (await client.get("/metrics")).status_code == 404
            assert (await client.get("/api/v1/status")).status_code == 404
        async with served.client("metrics", None) as client:
            answer = await client.get("/metrics")
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert list(text_string_to_metric_families(answer.text))
            assert (await client.get("/health")).status_code == 404


async def test_health_down_is_503_and_alive_all_the_same() -> None:
    async with site() as served, served.client("health", None) as client:
        served.health = Health(status="degraded", checks={})
        assert (await client.get("/health")).status_code == 200
        served.health = Health(status="down", checks={"disk": {"status": "down", "reason": "full"}})
        answer = await client.get("/health")
        assert answer.status_code == 503
        assert answer.json()["checks"]["disk"]["reason"] == "full"
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200


@dataclass
class Events:
    """A response body that never ends, read from the socket itself."""

    stream: trio.SocketStream
    buffer: bytes = b""

    async def __aenter__(self) -> Events:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.aclose()

    async def until(self, end: bytes) -> bytes:
        with trio.fail_after(5):
            while end not in self.buffer:
                chunk = await self.stream.receive_some(65536)
                assert chunk
                self.buffer += chunk
        found, _, self.buffer = self.buffer.partition(end)
        return found

    async def event(self) -> tuple[str, Any]:
        kind = (await self.until(b"\ndata: ")).rpartition(b"event: ")[2].decode()
        return kind, msgspec.json.decode(await self.until(b"\n\n"))


async def open_events(served: Site, slices: str) -> Events:
    stream = await trio.open_tcp_stream("127.0.0.1", int(served.urls["api"].rpartition(":")[2]))
    request = f"GET /api/v1/events?slices={slices} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    await stream.send_all(request.encode())
    return Events(stream)


async def test_events_stream_and_end_with_their_reader() -> None:
    async with site() as served, served.client() as client:
        assert (await client.get("/api/v1/events?slices=nope")).status_code == 400
        assert (await client.get("/api/v1/events")).status_code == 400
        async with await open_events(served, "status,room:r") as stream:
            head = await stream.until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"content-type: text/event-stream" in head
            kind, first = await stream.event()
            assert kind == "snapshot"
            assert first["status"]["value"]["term"] == 3
            assert first["room:r"]["value"]["messages"] == []
            served.node.now = a_status(term=9)
            served.hub.mark("status")
            kind, event = await stream.event()
            assert (kind, event["slice"], event["value"]["term"]) == ("event", "status", 9)
        with trio.fail_after(5):
            while served.hub.statistics().readers:
                await trio.lowlevel.checkpoint()


async def test_a_server_that_crashed_can_serve_again_on_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = http.bind(0)
    crash = trio.Event()
    original = hypercorn.trio.serve

    async def crashing(*args: Any, **options: Any) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(original, *args)
            options["task_status"].started()
            await crash.wait()
            raise ZeroDivisionError

    async def hello(request: Request) -> Response:
        return Response(b"hello")

    application = Starlette(routes=[Route("/", hello)])
    monkeypatch.setattr(hypercorn.trio, "serve", crashing)

    async def crash_once() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(http.serve, application, listener)
            crash.set()

    with pytest.raises(ExceptionGroup):
        await crash_once()
    monkeypatch.setattr(hypercorn.trio, "serve", original)
    async with trio.open_nursery() as nursery:
        await nursery.start(http.serve, application, listener)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            assert (await client.get(url)).text == "hello"
        nursery.cancel_scope.cancel()
    assert listener.fileno() == -1


def test_a_taken_port_is_told_and_zero_finds_one() -> None:
    with http.bind(0) as taken:
        port = taken.getsockname()[1]
        assert taken.getsockname()[0] == "127.0.0.1"
        with pytest.raises(PortInUse, match=str(port)):
            http.bind(port)


def test_the_token_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "api.token"
    token = http.token_of(path)
    assert len(token) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert http.token_of(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("short")
    assert http.token_of(path) not in ("short", token)


def test_the_openapi_document_holds_together() -> None:
    openapi = msgspec.json.decode(document())
    assert openapi["openapi"].startswith("3.1")
    for ref in re.findall(rb'"\$ref": "([^"]+)"', document()):
        _, *path = ref.decode().split("/")
        found = openapi
        for step in path:
            found = found[step]
        assert found
    posts = {path.rpartition("/")[2] for path, item in openapi["paths"].items() if "/op/" in path and "post" in item}
    assert posts == set(OPERATIONS)
    ids = [verb["operationId"] for item in openapi["paths"].values() for verb in item.values()]
    assert len(ids) == len(set(ids))
    for item in openapi["paths"].values():
        for verb in item.values():
            assert verb["summary"]
            assert "200" in verb["responses"]
