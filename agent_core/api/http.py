"""HTTP: the facade over REST-like JSON, server-sent events, health and metrics, on up to three ports (SPEC section 15)."""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agent_core.api.dispatch import Dispatcher
from agent_core.api.openapi import document
from agent_core.api.slices import Reader, SliceHub, Snapshot
from agent_core.caller import Caller
from agent_core.errors import (
    ChorusError,
    ConfigError,
    InvalidInput,
    NotFound,
    PortInUse,
    Refused,
    TooLarge,
    Unavailable,
)
from agent_core.feeds.model import Via
from agent_core.home import write_whole
from agent_core.shapes import Health, SliceEvent
from agent_core.strict_json import UNREADABLE, KeyTwice, check_keys

if TYPE_CHECKING:
    from trio_typing import TaskStatus

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1024 * 1024
#: Streams of events served at once.
MAX_STREAMS = 32
#: A comment goes out after so long without an event, so that a reader that is gone is noticed, seconds.
KEEP_ALIVE_S = 15.0
_TOKEN_BYTES = 32

_encode = msgspec.json.Encoder().encode
_Handler = Callable[[Request], Awaitable[Response]]


class Unauthorized(Refused):
    """No bearer token, or a wrong one."""

    code, http_status = "unauthorized", 401


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpParts:
    """What HTTP serves.

    Args:
        dispatcher: answers operations.
        hub: answers subscriptions.
        health: the whole health, actively checked.
        ready: whether this node can do its work now.
        startup: whether it has started.
        metrics: the Prometheus text exposition.
        token: what callers have to present.
    """

    dispatcher: Dispatcher
    hub: SliceHub
    health: Callable[[], Awaitable[Health]]
    ready: Callable[[], Awaitable[Health]]
    startup: Callable[[], Awaitable[Health]]
    metrics: Callable[[], bytes]
    token: str


class Http:
    """The three applications: everything, health only, metrics only."""

    def __init__(self, parts: HttpParts) -> None:
        self._parts = parts
        self._streams = 0

    def api(self) -> Starlette:
        """Everything; all but health and metrics asks for the bearer token."""
        return _application(
            *self._health_routes(),
            *self._metrics_routes(),
            _get("/api/v1/status", self._private(self._named("status"))),
            _get("/api/v1/election", self._private(self._named("election.show"))),
            _get("/api/v1/openapi.json", self._private(self._openapi)),
            _get("/api/v1/events", self._private(self._events)),
            Route("/api/v1/op/{name}", _guard(self._private(self._operation)), methods=["POST"]),
        )

    def health(self) -> Starlette:
        """Only the four health endpoints."""
        return _application(*self._health_routes())

    def metrics(self) -> Starlette:
        """Only the metrics."""
        return _application(*self._metrics_routes())

    def _health_routes(self) -> tuple[Route, ...]:
        async def live(request: Request) -> Response:
            return _json(Health(status="ok", checks={}))

        return (
            _get("/health", self._report(self._parts.health)),
            _get("/health/live", live),
            _get("/health/ready", self._report(self._parts.ready)),
            _get("/health/startup", self._report(self._parts.startup)),
        )

    def _metrics_routes(self) -> tuple[Route, ...]:
        async def metrics(request: Request) -> Response:
            return Response(self._parts.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

        return (_get("/metrics", metrics),)

    def _private(self, handler: _Handler) -> _Handler:
        async def checked(request: Request) -> Response:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            wanted = self._parts.token.encode()
            if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), wanted):
                raise Unauthorized(
                    "This needs the node's bearer token.", "Send `Authorization: Bearer <content of api.token>`."
                )
            return await handler(request)

        return checked

    def _report(self, check: Callable[[], Awaitable[Health]]) -> _Handler:
        async def report(request: Request) -> Response:
            health = await check()
            return _json(health, 503 if health.status == "down" else 200)

        return report

    def _named(self, name: str) -> _Handler:
        async def answer(request: Request) -> Response:
            return await self._call(name, b"{}")

        return answer

    async def _operation(self, request: Request) -> Response:
        body = await _body(request)
        try:
            check_keys(body)
        except KeyTwice as exc:
            raise InvalidInput(exc.message, exc.next) from exc
        except UNREADABLE:
            pass  # said by the operation, with what it takes
        return await self._call(request.path_params["name"], body)

    async def _call(self, name: str, body: bytes) -> Response:
        result = await self._parts.dispatcher.call(name, body, Caller(Via.HTTP))
        return Response(result, media_type="application/json")

    async def _openapi(self, request: Request) -> Response:
        return Response(document(), media_type="application/json")

    async def _events(self, request: Request) -> Response:
        names = [name for name in request.query_params.get("slices", "").split(",") if name]
        if not names:
            raise InvalidInput("No slice was named.", "Ask for /api/v1/events?slices=status,room:<id>.")
        if self._streams >= MAX_STREAMS:
            raise Unavailable(f"{MAX_STREAMS} event streams are open already.", "Close one.")
        reader = self._parts.hub.reader()
        try:
            first = reader.subscribe(names)
        except ChorusError:
            reader.close()
            raise
        self._streams += 1
        return EventStream(reader, first, self._stream_ended)

    def _stream_ended(self) -> None:
        self._streams -= 1


class EventStream(Response):
    """Slices as server-sent events (WHATWG HTML, section 9.2): one ``snapshot``, then ``event``s until the reader goes."""

    def __init__(self, reader: Reader, first: dict[str, Snapshot], ended: Callable[[], None]) -> None:
        super().__init__(media_type="text/event-stream", headers={"cache-control": "no-store"})
        del self.headers["content-length"]
        self._reader = reader
        self._first = first
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, send)
                while (await receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel()
        finally:
            self._reader.close()
            self._ended()

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await self._send(send, _sse("snapshot", self._first))
        while True:
            batch: list[SliceEvent] = []
            with trio.move_on_after(KEEP_ALIVE_S):
                batch = await self._reader.receive()
            await self._send(send, b"".join(_sse("event", event) for event in batch) or b": still here\n\n")

    async def _send(self, send: Send, chunk: bytes) -> None:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def serve(
    application: Starlette, listener: socket.socket, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve an application on a socket made by :func:`bind`, until cancelled; that closes the socket.

    After a crash it may be called again with the same socket: connections wait in it meanwhile.
    """
    from hypercorn.config import Config
    from hypercorn.trio import serve as hypercorn_serve

    config = Config()
    # hypercorn takes a socket over by its number, and closes it however it ends.
    config.bind = [f"fd://{os.dup(listener.fileno())}"]
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn")
    config.include_server_header = False
    # A connection nobody asks anything on holds a descriptor for so long, even when its other end is gone.
    config.keep_alive_timeout = 5
    config.graceful_timeout = 1
    config.h11_max_incomplete_size = 32 * 1024
    crashed = False
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(hypercorn_serve, application, config)
            task_status.started()
    except Exception:
        crashed = True
        raise
    finally:
        if not crashed:
            listener.close()


def bind(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A listening TCP socket.

    Args:
        port: 0 for any free one.
        host: an address of this machine.

    Raises:
        PortInUse: something listens there already.
        ConfigError: the address isn't this machine's, or the port is reserved.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as exc:
        listener.close()
        if exc.errno == 98:  # EADDRINUSE
            raise PortInUse(f"Port {port} on {host} is in use.", "Name another one, or 0 for any free one.") from exc
        raise ConfigError(
            f"Nothing can listen on {host} port {port}: {exc.strerror or exc}.",
            "Set http.host to an address of this machine, and the port to one above 1023.",
        ) from exc
    listener.setblocking(False)
    return listener


def token_of(path: Path) -> str:
    """The bearer token of a home, made at the first call, mode 0600.

    Raises:
        StoreError: it can't be written.
    """
    try:
        token = path.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        token = ""
    if len(token) < _TOKEN_BYTES:
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        write_whole(path, f"{token}\n".encode())
    elif path.stat().st_mode & 0o077:
        os.chmod(path, 0o600)
    return token


def _application(*routes: Route) -> Starlette:
    async def not_found(request: Request, exc: Exception) -> Response:
        status = exc.status_code if isinstance(exc, HTTPException) else 404
        error = (
            InvalidInput(f"{request.url.path} doesn't answer to {request.method}.")
            if status == 405
            else NotFound(
                f"There is nothing at {request.url.path[:80]}.", "GET /api/v1/openapi.json lists what there is."
            )
        )
        return _problem(error, status)

    return Starlette(routes=list(routes), exception_handlers={HTTPException: not_found})


def _get(path: str, handler: _Handler) -> Route:
    return Route(path, _guard(handler), methods=["GET"])


def _guard(handler: _Handler) -> _Handler:
    """Every failure becomes one JSON object."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except ChorusError as exc:
            return _problem(exc, exc.http_status)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            return _problem(ChorusError("The node failed to answer.", "Its log says more."), 500)

    return guarded


async def _body(request: Request) -> bytes:
    body = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise TooLarge(f"The request's body has more than {MAX_BODY_BYTES // 1024} KiB.", "Send less at once.")
    return bytes(body) or b"{}"


def _json(value: object, status: int = 200) -> Response:
    return Response(_encode(value), status, media_type="application/json")


def _problem(error: ChorusError, status: int) -> Response:
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return Response(_encode({"error": error.to_dict()}), status, headers, media_type="application/json")


def _sse(event: str, data: object) -> bytes:
    return b"event: " + event.encode() + b"\ndata: " + _encode(data) + b"\n\n"
