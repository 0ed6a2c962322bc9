"""Control sockets that answer as no node should: never, a byte a second, or anything but the protocol."""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from agent_core.home import Home

#: What is sent on every connection and after every line, by sort; nothing for the silent ones.
GARBAGE = {
    "text": b"hello?\n",
    "bytes": b"\xff\xfe\x00\n" * 3,
    "no object": b"[]\n",
    "null": b"null\n",
    "another id": b'{"jsonrpc":"2.0","id":77,"result":{}}\n',
    "wrong result": b'{"jsonrpc":"2.0","id":1,"result":[1]}\n{"jsonrpc":"2.0","id":2,"result":[1]}\n',
    "wrong error": b'{"jsonrpc":"2.0","id":1,"error":{"code":"x","data":7}}\n',
    "deep": b"[" * 100_000 + b"\n",
    "events": b'{"jsonrpc":"2.0","method":"event","params":{"slice":1}}\n' * 3,
    "half a line": b'{"jsonrpc":"2.0","id":1,"resu',
}
SORTS = ("silent", "queue full", "drip", "flood", "greets only", "hangs up", *GARBAGE)


class MuteNode:
    """Listens on a home's control socket, in threads.

    Args:
        home: the home directory.
        sort: one of :data:`SORTS`.
        pid: whose process the home's file names.
    """

    def __init__(self, home: Path, sort: str, pid: int = 0) -> None:
        self.home = Home(home)
        self._sort, self._pid = sort, pid or os.getpid()
        self._held: list[socket.socket] = []
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> MuteNode:
        self.home.create()
        self._listener = socket.socket(socket.AF_UNIX)
        path = os.fspath(self.home.socket)
        self._listener.bind(path)
        self._listener.listen(0 if self._sort == "queue full" else 64)
        self.home.node_file.write_text(json.dumps({"pid": self._pid, "socket": path}))
        if self._sort == "queue full":
            for _ in range(3):
                waiting = socket.socket(socket.AF_UNIX)
                waiting.setblocking(False)
                with suppress(BlockingIOError):
                    waiting.connect(path)
                self._held.append(waiting)
        elif self._sort != "silent":
            self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for held in (*self._held, self._listener):
            with suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
            held.close()
        for thread in self._threads:
            thread.join(5)
        self.home.socket.unlink(missing_ok=True)
        self.home.node_file.unlink(missing_ok=True)

    def _spawn(self, run: object, *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._held.append(connection)
            self._spawn(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._sort == "hangs up":
                connection.recv(1)
                connection.shutdown(socket.SHUT_RDWR)
            elif self._sort in ("drip", "flood"):
                while not self._over.wait(0.02 if self._sort == "drip" else 0):
                    connection.sendall(b" " if self._sort == "drip" else b" " * 64)
            elif self._sort == "greets only":
                connection.recv(1 << 16)
                hello = {"protocol": 1, "version": "0", "peer_id": "me", "boot_id": "b"}
                connection.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "result": hello}).encode() + b"\n")
            else:
                while connection.recv(1 << 16):
                    connection.sendall(GARBAGE[self._sort])
