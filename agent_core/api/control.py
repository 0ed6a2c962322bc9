"""The control socket: JSON-RPC 2.0 over a Unix socket, one object a line, for the faces of this machine (SPEC section 15)."""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, TypeVar

import msgspec
import trio

from agent_core.api.dispatch import Dispatcher, NoOperation
from agent_core.api.lines import LineReader, LineTooLong
from agent_core.api.requests import Hello, Slices, Welcome
from agent_core.api.sessions import Session, SessionKind, Sessions
from agent_core.api.slices import Reader, SliceHub
from agent_core.caller import Caller
from agent_core.errors import ChorusError, Incompatible, InvalidInput, Refused, StoreError, TooLarge
from agent_core.feeds.model import Via
from agent_core.strict_json import KeyTwice, check_keys
from agent_core.system import login_of

if TYPE_CHECKING:
    from trio_typing import TaskStatus

logger = logging.getLogger(__name__)

PROTOCOLS = (1,)
MAX_LINE_BYTES = 1024 * 1024
#: Calls of one connection that run at once; further ones wait in the socket.
MAX_CALLS = 32
MAX_CONNECTIONS = 64
#: A connection that hasn't said hello by then is closed, seconds.
HELLO_TIMEOUT_S = 10.0

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, FAILED = -32700, -32600, -32601, -32602, -32000

S = TypeVar("S", bound=msgspec.Struct)

CallId: TypeAlias = int | Annotated[str, msgspec.Meta(max_length=128)]

_encode = msgspec.json.Encoder().encode
_ID = re.compile(rb'"id"\s*:\s*(\d{1,15}|"[^"\\]{1,128}")')


class Call(msgspec.Struct, frozen=True):
    """One request line."""

    jsonrpc: Literal["2.0"]
    method: str
    id: CallId
    params: msgspec.Raw = msgspec.Raw(b"{}")


class Answer(msgspec.Struct, frozen=True):
    """One response line."""

    id: CallId | msgspec.Raw | None
    result: msgspec.Raw
    jsonrpc: str = "2.0"


class Problem(msgspec.Struct, frozen=True):
    """The error member of a response."""

    code: int
    message: str
    data: dict[str, str]


class Failure(msgspec.Struct, frozen=True):
    """One error response line."""

    id: CallId | msgspec.Raw | None
    error: Problem
    jsonrpc: str = "2.0"


class Event(msgspec.Struct, frozen=True):
    """One notification line."""

    params: msgspec.Struct
    method: str = "event"
    jsonrpc: str = "2.0"


@dataclass(slots=True)
class Greeting:
    """What ``hello`` answers; the peer id is filled in as soon as the identity is read."""

    version: str
    boot_id: str
    peer_id: str = ""


@dataclass(frozen=True, slots=True)
class ControlStatistics:
    """Counters since the start."""

    connections: int
    accepted_total: int
    calls_total: int
    failed_total: int
    bad_lines_total: int


@dataclass(slots=True)
class _Counters:
    connections: int = 0
    accepted_total: int = 0
    calls: int = 0
    failed: int = 0
    bad_lines: int = 0


class ControlServer:
    """Serves the control socket; it may listen long before the node is up.

    Args:
        path: where the socket is to be; its directory exists.
        greeting: what ``hello`` answers.
        dispatcher: answers operations.
        hub: answers subscriptions.
        sessions: is told who attaches and leaves.
    """

    def __init__(
        self, path: Path, greeting: Greeting, dispatcher: Dispatcher, hub: SliceHub, sessions: Sessions
    ) -> None:
        self.path = path
        self.greeting = greeting
        self.dispatcher = dispatcher
        self.hub = hub
        self.sessions = sessions
        self._counters = _Counters()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and serve for ever; says it has started once connections are taken. Removes the socket at the end.

        Raises:
            StoreError: the socket can't be made.
        """
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listen(self.path)))
        try:
            async with listener, trio.open_nursery() as nursery:
                task_status.started()
                await trio.serve_listeners(self._serve, [listener], handler_nursery=nursery)
        finally:
            self.path.unlink(missing_ok=True)

    def statistics(self) -> ControlStatistics:
        """Counters since the start."""
        c = self._counters
        return ControlStatistics(c.connections, c.accepted_total, c.calls, c.failed, c.bad_lines)

    async def _serve(self, stream: trio.SocketStream) -> None:
        """One connection, from its first byte to its last; no exception leaves it."""
        counters = self._counters
        counters.connections += 1
        counters.accepted_total += 1
        try:
            async with stream:
                connection = _Connection(self, stream, counters)
                if counters.connections > MAX_CONNECTIONS:
                    await connection.refuse(Refused("This node has too many control connections.", "Close some faces."))
                else:
                    await connection.run()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass
        except* Exception:
            logger.exception("a control connection failed")
        finally:
            counters.connections -= 1


@dataclass(frozen=True, slots=True)
class _Agreed:
    """A ``hello`` that was understood, and its answer."""

    call: CallId
    session: Session
    welcome: Welcome


@dataclass(slots=True)
class _Connection:
    """The conversation over one connection."""

    server: ControlServer
    stream: trio.SocketStream
    counters: _Counters
    caller: Caller = field(default_factory=Caller)
    _sending: trio.Lock = field(default_factory=trio.Lock)
    _slots: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(MAX_CALLS))
    _reader: Reader | None = None

    async def run(self) -> None:
        uid = peer_uid(self.stream.socket)
        if uid not in (os.getuid(), 0):
            await self.refuse(Refused("This control socket belongs to another user.", "Use a home of your own."))
            return
        lines = LineReader(self.stream, MAX_LINE_BYTES)
        agreed: _Agreed | None = None
        with trio.move_on_after(HELLO_TIMEOUT_S):
            agreed = await self._greet(lines, login_of(uid))
        if agreed is None:
            return
        # Who is told welcome is counted already.
        self.server.sessions.attach(agreed.session)
        self._reader = self.server.hub.reader()
        try:
            await self._answer(agreed.call, _encode(agreed.welcome))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_events, self._reader)
                await self._take_calls(lines, nursery)
                nursery.cancel_scope.cancel()
        finally:
            self._reader.close()
            self.server.sessions.detach(agreed.session)

    async def refuse(self, error: ChorusError) -> None:
        """Say why and no more."""
        with trio.move_on_after(1):
            await self._fail(None, error)

    async def _greet(self, lines: LineReader, login: str) -> _Agreed | None:
        """Wait for the first call, which has to be ``hello``; nothing if the connection is to be closed."""
        while (line := await self._next_line(lines)) is not None:
            call = await self._parse(line)
            if call is None:
                continue
            try:
                if call.method != "hello":
                    raise InvalidInput("The first call of a connection is hello.", "Say hello first.")
                hello = _params(call, Hello)
                session = Session(_kind(hello.session_kind), hello.client[:200], login)
                welcome = self._agree(hello)
            except Incompatible as exc:
                await self._fail(call.id, exc)
                return None
            except ChorusError as exc:
                await self._fail(call.id, exc)
                continue
            self.caller = Caller(Via(session.kind.value), login, hello.read_only)
            return _Agreed(call.id, session, welcome)
        return None

    def _agree(self, hello: Hello) -> Welcome:
        common = [number for number in hello.protocol if number in PROTOCOLS]
        greeting = self.server.greeting
        if not common:
            raise Incompatible(
                f"This node (chorus-hap {greeting.version}) speaks control protocol {_numbers(PROTOCOLS)}; "
                f"{hello.client[:60] or 'the caller'} speaks {_numbers(hello.protocol)}.",
                "Stop the node and start it again with the version that you call it with.",
            )
        return Welcome(
            protocol=max(common), version=greeting.version, peer_id=greeting.peer_id, boot_id=greeting.boot_id
        )

    async def _take_calls(self, lines: LineReader, nursery: trio.Nursery) -> None:
        while (line := await self._next_line(lines)) is not None:
            call = await self._parse(line)
            if call is not None:
                await self._slots.acquire()
                nursery.start_soon(self._run_call, call)

    async def _next_line(self, lines: LineReader) -> bytes | None:
        """The next line that isn't too long; one that is gets an error, and costs no memory."""
        while True:
            try:
                return await lines.receive()
            except LineTooLong as exc:
                self.counters.bad_lines += 1
                found = _ID.search(exc.head)
                await self._fail(
                    msgspec.Raw(found[1]) if found else None,
                    TooLarge(
                        f"A call over the control socket may have {MAX_LINE_BYTES // 1024} KiB; this one had more.",
                        "Send less at once, or use the HTTP API for large bodies.",
                    ),
                )

    async def _parse(self, line: bytes) -> Call | None:
        try:
            call = msgspec.json.decode(line, type=Call)
            check_keys(line)
            return call
        except (msgspec.ValidationError, KeyTwice) as exc:
            code, why = INVALID_REQUEST, str(exc).split(". ")[0].rstrip(".")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            code, why = PARSE_ERROR, str(exc)
        self.counters.bad_lines += 1
        found = _ID.search(line[:300])
        error = InvalidInput(f"That line is no call: {why}.", "Send one JSON-RPC 2.0 request object a line.")
        await self._fail(msgspec.Raw(found[1]) if found else None, error, code)
        return None

    async def _run_call(self, call: Call) -> None:
        self.counters.calls += 1
        try:
            try:
                await self._answer(call.id, await self._result(call))
            except ChorusError as exc:
                self.counters.failed += 1
                await self._fail(call.id, exc)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the reading side notices too and ends the connection
        finally:
            self._slots.release()

    async def _result(self, call: Call) -> bytes:
        reader = self._reader
        assert reader is not None
        match call.method:
            case "subscribe":
                return _encode(reader.subscribe(_params(call, Slices).slices))
            case "unsubscribe":
                reader.unsubscribe(_params(call, Slices).slices)
                return b"{}"
            case _:
                return await self.server.dispatcher.call(call.method, call.params, self.caller)

    async def _send_events(self, reader: Reader) -> None:
        try:
            while True:
                for event in await reader.receive():
                    await self._send(_encode(Event(event)))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _answer(self, id: CallId, result: bytes) -> None:
        line = _encode(Answer(id, msgspec.Raw(result)))
        if len(line) >= MAX_LINE_BYTES:
            raise TooLarge(
                f"The answer has {len(line) // 1024} KiB; the control socket carries {MAX_LINE_BYTES // 1024} KiB.",
                "Ask for less at once, or use the HTTP API.",
            )
        await self._send(line)

    async def _fail(self, id: CallId | msgspec.Raw | None, error: ChorusError, code: int = 0) -> None:
        code = code or {"invalid_input": INVALID_PARAMS, NoOperation.code: METHOD_NOT_FOUND}.get(error.code, FAILED)
        await self._send(_encode(Failure(id, Problem(code, error.message, error.to_dict()))))

    async def _send(self, line: bytes) -> None:
        async with self._sending:
            await self.stream.send_all(line + b"\n")


def listen(path: Path) -> socket.socket:
    """A listening Unix socket, mode 0600; one left by a dead process is replaced. The home's lock is held by the caller.

    Raises:
        StoreError: something else is in the way, or the directory can't be written.
    """
    try:
        if path.is_symlink() or path.exists():
            found = path.lstat()
            if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
                raise StoreError(f"{path} is in the way of the control socket.", "Remove it.")
            path.unlink()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            sock.bind(os.fspath(path))
        except BaseException:
            sock.close()
            raise
        finally:
            os.umask(before)
        sock.listen(MAX_CONNECTIONS)
        sock.setblocking(False)
        return sock
    except OSError as exc:
        raise StoreError(
            f"The control socket {path} can't be made: {exc.strerror or exc}.", "Mend the directory's permissions."
        ) from exc


def peer_uid(sock: trio.socket.SocketType) -> int:
    """The user id of the process at the other end of a Unix socket (Linux ``SO_PEERCRED``, unix(7))."""
    size = struct.calcsize("3i")
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def _kind(text: str) -> SessionKind:
    try:
        return SessionKind(text)
    except ValueError:
        raise InvalidInput(
            f"There is no session kind {text[:40]!r}.", f"Use one of: {', '.join(SessionKind)}."
        ) from None


def _params(call: Call, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(call.params, type=kind)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise InvalidInput(f"The parameters of {call.method} can't be read: {exc}.") from exc


def _numbers(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers[:8])) or "none"
