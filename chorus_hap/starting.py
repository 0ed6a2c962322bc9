"""The node of a home, from outside: finds the one that runs, starts an owned one (SPEC section 0)."""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent_core.errors import ChorusError, HomeInUse, NoNode, StoreError, TimedOut, by_code
from agent_core.home import Home
from agent_core.strict_json import UNREADABLE
from agent_core.system import open_files_of, state_of
from chorus_hap.patience import Patience

if TYPE_CHECKING:
    from subprocess import Popen

#: How long a node may take to start: importing libp2p alone takes seconds on a busy machine.
START_TIMEOUT_S = 30.0
#: How long a node that hung up may take to end, seconds.
TELLING_S = 5.0
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


def find(home: Home, patience: Patience | None = None) -> socket.socket | None:
    """A connection to the control socket of the node that runs on this home, or nothing when none does.

    What a dead process left behind (``node.json``, its socket) is cleared away.

    Args:
        home: the home.
        patience: how long to wait for a node that takes no connections because too many wait already; none without it.

    Raises:
        TimedOut: a node is there, and takes no connection.
        NoNode: a node is there but belongs to another user, or its files can't be read.
    """
    try:
        node = msgspec.json.decode(home.node_file.read_bytes(), type=NodeFile)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as exc:
        raise NoNode(f"The home {home.root} belongs to somebody else.", "Name your own with --home.") from exc
    except (OSError, *UNREADABLE):
        return None  # being written, or damaged: the lock decides whether a node runs
    path = Path(node.socket) if node.socket else home.socket
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _connect(connection, path, patience or Patience(0))
        if _uid_of(connection) != os.getuid():
            raise PermissionError
        return connection
    except PermissionError as exc:
        connection.close()
        raise NoNode(
            f"The node of {home.root} runs as another user.", "Use its user's account, or another home."
        ) from exc
    except BlockingIOError as exc:
        connection.close()
        why, advice = why_silent(home)
        raise TimedOut(why or f"The node of {home.root} takes no connection: too many wait already.", advice) from exc
    except OSError:
        connection.close()
        if not _alive(node.pid):
            with suppress(OSError):  # where nothing can be cleared away, such as a read-only mount, it stays
                home.node_file.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
        return None


def _connect(connection: socket.socket, path: Path, patience: Patience) -> None:
    """Connect, without waiting for ever where a node that is stopped has its queue full (``EAGAIN``, unix(7))."""
    connection.setblocking(False)
    while True:
        try:
            connection.connect(os.fspath(path))
            break
        except BlockingIOError:
            if patience.left_s() <= 0:
                raise
            time.sleep(_POLL_S)
    connection.setblocking(True)


def why_silent(home: Home) -> tuple[str, str]:
    """Why the node of a home may not answer, by what the kernel says of its process, and what to do; empty if it doesn't say."""
    try:
        node = msgspec.json.decode(home.node_file.read_bytes(), type=NodeFile)
    except (OSError, msgspec.MsgspecError):
        return "", ""
    if state_of(node.pid) in ("T", "t"):
        return f"The node of {home.root} is stopped (process {node.pid}).", f"`kill -CONT {node.pid}` lets it go on."
    files = open_files_of(node.pid)
    if files.short:
        return (
            f"The node of {home.root} (process {node.pid}) has {files.used} files open and may open {files.limit}.",
            "Raise the limit (`ulimit -n`, LimitNOFILE= of a systemd unit) and start it again.",
        )
    return "", ""


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
        try:
            found = find(self.home)
        except TimedOut:
            return None  # so many ask at once: its turn comes
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

    def told(self, timeout_s: float = TELLING_S) -> ChorusError | None:
        """Why the node could not start, when it hung up and says so: it answers before it has opened its store.

        Args:
            timeout_s: longest wait for the process to end, in seconds.

        Returns:
            its own sentence; nothing if it ended well, crashed, or goes on.
        """
        import subprocess

        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        error = self._failure(status) if status else None
        return None if error is None or type(error) in (ChorusError, NoNode) else error

    def let_go(self) -> None:
        """Forget the process: it lives on its own now, ends by itself, and needs no reaping by us."""
        if self._process.poll() is None:
            self._process.returncode = 0  # else Popen warns of a child that still runs

    def _failure(self, status: int) -> ChorusError:
        try:
            told = msgspec.json.decode(self.home.failure.read_bytes(), type=dict[str, str])
        except (OSError, *UNREADABLE):
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
