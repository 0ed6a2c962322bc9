"""A control socket with scripted answers, for tests of the faces without a node."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from agent_core.errors import ChorusError, NotFound
from agent_core.home import Home

Answer = Callable[[dict[str, Any]], Any]


class FakeNode:
    """Listens on a home's control socket in a thread; answers are values or functions of the parameters.

    Args:
        home: the home directory; made if it isn't there.
        answers: method to answer. ``hello`` has one already.
        events: pushed to a connection right behind its answer to ``subscribe``, then the connection stays open.
    """

    def __init__(
        self, home: Path, answers: dict[str, Answer | Any] | None = None, events: list[Any] | None = None
    ) -> None:
        self.home = Home(home)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.events = events or []
        self.hang_up_after_subscribe = False
        self.answers: dict[str, Answer | Any] = {
            "hello": {"protocol": 1, "version": "0", "peer_id": "me", "boot_id": "b"},
            **(answers or {}),
        }
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []

    def __enter__(self) -> FakeNode:
        self.home.create()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(self.home.socket))
        self._listener.listen()
        self.home.node_file.write_text(json.dumps({"pid": os.getpid(), "socket": os.fspath(self.home.socket)}))
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.home.socket.unlink(missing_ok=True)
        self.home.node_file.unlink(missing_ok=True)
        self.hang_up()
        for thread in self._threads:
            thread.join(5)

    def hang_up(self) -> None:
        """Close every open connection."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def named(self, method: str) -> list[dict[str, Any]]:
        """The parameters of every call of a method."""
        return [params for name, params in self.calls if name == method]

    def _spawn(self, run: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                connection.sendall(self._answer(request))
                if request["method"] == "subscribe" and self.hang_up_after_subscribe:
                    break

    def _answer(self, request: dict[str, Any]) -> bytes:
        method, params = request["method"], request["params"]
        self.calls.append((method, params))
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            if method not in self.answers:
                raise NotFound(f"No operation {method}.")
            answer = self.answers[method]
            reply["result"] = answer(params) if callable(answer) else answer
        except ChorusError as exc:
            reply["error"] = {"code": -32000, "message": exc.message, "data": exc.to_dict()}
        lines = [reply]
        if method == "subscribe":
            lines += [{"jsonrpc": "2.0", "method": "event", "params": event} for event in self.events]
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
