"""The three standard streams: closed, full or left by their reader, they cost what was to go there, and nothing else.

Whoever writes — a command, a library's help text, the interpreter at its end — meets the same three answers: what can't be written
to stdout is a :class:`ChorusError` with exit status 1, a reader that has gone ends the program quietly, and narration on stderr is
given up without a word.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any

from agent_core.errors import ChorusError, InvalidInput

_NAMES = ("stdin", "stdout", "stderr")
#: The write end that a pipe's or socket's reader has left.
_LEFT = {errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN}


class ReaderGone(Exception):
    """Nobody reads stdout any more. Not an ``OSError``: Typer would take that for a failure."""


class OutputFailed(ChorusError):
    """Standard output can't be written: it is closed, or its disk is full."""

    code = "output"


class InputFailed(InvalidInput):
    """Standard input was asked for and can't be read: it is closed, or no file of that sort."""

    code = "input"


def mend() -> None:
    """Put guards around the standard streams of this process; to be called before anything else opens a file.

    A closed one gets a descriptor of its own that refuses what it is for (stderr: takes and forgets it), so that no store or socket is
    given its number and written to by accident.
    """
    for number, name in enumerate(_NAMES):
        if getattr(sys, name) is None:
            _hold(number)
    _replace("stdin", io.TextIOWrapper(io.BufferedReader(_Input(0, "rb", closefd=False)), encoding=_encoding("stdin")))
    for name, raw in (("stdout", _Output(1, "wb", closefd=False)), ("stderr", _Narration(2, "wb", closefd=False))):
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=_encoding(name),
            errors="backslashreplace",
            line_buffering=name == "stderr" or raw.isatty(),
        )
        _replace(name, stream)


def settle(status: int) -> int:
    """The exit status, once what is left to write is written.

    Args:
        status: what it is if that succeeds.
    """
    try:
        sys.stdout.flush()
    except ReaderGone:
        pass
    except ChorusError as exc:
        say(f"chorus-hap: {exc}")
        status = status or exc.exit_code
    sys.stderr.flush()
    return status


def say(text: str) -> None:
    """A line on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class _Output(io.FileIO):
    """Stdout's descriptor."""

    _dead = False

    def write(self, data: Any, /) -> int:
        while not self._dead:
            try:
                written = super().write(data)
            except OSError as exc:
                self._dead = True  # said once: what is flushed later is lost as well
                self._fail(exc)
                break
            if written is not None:
                return written
            poll = select.poll()  # somebody made it non-blocking, and its reader is slow
            poll.register(self.fileno(), select.POLLOUT)
            poll.poll()
        return len(memoryview(data).cast("B"))

    def _fail(self, exc: OSError) -> None:
        if exc.errno in _LEFT:
            raise ReaderGone from exc
        why = "it is closed" if exc.errno == errno.EBADF else exc.strerror or str(exc)
        raise OutputFailed(
            f"Standard output can't be written: {why}.",
            "What the command did is done; only what it had to say is lost.",
        ) from exc


class _Narration(_Output):
    """Stderr's descriptor: what can't be said there isn't said."""

    def _fail(self, exc: OSError) -> None:
        pass


class _Input(io.FileIO):
    """Stdin's descriptor."""

    def readinto(self, buffer: Any, /) -> int:
        try:
            return super().readinto(buffer) or 0
        except OSError as exc:
            raise _unreadable(exc) from exc

    def readall(self) -> bytes:
        try:
            return super().readall() or b""
        except OSError as exc:
            raise _unreadable(exc) from exc


def _unreadable(exc: OSError) -> InputFailed:
    why = "it is closed" if exc.errno == errno.EBADF else exc.strerror or str(exc)
    return InputFailed(f"Standard input can't be read: {why}.", "Pipe something in, or name it on the command line.")


def _hold(number: int) -> None:
    """Put something in the place of a closed descriptor."""
    way = (os.O_WRONLY, os.O_RDONLY, os.O_RDWR)[number]  # stdin can't be read then, nor stdout written
    try:
        os.fstat(number)
    except OSError:
        fd = os.open(os.devnull, way)
        if fd != number:
            os.dup2(fd, number)
            os.close(fd)


def _encoding(name: str) -> str:
    return getattr(getattr(sys, name), "encoding", None) or "utf-8"


def _replace(name: str, stream: io.TextIOWrapper) -> None:
    before = getattr(sys, name)
    if before is not None and name != "stdin":
        before.flush()
    setattr(sys, name, stream)
