"""What the console remembers between two runs: the pane, the theme, what was read. Losing it costs nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from agent_core.errors import StoreError
from agent_core.home import write_whole
from agent_core.strict_json import UNREADABLE

#: Rooms whose read mark is kept.
_MAX_ROOMS = 500


class Session(msgspec.Struct, kw_only=True):
    """One home's console session, in ``console.json``."""

    pane: str = "overview"
    theme: str = ""
    mouse: bool = True
    read: dict[str, int] = {}  #: messages seen, by room

    @classmethod
    def load(cls, home: Path) -> Session:
        """The last one; a fresh one if there is none or it can't be read."""
        try:
            session = msgspec.json.decode((home / "console.json").read_bytes(), type=cls)
        except (OSError, *UNREADABLE):
            return cls()
        session.mouse = True
        return session

    def save(self, home: Path) -> None:
        """Keep it; a home that can't be written is no reason to stop."""
        self.read = dict(list(self.read.items())[-_MAX_ROOMS:])
        with contextlib.suppress(StoreError):
            write_whole(home / "console.json", msgspec.json.encode(self))
