"""What every view needs beside its fold: names, bodies, the roster and the time. Built live by the node, offline by commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent_core.clock import rfc3339, unpack
from agent_core.election.acts import Chain
from agent_core.feeds.model import BodyReader, Entry, EntryKey, Missing
from agent_core.roster.model import Member, Roster


class Bodies(BodyReader, Protocol):
    """Bodies for views."""


class Waiting(Protocol):
    """What is stored and doesn't count yet, or any more; implemented by :class:`agent_core.feeds.holding.Holding`."""

    @property
    def count(self) -> int:
        """How many entries wait for their time."""
        ...

    @property
    def until_ms(self) -> int:
        """When the last of them counts, Unix milliseconds; 0 if none waits."""
        ...

    def until(self, entry: Entry) -> int | None:
        """When an entry that waits counts, Unix milliseconds; nothing for one that doesn't wait."""
        ...

    def withdrawn(self, entry: Entry) -> bool:
        """Whether its author took it back with the clock that stamped it."""
        ...

    def entries(self, type: str) -> Sequence[Entry]:
        """The entries of one type that wait, the newest of each feed."""
        ...


class NothingWaits:
    """The :class:`Waiting` of a store in which every entry's time has come."""

    count = until_ms = 0

    def until(self, entry: Entry) -> int | None:
        return None

    def withdrawn(self, entry: Entry) -> bool:
        return False

    def entries(self, type: str) -> Sequence[Entry]:
        return ()


@dataclass(frozen=True, slots=True)
class ViewContext:
    """Read-only surroundings of a view.

    Args:
        me: this node's peer id.
        chain: the committed acts and rosters.
        bodies: where bodies are read.
        now_ms: Unix time in milliseconds at which the view is taken.
        online: peer ids with an open connection.
        held: how many entries of an author's epoch are held and folded here; without it all are taken to be.
        waiting: what is stored and doesn't count yet.
        folding: whether what was written before is still being folded, so that nothing may be decided by what shows.
    """

    me: str
    chain: Chain
    bodies: BodyReader
    now_ms: int
    online: frozenset[str] = frozenset()
    held: Callable[[str, int], int] | None = None
    folding: bool = False
    waiting: Waiting = NothingWaits()  # noqa: RUF009 - it has no state

    @property
    def roster(self) -> Roster | None:
        return self.chain.roster

    def member(self, peer_id: str) -> Member | None:
        """The member with this peer id, in the roster in force."""
        return self.roster.get(peer_id) if self.roster else None

    def name(self, peer_id: str) -> str:
        """The agent id to show for a peer; names that look alike are told apart by the peer id's last six characters."""
        if self.roster is None:
            return f"…{peer_id[-6:]}" if peer_id else ""
        return self.roster.name(peer_id)

    def at(self, hlc: str) -> str:
        """A stamp as RFC 3339."""
        return rfc3339(unpack(hlc)[0])

    def waits_until(self, entry: Entry) -> str:
        """When an entry counts, as RFC 3339; empty for one that does, or never will."""
        until_ms = self.waiting.until(entry)
        return "" if until_ms is None else rfc3339(until_ms)

    def text(self, key: EntryKey) -> tuple[str, str]:
        """An entry's body as text and, when it isn't there, why."""
        body = self.bodies.body(key)
        return ("", body.value) if isinstance(body, Missing) else (body.decode("utf-8", "replace"), "")
