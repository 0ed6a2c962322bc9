"""Drafts of messages on disk: written while you type, so that a crash loses nothing; gone once the message is sent."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent_core.errors import StoreError
from agent_core.home import write_whole
from agent_core.strict_json import UNREADABLE


class Draft(msgspec.Struct, kw_only=True):
    """Everything the wizard holds. ``op_id`` stays the same over crashes, so that sending twice posts once."""

    op_id: str
    intent: str = ""
    stance: str = ""
    weight: str = ""
    room: str = ""
    reply_to: str = ""
    mentions: list[str] = []
    text: str = ""
    citations: list[tuple[str, str]] = []
    seen: int = 0  #: messages the room had when this was begun
    at: str = ""

    @property
    def empty(self) -> bool:
        """Whether nothing was written that would be missed."""
        return not self.text.strip() and not self.citations


@dataclass(frozen=True, slots=True)
class Start:
    """What is known already; known steps are skipped."""

    room: str = ""
    reply_to: str = ""
    seen: int = 0


def path_of(home: Path, reply_to: str) -> Path:
    """Where the draft of a reply, or of a new message, is kept."""
    name = f"reply-{''.join(c for c in reply_to if c.isalnum())[:40]}" if reply_to else "message"
    return home / "drafts" / f"{name}.json"


def load(home: Path, reply_to: str) -> Draft | None:
    """The draft that was left, None if there is none that can be read."""
    try:
        return msgspec.json.decode(path_of(home, reply_to).read_bytes(), type=Draft)
    except (OSError, *UNREADABLE):
        return None


def save(home: Path, draft: Draft, key: str) -> bool:
    """Write the draft, whole or not at all. Returns whether it is on disk."""
    path = path_of(home, key)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, msgspec.json.encode(draft))
    except (OSError, StoreError):
        return False
    return True


def discard(home: Path, key: str) -> None:
    """Forget a draft."""
    with contextlib.suppress(OSError):
        path_of(home, key).unlink()
