"""A mesh to try things on: three daemons in temporary homes and a console on them, gone at exit."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent_core.errors import ChorusError, TimedOut
from chorus_hap.link import connect
from chorus_hap.program import Here

NAMES = ("agent-a", "agent-b", "agent-c")
#: Quicker than the defaults, so that an election can be watched without waiting.
TIMINGS = ("election.heartbeat_s=0.5", "election.timeout_s=1.5", "election.stability_s=5", "cluster.discovery_s=2")


class Daemon:
    """One ``chorus-hap --daemon`` process in a home of its own.

    Args:
        home: its home; made if it isn't there.
        name: its agent id.
        settings: ``section.key=value`` each.
        bootstrap: a full multiaddr of the cluster to join; empty to found one, None to look for one as the settings say.
        prefix: words put before the command, such as those that run it in another network namespace.
    """

    def __init__(
        self, home: Path, name: str, settings: Sequence[str], bootstrap: str | None = "", prefix: Sequence[str] = ()
    ) -> None:
        self.home = home
        self.name = name
        words = [*prefix, sys.executable, "-m", "chorus_hap", "--daemon", "--home", str(home), "--agent-id", name]
        ports = ("p2p.port=0", "api.port=0", "health.port=0", "metrics.port=0")
        for setting in (*ports, *settings):
            words += ["--set", setting]
        if bootstrap is not None:
            words += ["--bootstrap", bootstrap] if bootstrap else ["--found"]
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._output = (home / "daemon.out").open("wb")
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output, start_new_session=True
        )

    def call(self, method: str, **params: Any) -> Any:
        """One operation on this daemon's control socket."""
        with connect(self.home, start=False) as link:
            return link.call(method, **params)

    def wait(self, condition: str, timeout_s: float = 30.0) -> dict[str, object]:
        """The daemon's status, once its ``condition`` key is true or not empty.

        Raises:
            TimedOut: it never was; the last lines the daemon printed are in the message.
        """
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                status = self.call("status")
            except ChorusError:
                status = {}
            if isinstance(status, dict) and status.get(condition):
                return status
            time.sleep(0.05)
        printed = (self.home / "daemon.out").read_text("utf-8", "replace")[-600:]
        raise TimedOut(f"{self.name} didn't get as far as {condition!r} in {timeout_s:g} s. It printed: {printed}")

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 10.0) -> None:
        """End the process and wait for it."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._output.close()


@contextmanager
def mesh(root: Path, names: Sequence[str] = NAMES, settings: Sequence[str] = TIMINGS) -> Iterator[list[Daemon]]:
    """Daemons that know one another and have a leader; all ended on the way out.

    Args:
        root: where their homes go.
        names: one daemon each; the first founds the cluster.
        settings: ``section.key=value`` for all of them.
    """
    daemons: list[Daemon] = []
    try:
        daemons.append(Daemon(root / names[0], names[0], settings))
        first = daemons[0].wait("addresses")
        addresses = first["addresses"]
        assert isinstance(addresses, list)
        for name in names[1:]:
            daemons.append(Daemon(root / name, name, settings, bootstrap=str(addresses[0])))
        for daemon in daemons:
            daemon.wait("leader")
        yield daemons
    finally:
        for daemon in daemons:
            daemon.end()


def _root() -> Path:
    """Where the homes go: a name that the README can print, or another one while that is in use."""
    root = Path(tempfile.gettempdir()) / "chorus-tour"
    try:
        root.mkdir(mode=0o700)
    except FileExistsError:
        return Path(tempfile.mkdtemp(prefix="chorus-tour-"))
    return root


def main() -> int:
    """Run the tour's mesh with a console on the first daemon; returns the exit status."""
    root = _root()
    print("Starting three daemons …", flush=True)
    try:
        with mesh(root) as daemons:
            print("In another terminal, speak as the others:")
            for daemon in daemons[1:]:
                print(f"  {Here(daemon.home).command(' status')}")
            words = [sys.executable, "-m", "chorus_hap", "--kind", "human", "--home", str(root / "you")]
            words += ["--set", "p2p.port=0", "--bootstrap", str(daemons[0].wait("addresses")["addresses"][0])]  # type: ignore[index]
            for setting in TIMINGS:
                words += ["--set", setting]
            return subprocess.call(words)
    except ChorusError as exc:
        print(f"chorus-hap: {Here()(str(exc))}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
