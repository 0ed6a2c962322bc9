"""Subscriptions: which slices there are and how their changes arrive."""

from __future__ import annotations

from typing import Any

import msgspec

from agent_core.shapes.base import Shape
from agent_core.shapes.decisions import Decision
from agent_core.shapes.election import Election
from agent_core.shapes.hmmm import Room, RoomView
from agent_core.shapes.members import MemberInfo, PeerInfo, WaitingInfo
from agent_core.shapes.records import Attention, LogEntry, Traffic
from agent_core.shapes.status import Status
from agent_core.shapes.ucxl import AddressInfo


class SliceEvent(Shape, frozen=True, kw_only=True):
    """One change of a slice. State slices carry ``value`` whole, stream slices the new ``items``."""

    slice: str
    rev: int
    value: msgspec.Raw | None = None
    items: tuple[msgspec.Raw, ...] = ()
    dropped: int = 0  #: items this reader was too slow for, in total


#: Slices whose latest value wins, and the type of the value.
STATE_SLICES: dict[str, Any] = {
    "status": Status,
    "election": Election,
    "members": tuple[MemberInfo, ...],
    "peers": tuple[PeerInfo, ...],
    "waiting": tuple[WaitingInfo, ...],
    "rooms": tuple[Room, ...],
    "decisions": tuple[Decision, ...],
    "ucxl": tuple[AddressInfo, ...],
    "attention": tuple[Attention, ...],
}
#: Slices with a parameter after a colon: ``room:<id>``.
KEYED_SLICES: dict[str, Any] = {"room": RoomView}
#: Slices that are streams of items; the snapshot is the newest few hundred.
STREAM_SLICES: dict[str, Any] = {"traffic": Traffic, "log": LogEntry}
