"""The bridge to a node: attaches to the one of a home and speaks the control protocol (SPEC sections 0 and 15).

This is the synchronous client, for commands; :mod:`chorus_hap.link_async` is the console's. Both find and start a node by
:mod:`chorus_hap.starting` and share the lines of :mod:`chorus_hap.jsonrpc`.
"""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from agent_core.errors import ChorusError, NoNode, TimedOut, Unavailable
from agent_core.home import Home
from agent_core.shapes import STREAM_SLICES, SliceEvent
from agent_core.system import expand
from chorus_hap.jsonrpc import (
    MAX_LINE_BYTES,
    Reply,
    Welcome,
    decode_line,
    encode_call,
    event_of,
    failure_of,
    hello_params,
)
from chorus_hap.patience import Patience
from chorus_hap.starting import START_TIMEOUT_S, TELLING_S, Starting, find

__all__ = ["CALL_TIMEOUT_S", "Link", "Starting", "connect", "find"]

T = TypeVar("T")

#: How long an answer may take, beyond what the operation itself was told to wait.
CALL_TIMEOUT_S = 30.0


class Link:
    """One control connection. While it is open, an owned node stays.

    Args:
        connection: a connected Unix socket.
        client: this program's name and version, for the node's log.
        kind: ``command``, ``console`` or ``mcp``.
        read_only: ask the node to refuse every changing operation on this connection.
        starting: the node this face started, if it did.
        patience: how long it waits for the node, from the first word on; :data:`CALL_TIMEOUT_S` for each call without it.

    Raises:
        TimedOut: the node doesn't greet in time.
        ChorusError: the node refuses; with no common protocol its sentence names both versions.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        client: str = "chorus-hap",
        kind: str = "command",
        read_only: bool = False,
        starting: Starting | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._socket = connection
        self._starting = starting
        self.patience = patience or Patience(CALL_TIMEOUT_S, each=True)
        self._buffer = bytearray()
        self._numbers = itertools.count(1)
        self._events: deque[SliceEvent] = deque()
        try:
            self.welcome = self.ask(Welcome, "hello", **hello_params(client, kind, read_only))
        except BaseException:
            self.close()
            raise

    @property
    def started(self) -> bool:
        """Whether the node was started for this link."""
        return self._starting is not None

    def call(self, method: str, /, *, timeout_s: float | None = None, **params: Any) -> Any:
        """Call an operation; its answer as plain data.

        Args:
            method: the operation's name, as ``hmmm.post``.
            timeout_s: longest wait, in seconds; what is left of the patience without it.
            params: its parameters, shapes or plain data.

        Raises:
            TimedOut: no answer in time; the operation may still take effect.
            ChorusError: the node refuses, or is gone.
        """
        return msgspec.json.decode(self._call(method, params, timeout_s))

    def ask(self, kind: type[T], method: str, /, *, timeout_s: float | None = None, **params: Any) -> T:
        """:meth:`call`, with the answer as the given type (a shape, or a tuple of them)."""
        raw = self._call(method, params, timeout_s)
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.ValidationError as exc:
            raise Unavailable(
                f"The node's answer to {method} can't be read: {exc}.", "Use a command and node of the same version."
            ) from exc

    def subscribe(self, *slices: str) -> Iterator[SliceEvent]:
        """Watch slices: first each one's snapshot as an event, then every change, for ever.

        Raises:
            ChorusError: the node refuses, or goes away.
        """
        answer = msgspec.json.decode(
            self._call("subscribe", {"slices": slices}, None), type=dict[str, dict[str, msgspec.Raw]]
        )
        self.patience.renew()
        for name in slices:
            yield _snapshot(name, answer.get(name, {}))
        while True:
            while self._events:
                yield self._events.popleft()
            self._take(self._line(None))

    def _readable(self, timeout_s: float | None) -> bool:
        poll = select.poll()  # select() can't take descriptors over 1023
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else max(1, round(timeout_s * 1000))))

    def close(self) -> None:
        """Hang up; never raises."""
        self._socket.close()
        if self._starting is not None:
            self._starting.let_go()

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, params: dict[str, Any], timeout_s: float | None) -> msgspec.Raw:
        number = next(self._numbers)
        said_s = self.patience.total_s if timeout_s is None else timeout_s
        end = time.monotonic() + (self.patience.left_s() if timeout_s is None else timeout_s)
        try:
            self._socket.settimeout(max(0.001, end - time.monotonic()))  # 0 would mean something else
            self._socket.sendall(encode_call(number, method, params))
        except TimeoutError as exc:
            raise _silent(method, said_s) from exc
        except OSError as exc:
            raise self._gone() from exc
        while True:
            left = end - time.monotonic()
            line = self._line(left) if left > 0 else None
            if line is None:
                raise _silent(method, said_s)
            reply = self._take(line)
            if reply is not None and (reply.id == number or (reply.id is None and reply.error)):
                if reply.error:
                    raise failure_of(reply.error)
                return reply.result

    def _gone(self) -> ChorusError:
        told = None
        if self._starting is not None:
            told = self._starting.told(min(TELLING_S, self.patience.left_s()))
        return told or NoNode(
            "The node ended while it was asked.", "Run the command again; `chorus-hap log tail` shows what was kept."
        )

    def _take(self, line: bytes | None) -> Reply | None:
        """An answer; events are put by for :meth:`subscribe`."""
        if line is None:
            return None
        reply = decode_line(line)
        if not reply.method:
            return reply
        event = event_of(reply)
        if event is not None:
            self._events.append(event)
        return None

    def _line(self, timeout_s: float | None) -> bytes | None:
        """The next line, or nothing when none came in time; no timeout waits for ever."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        searched = 0
        while True:
            at = self._buffer.find(b"\n", searched)
            if at >= 0:
                line = bytes(self._buffer[:at])
                del self._buffer[: at + 1]
                return line
            searched = len(self._buffer)
            if searched > MAX_LINE_BYTES:
                raise Unavailable("The node's answer is too long.", "Ask for less at a time.")
            left = None if end is None else end - time.monotonic()
            # A node that sends a little all the time would be waited for without end, so time is looked at first.
            if (left is not None and left <= 0) or not self._readable(left):
                return None
            try:
                chunk = self._socket.recv(256 * 1024)
            except OSError as exc:
                raise self._gone() from exc
            if not chunk:
                raise self._gone()
            self._buffer += chunk


def connect(
    home: Path | str,
    *,
    start: bool = False,
    flags: Sequence[str] = (),
    kind: str = "command",
    read_only: bool = False,
    timeout_s: float = START_TIMEOUT_S,
    patience: Patience | None = None,
) -> Link:
    """Attach to the node of a home, starting an owned one if asked to.

    Args:
        home: the home directory.
        start: whether to start a node when none runs.
        flags: further words for the command line of a node that is started.
        kind: what attaches, as in :class:`Link`.
        read_only: as in :class:`Link`.
        timeout_s: longest wait until the node has greeted, in seconds.
        patience: the same, and for every later call: what is left of it.

    Raises:
        TimedOut: a node runs, or was started, and doesn't answer.
        NoNode: none runs and none was to be started.
        ChorusError: it can't be started, or refuses.
    """
    place = Home(expand(home))
    waiting = patience or Patience(timeout_s)
    connection = find(place, waiting)
    starting = None
    if connection is None:
        if not start:
            raise NoNode(f"No node runs on {place.root}.", "Start one with `chorus-hap --daemon`, or open the console.")
        starting = Starting(place, flags)
        try:
            connection = starting.wait(waiting.left_s())
        except BaseException:
            starting.let_go()
            raise
    link = Link(connection, kind=kind, read_only=read_only, starting=starting, patience=waiting)
    if patience is None:
        link.patience = Patience(CALL_TIMEOUT_S, each=True)
    return link


def _snapshot(name: str, answer: dict[str, msgspec.Raw]) -> SliceEvent:
    rev = msgspec.json.decode(answer.get("rev", msgspec.Raw(b"0")), type=int)
    if name in STREAM_SLICES:
        items = msgspec.json.decode(answer.get("items", msgspec.Raw(b"[]")), type=tuple[msgspec.Raw, ...])
        dropped = msgspec.json.decode(answer.get("dropped", msgspec.Raw(b"0")), type=int)
        return SliceEvent(slice=name, rev=rev, items=items, dropped=dropped)
    return SliceEvent(slice=name, rev=rev, value=answer.get("value"))


def _silent(method: str, timeout_s: float) -> TimedOut:
    return TimedOut(
        f"The node didn't answer {method} within {timeout_s:g} s.", "Try again; `chorus-hap doctor` looks why."
    )
