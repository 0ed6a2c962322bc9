"""A real terminal for tests: a program in a pty, its screen read through pyte."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import pyte

KEYS = {
    "enter": "\r", "esc": "\x1b", "tab": "\t", "up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D", "space": " ",
    "ctrl+s": "\x13", "ctrl+q": "\x11", "ctrl+b": "\x02", "ctrl+k": "\x0b", "backspace": "\x7f",
}  # fmt: skip


class Terminal:
    """One program in a terminal of its own; ended when the ``with`` block is left, however it is left.

    Args:
        words: the command line.
        columns, rows: the terminal's size in cells.
        environ: more environment.
    """

    def __init__(
        self, words: Sequence[str], columns: int = 80, rows: int = 24, environ: Mapping[str, str] | None = None
    ) -> None:
        self.columns, self.rows = columns, rows
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        env = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLUMNS": str(columns),
            "LINES": str(rows),
            "TEXTUAL_ANIMATIONS": "none",
            "LANG": "C.UTF-8",
        }
        env.pop("NO_COLOR", None)
        env.update(environ or {})

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, env=env, preexec_fn=own_terminal, close_fds=True
        )
        os.close(slave)
        self._master = master
        self.written = 0  #: bytes so far

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def pump(self, for_s: float = 0.05) -> None:
        """Take what the program writes, for at most so long."""
        end = time.monotonic() + for_s
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([self._master], [], [], left)
            if not ready:
                return
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            if not data:
                return
            self.written += len(data)
            self._stream.feed(data)

    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(self._screen.display)

    def wait_for(self, text: str, timeout_s: float = 20.0) -> str:
        """Until this text is on the screen; returns the screen.

        Raises:
            AssertionError: it never was; the screen is in the message.
        """
        return self.wait(lambda screen: text in screen, f"{text!r} is not on the screen", timeout_s)

    def wait(self, condition: Callable[[str], bool], what: str, timeout_s: float = 20.0) -> str:
        """Until the condition holds for the screen's text; returns it."""
        end = time.monotonic() + timeout_s
        while not condition(self.text()):
            if time.monotonic() > end or self.process.poll() is not None:
                self.pump(0.2)
                if condition(self.text()):
                    break
                ended = self.process.poll()
                raise AssertionError(f"{what}{f' (ended with {ended})' if ended is not None else ''}:\n{self.text()}")
            self.pump(0.05)
        return self.text()

    def press(self, *keys: str) -> None:
        """Press keys; a key without a name is typed as it is."""
        for key in keys:
            os.write(self._master, KEYS.get(key, key).encode())
            self.pump(0.08)

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._master, text.encode())
        self.pump(0.1)

    def end(self, timeout_s: float = 10.0) -> int:
        """End the program and wait for it; returns its exit status."""
        if self._master >= 0:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGHUP)
            end = time.monotonic() + timeout_s
            while self.process.poll() is None and time.monotonic() < end:
                self.pump(0.05)
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            os.close(self._master)
            self._master = -1
        return self.process.returncode
