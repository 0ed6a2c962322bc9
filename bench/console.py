"""What a console writes to its terminal that has nothing to show: bytes a second and CPU, pane by pane. Prints JSON.

A console on a mesh of three idle nodes, in a pseudo-terminal of its own, 120 columns by 36 rows. Run: ``python -m bench.console [--seconds N]``.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Any

import psutil

from chorus_hap.actions import PANES
from chorus_hap.tour import TIMINGS, mesh

COLUMNS, ROWS = 120, 36
#: How long a pane is left alone after it was opened, and how long it is watched, seconds.
SETTLE_S, SECONDS = 3.0, 10.0
#: What an idle pane may write, bytes a second.
BUDGET = 2000


class Screen:
    """A console in a pseudo-terminal; what it writes is counted and thrown away."""

    def __init__(self, words: list[str], columns: int = COLUMNS, rows: int = ROWS) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        environ |= {"COLUMNS": str(columns), "LINES": str(rows)}
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, env=environ, start_new_session=True
        )
        os.close(slave)
        self.recent = b""

    def read(self, for_s: float) -> int:
        """Take what is written for so long; returns how many bytes that were."""
        count, end = 0, time.monotonic() + for_s
        while (left := end - time.monotonic()) > 0:
            if select.select([self._master], [], [], left)[0]:
                data = os.read(self._master, 65536)
                count += len(data)
                self.recent = (self.recent + data)[-65536:]
        return count

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def wait_for(self, text: str, timeout_s: float = 60) -> None:
        """Until this text was written.

        Raises:
            TimeoutError: it never was.
        """
        end = time.monotonic() + timeout_s
        while text.encode() not in self.recent:
            if time.monotonic() > end:
                raise TimeoutError(f"the console never wrote {text!r}")
            self.read(0.1)

    def end(self) -> None:
        """End the console and its node."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGHUP)
            end = time.monotonic() + 10
            while self.process.poll() is None and time.monotonic() < end:
                try:
                    self.read(0.1)
                except OSError:
                    time.sleep(0.05)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)


@contextmanager
def console(home: Path, address: str) -> Iterator[Screen]:
    """A console with a node of its own that has joined the mesh at this address, past its first run."""
    words = [sys.executable, "-m", "chorus_hap", "--home", str(home), "--bootstrap", address]
    for setting in ("p2p.port=0", *TIMINGS):
        words += ["--set", setting]
    screen = Screen(words)
    try:
        screen.wait_for("Welcome")
        screen.press("\r")
        screen.wait_for("reachable")
        yield screen
    finally:
        screen.end()


def idle(screen: Screen, settle_s: float = SETTLE_S, seconds: float = SECONDS) -> dict[str, dict[str, float]]:
    """Bytes a second and CPU in percent of one core for each pane that there is, nothing being done."""
    process = psutil.Process(screen.process.pid)
    found = {}
    for key, pane, _ in PANES:
        screen.press(key)
        screen.read(settle_s)
        used, began = sum(process.cpu_times()[:2]), time.monotonic()
        count = screen.read(seconds)
        span = time.monotonic() - began
        found[pane] = {
            "bytes_per_s": round(count / span),
            "cpu_percent": round(100 * (sum(process.cpu_times()[:2]) - used) / span, 1),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each pane is watched")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chorus-console-") as root, mesh(Path(root)) as daemons:
        first: Any = daemons[0].wait("addresses")
        with console(Path(root) / "console", str(first["addresses"][0])) as screen:
            screen.read(8.0)
            panes = idle(screen, seconds=given.seconds)
    result = {"columns": COLUMNS, "rows": ROWS, "budget_bytes_per_s": BUDGET, "panes": panes}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
