"""The bridge to a node: finds or starts the one of this home and speaks the control protocol (SPEC sections 0 and 15).

This is the synchronous client, for commands; :mod:`chorus_hap.link_async` is the console's. Both find and start a node by
:func:`find` and :class:`Starting`.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from agent_core.errors import ChorusError, HomeInUse, NoNode, StoreError, TimedOut, Unavailable, by_code
from agent_core.home import Home
from agent_core.shapes import STREAM_SLICES, SliceEvent

if TYPE_CHECKING:
    from subprocess import Popen

T = TypeVar("T")

#: Versions of the control protocol that this program speaks.
PROTOCOLS = (1,)
#: How long a node may take to start: importing libp2p alone takes seconds on a busy machine.
START_TIMEOUT_S = 30.0
#: How long an answer may take, beyond what the operation itself was told to wait.
CALL_TIMEOUT_S = 30.0
#: An answer longer than this isn't one.
MAX_LINE_BYTES = 64 * 1024 * 1024
_POLL_S = 0.02


class NodeFile(msgspec.Struct, frozen=True):
    """``run/node.json``: what a node says of itself while it runs."""

    pid: int
    socket: str
    version: str = ""
    mode: str = ""
    start_time: Any = None
    ports: dict[str, int] = {}
    log: str = ""


class Welcome(msgspec.Struct, frozen=True):
    """The node's answer to ``hello``. Another ``boot_id`` means another process."""

    protocol: int
    version: str
    peer_id: str
    boot_id: str


# --- the codec --------------------------------------------------------------------------------------------------------


class Reply(msgspec.Struct, frozen=True):
    """One line from the node: the answer to a call, or an event (``method`` is set)."""

    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: dict[str, Any] | None = None
    method: str = ""
    params: msgspec.Raw = msgspec.Raw(b"null")


class _Event(msgspec.Struct, frozen=True):
    """:class:`SliceEvent` as it is read: msgspec decodes no optional raw value."""

    slice: str
    rev: int
    value: msgspec.Raw = msgspec.Raw(b"null")
    items: tuple[msgspec.Raw, ...] = ()
    dropped: int = 0


_decode_reply = msgspec.json.Decoder(Reply).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def encode_call(number: int, method: str, params: dict[str, Any]) -> bytes:
    """One JSON-RPC 2.0 request line."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + b"\n"


def decode_line(line: bytes) -> Reply:
    """One line from the node.

    Raises:
        Unavailable: it isn't JSON-RPC.
    """
    try:
        return _decode_reply(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise Unavailable(
            f"The node's answer isn't the control protocol: {exc}.", "Use a console and node of the same version."
        ) from exc


def event_of(reply: Reply) -> SliceEvent | None:
    """The slice event in a notification; nothing for those this version doesn't know."""
    if reply.method != "event":
        return None
    try:
        event = _decode_event(reply.params)
    except msgspec.MsgspecError:
        return None
    value = None if bytes(event.value) == b"null" else event.value
    return SliceEvent(slice=event.slice, rev=event.rev, value=value, items=event.items, dropped=event.dropped)


def failure_of(error: dict[str, Any]) -> ChorusError:
    """The exception that a JSON-RPC error stands for."""
    data = error.get("data")
    told: dict[str, Any] = data if isinstance(data, dict) else {}
    message = str(told.get("message") or error.get("message") or "The node refused without a reason.")
    return by_code(str(told.get("code", "failed")))(message, str(told.get("next", "")))


def hello_params(client: str, kind: str, read_only: bool) -> dict[str, Any]:
    """The parameters of the first call."""
    return {"protocol": PROTOCOLS, "client": client, "session_kind": kind, "read_only": read_only}


# --- finding and starting ---------------------------------------------------------------------------------------------


def find(home: Home) -> socket.socket | None:
    """A connection to the control socket of the node that runs on this home, or nothing when none does.

    What a dead process left behind (``node.json``, its socket) is cleared away.

    Raises:
        NoNode: a node is there but belongs to another user, or its files can't be read.
    """
    try:
        node = msgspec.json.decode(home.node_file.read_bytes(), type=NodeFile)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as exc:
        raise NoNode(f"The home {home.root} belongs to somebody else.", "Name your own with --home.") from exc
    except (OSError, msgspec.MsgspecError):
        return None  # being written, or damaged: the lock decides whether a node runs
    path = Path(node.socket) if node.socket else home.socket
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(os.fspath(path))
        if _uid_of(connection) != os.getuid():
            raise PermissionError
        return connection
    except PermissionError as exc:
        connection.close()
        raise NoNode(
            f"The node of {home.root} runs as another user.", "Use its user's account, or another home."
        ) from exc
    except OSError:
        connection.close()
        if not _alive(node.pid):
            home.node_file.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        return None


def _uid_of(connection: socket.socket) -> int:
    """The user at the other end: a socket in a shared directory may be anybody's."""
    uid: int = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    return uid


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


class Starting:
    """An owned node being started: a process of its own session that no terminal signal reaches.

    Starters race safely: the node takes the home's lock first, the loser exits with the status of :class:`HomeInUse`, and
    its starter attaches to the winner.

    Args:
        home: the home it is for.
        flags: further words for its command line, as :meth:`chorus_hap.flags.Launch.argv` gives them without ``--home``.

    Raises:
        StoreError: the home can't be written.
    """

    def __init__(self, home: Home, flags: Sequence[str] = ()) -> None:
        import subprocess

        self.home = home
        home.create()
        home.failure.unlink(missing_ok=True)
        root = home.root.absolute()
        # -P: the working directory must not become a place that modules are imported from.
        words = [sys.executable, "-P", "-m", "chorus_hap", "--daemon", "--owned", "--home", str(root), *flags]
        try:
            self._output_from = home.output.stat().st_size if home.output.exists() else 0
            with home.output.open("ab") as output:
                self._process: Popen[bytes] = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd=root
                )
        except OSError as exc:
            raise StoreError(
                f"A node can't be started on {root}: {exc.strerror or exc}.", "Free space or mend its permissions."
            ) from exc

    @property
    def pid(self) -> int:
        """The process started; the node's own unless another starter won."""
        return self._process.pid

    def check(self) -> socket.socket | None:
        """A connection once the node answers, nothing while it is still starting.

        Raises:
            ChorusError: the node could not start; its own sentence.
        """
        found = find(self.home)
        if found is not None:
            return found
        status = self._process.poll()
        if status is None or status == HomeInUse.exit_code:
            return None
        # It may have come up, been used and gone between the two looks; then nothing failed, but it isn't there either.
        raise self._failure(status)

    def wait(self, timeout_s: float = START_TIMEOUT_S) -> socket.socket:
        """A connection as soon as the node answers.

        Raises:
            TimedOut: it didn't in time.
            ChorusError: it could not start.
        """
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = self.check()
            if found is not None:
                return found
            time.sleep(_POLL_S)
        raise TimedOut(
            f"The node of {self.home.root} didn't answer within {timeout_s:g} s.",
            f"It may still be starting; {self.home.output} holds what it said.",
        )

    def poll(self) -> int | None:
        """The exit status of the process, nothing while it runs; reaps it."""
        return self._process.poll()

    def let_go(self) -> None:
        """Forget the process: it lives on its own now, ends by itself, and needs no reaping by us."""
        if self._process.poll() is None:
            self._process.returncode = 0  # else Popen warns of a child that still runs

    def _failure(self, status: int) -> ChorusError:
        try:
            told = msgspec.json.decode(self.home.failure.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.MsgspecError):
            how = f"signal {-status}" if status < 0 else f"status {status}"
            said = self._last_words()
            return NoNode(
                f"The node of {self.home.root} ended with {how} before it answered" + (f": {said}" if said else "."),
                f"{self.home.output} holds all that it said.",
            )
        error = by_code(told.get("code", "no_node"))
        return error(told.get("message", "The node could not start."), told.get("next", ""))

    def _last_words(self) -> str:
        try:
            with self.home.output.open("rb") as output:
                output.seek(self._output_from)
                lines = output.read(64 * 1024).decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].strip()[:300] if lines else ""


# --- the synchronous client -------------------------------------------------------------------------------------------


class Link:
    """One control connection. While it is open, an owned node stays.

    Args:
        connection: a connected Unix socket.
        client: this program's name and version, for the node's log.
        kind: ``command``, ``console`` or ``mcp``.
        read_only: ask the node to refuse every changing operation on this connection.
        starting: the node this face started, if it did.

    Raises:
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
    ) -> None:
        self._socket = connection
        self._starting = starting
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

    def call(self, method: str, /, *, timeout_s: float = CALL_TIMEOUT_S, **params: Any) -> Any:
        """Call an operation; its answer as plain data.

        Args:
            method: the operation's name, as ``hmmm.post``.
            timeout_s: longest wait, in seconds.
            params: its parameters, shapes or plain data.

        Raises:
            TimedOut: no answer in time; the operation may still take effect.
            ChorusError: the node refuses, or is gone.
        """
        return msgspec.json.decode(self._call(method, params, timeout_s))

    def ask(self, kind: type[T], method: str, /, *, timeout_s: float = CALL_TIMEOUT_S, **params: Any) -> T:
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
            self._call("subscribe", {"slices": slices}, CALL_TIMEOUT_S), type=dict[str, dict[str, msgspec.Raw]]
        )
        for name in slices:
            yield _snapshot(name, answer.get(name, {}))
        while True:
            while self._events:
                yield self._events.popleft()
            self._take(self._line(None))

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

    def _call(self, method: str, params: dict[str, Any], timeout_s: float) -> msgspec.Raw:
        number = next(self._numbers)
        end = time.monotonic() + timeout_s
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(encode_call(number, method, params))
        except TimeoutError as exc:
            raise _silent(method, timeout_s) from exc
        except OSError as exc:
            raise _gone() from exc
        while True:
            left = end - time.monotonic()
            line = self._line(left) if left > 0 else None
            if line is None:
                raise _silent(method, timeout_s)
            reply = self._take(line)
            if reply is not None and (reply.id == number or (reply.id is None and reply.error)):
                if reply.error:
                    raise failure_of(reply.error)
                return reply.result

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
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([self._socket], [], [], left)[0]:
                return None
            try:
                chunk = self._socket.recv(256 * 1024)
            except OSError as exc:
                raise _gone() from exc
            if not chunk:
                raise _gone()
            self._buffer += chunk


def connect(
    home: Path | str,
    *,
    start: bool = False,
    flags: Sequence[str] = (),
    kind: str = "command",
    read_only: bool = False,
    timeout_s: float = START_TIMEOUT_S,
) -> Link:
    """Attach to the node of a home, starting an owned one if asked to.

    Args:
        home: the home directory.
        start: whether to start a node when none runs.
        flags: further words for the command line of a node that is started.
        kind: what attaches, as in :class:`Link`.
        read_only: as in :class:`Link`.
        timeout_s: longest wait for a node that is started, in seconds.

    Raises:
        NoNode: none runs and none was to be started.
        ChorusError: it can't be started, or refuses.
    """
    place = Home(Path(home).expanduser())
    connection = find(place)
    starting = None
    if connection is None:
        if not start:
            raise NoNode(f"No node runs on {place.root}.", "Start one with `chorus-hap --daemon`, or open the console.")
        starting = Starting(place, flags)
        try:
            connection = starting.wait(timeout_s)
        except BaseException:
            starting.let_go()
            raise
    return Link(connection, kind=kind, read_only=read_only, starting=starting)


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


def _gone() -> NoNode:
    return NoNode(
        "The node ended while it was asked.", "Run the command again; `chorus-hap log tail` shows what was kept."
    )
