"""Attached sessions, and the life of an owned node: it ends some seconds after the last of them (SPEC section 0)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import trio

#: How long an owned node outlives its last session, and how long it waits for the first one, in seconds.
GRACE_S = 3.0
FIRST_S = 30.0


class SessionKind(StrEnum):
    """What sort of face holds a control connection."""

    CONSOLE = "console"
    COMMAND = "command"
    MCP = "mcp"


@dataclass(frozen=True, eq=False, slots=True)
class Session:
    """One attached face."""

    kind: SessionKind
    client: str
    login: str


class Sessions:
    """Who is attached now.

    Args:
        owned: whether this node was started by a face and ends after the last one.
        changed: called after each attach, detach and :meth:`keep_running`.
    """

    def __init__(self, *, owned: bool, changed: Callable[[], None] = lambda: None) -> None:
        self._owned = owned
        self._changed = changed
        self._open: set[Session] = set()
        self._moved = trio.Event()

    @property
    def owned(self) -> bool:
        """Whether the node ends with its last session."""
        return self._owned

    @property
    def mode(self) -> str:
        """``owned`` or ``daemon``, as ``status`` says it."""
        return "owned" if self._owned else "daemon"

    def __len__(self) -> int:
        return len(self._open)

    @property
    def kinds(self) -> Counter[SessionKind]:
        """How many sessions of each kind."""
        return Counter(s.kind for s in self._open)

    def attach(self, session: Session) -> None:
        """A face has said hello."""
        self._open.add(session)
        self._move()

    def detach(self, session: Session) -> None:
        """A face's connection closed."""
        self._open.discard(session)
        self._move()

    def keep_running(self) -> None:
        """Make an owned node a daemon: it no longer ends with its sessions."""
        self._owned = False
        self._move()

    async def abandoned(self, grace_s: float = GRACE_S, first_s: float = FIRST_S) -> None:
        """Return when an owned node should end: nobody came, or the last one left and nobody returned; else never.

        Args:
            grace_s: seconds without a session after which it ends.
            first_s: the same before the first session ever.
        """
        patience = first_s
        while True:
            moved = self._moved
            if not self._owned or self._open:
                if self._open:
                    patience = grace_s
                await moved.wait()
                continue
            with trio.move_on_after(patience) as scope:
                await moved.wait()
                # Somebody came; should they be gone already, the short wait applies.
                patience = grace_s
            if scope.cancelled_caught:
                return

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()
        self._changed()
