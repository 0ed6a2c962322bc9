"""The js-libp2p node of ``tests/interop/js`` as tests drive it: told what to do a line at a time."""

from __future__ import annotations

import hashlib
import json
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.interop.tools import HERE, missing

JS = HERE / "js"


def install() -> None:
    """``npm ci``, when what is installed isn't what the lock says."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        missing("node.js, or npm,", "apt-get install nodejs npm")
    lock = hashlib.sha256((JS / "package-lock.json").read_bytes()).hexdigest()
    stamp = JS / "node_modules" / ".installed"
    if stamp.is_file() and stamp.read_text() == lock:
        return
    done = subprocess.run(["npm", "ci"], cwd=JS, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    stamp.write_text(lock)


class Failed(Exception):
    """The node says that it couldn't."""


class JsNode:
    """A node.js process that ends with the ``with`` block.

    Args:
        errors: the file for what it prints on stderr.
        network: the name that separates meshes.
        agent_id: what it calls itself.
    """

    def __init__(self, errors: Path, network: str = "chorus", agent_id: str = "agent-js") -> None:
        install()
        self._errors = errors
        with errors.open("wb") as stderr:
            self._process = subprocess.Popen(
                ["node", JS / "node.mjs", network, agent_id],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=JS,
            )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._asked = 0
        ready = self._line(30)
        self.peer_id: str = ready["ready"]
        self.addresses: list[str] = ready["addresses"]

    def __enter__(self) -> JsNode:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def ask(self, what: str, timeout_s: float = 30.0, **params: Any) -> Any:
        """Have it do something; gives what came of it.

        Raises:
            Failed: it couldn't, and says why.
        """
        self._asked += 1
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": self._asked, "do": what, **params}).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._line(timeout_s)
        assert answer["id"] == self._asked
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer["done"]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _line(self, timeout_s: float) -> Any:
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            line = b""
        if not line:
            raise AssertionError(f"the node said nothing; on stderr: {self._errors.read_text()[-2000:]}")
        return json.loads(line)
