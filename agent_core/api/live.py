"""What a running node tells its faces: which operation each slice is, and which slices an event touches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from agent_core.api import views
from agent_core.api.operations import Facade
from agent_core.api.parts import Sources
from agent_core.api.requests import ListRequest, Nothing, RoomRequest
from agent_core.api.slices import SliceHub
from agent_core.feeds.model import Entry
from agent_core.shapes import KEYED_SLICES, STATE_SLICES, STREAM_SLICES, WATCHED_ADDRESSES, Status, Traffic

#: Slices that change as time passes, and how often they are looked at, seconds.
_REFRESH_S: Mapping[str, float] = MappingProxyType(
    {"status": 0.5, "election": 0.5, "peers": 2.0, "waiting": 1.0, "decisions": 2.0, "attention": 5.0, "members": 5.0}
)
_ROOM_MESSAGES = 500

#: Slices that name members, so that another roster changes what they say.
_NAMING = ("members", "peers", "election", "decisions", "rooms", "room", "ucxl", "attention")

#: Which slices an entry touches, by the first word of its type.
_TOUCHES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "hmmm": ("rooms", "room", "attention"),
        "decision": ("decisions", "attention"),
        "ucxl": ("ucxl", "attention"),
        "act": ("members", "peers", "waiting", "election", "attention", *_NAMING),
        "log": ("rooms", "room", "decisions", "ucxl"),
        "feed": ("members", "attention"),
    }
)


def expect_slices(hub: SliceHub) -> None:
    """Let faces subscribe to all slices while the node is still starting."""
    hub.expect(state=STATE_SLICES, keyed=KEYED_SLICES, stream=STREAM_SLICES)


def status_while_starting(hub: SliceHub, status: Callable[[], Status]) -> None:
    """Serve the one slice that there is from the first moment."""
    hub.state("status", status, refresh_s=_REFRESH_S["status"])


class Live:
    """Connects a running node to the hub; its methods are called as things happen, and are quick.

    Args:
        hub: where faces subscribe.
        facade: what computes the slices.
        sources: what the facade reads.
    """

    def __init__(self, hub: SliceHub, facade: Facade, sources: Sources) -> None:
        self._hub = hub
        self._sources = sources
        self._roster = -1  # the version of the roster that the slices' names are from
        computes: Mapping[str, Callable[[], Any]] = {
            "status": lambda: facade.status(Nothing()),
            "election": lambda: facade.election_show(Nothing()),
            "members": lambda: facade.members(Nothing()),
            "peers": lambda: facade.peers(Nothing()),
            "waiting": lambda: facade.members_pending(Nothing()),
            "rooms": lambda: facade.hmmm_rooms(Nothing()),
            "decisions": lambda: facade.decisions_list(Nothing()),
            "ucxl": lambda: facade.ucxl_ls(ListRequest(limit=WATCHED_ADDRESSES)),
            "attention": lambda: facade.attention(Nothing()),
        }
        for name, compute in computes.items():
            hub.state(name, compute, refresh_s=_REFRESH_S.get(name, 0.0))
        hub.keyed("room", lambda room: facade.room(RoomRequest(room=room, limit=_ROOM_MESSAGES)))
        for line in views.log(sources.entries.tail(200), sources.context()):
            hub.push("log", line)

    def entries_stored(self, entries: Sequence[Entry]) -> None:
        """Entries are durable and folded."""
        context = self._sources.context()
        for entry in entries:
            self._hub.push("log", views.log_entry(entry, context))
        touched = {entry.header.type.partition(".")[0] for entry in entries}
        slices = {slice for word in touched for slice in _TOUCHES.get(word, ())}
        self._hub.mark("status", *slices, *self._other_names())

    def _other_names(self) -> tuple[str, ...]:
        """The slices that name members, if another roster came into force since they were last asked for."""
        roster = self._sources.context().roster
        version = roster.version if roster else -1
        if version == self._roster:
            return ()
        self._roster = version
        return _NAMING

    def traffic(self, item: Traffic) -> None:
        """A message passed, or was refused."""
        self._hub.push("traffic", item)

    def peers_changed(self) -> None:
        """A connection opened or closed."""
        self._hub.mark("peers", "members", "status", "election", "attention")

    def election_changed(self) -> None:
        """State, term, leader or lease moved."""
        self._hub.mark("election", "status", "members", "attention", *self._other_names())

    def node_changed(self) -> None:
        """A session came or went, a service was degraded, a note was added."""
        self._hub.mark("status", "attention")
