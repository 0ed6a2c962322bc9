"""Rooms and messages."""

from __future__ import annotations

import msgspec

from agent_core.shapes.base import Shape, Wait
from agent_core.shapes.texts import Content


class Citation(Shape, frozen=True, kw_only=True):
    """An address, the version it stood at, and why it is cited."""

    address: str
    reason: str
    version: str = ""


class Message(Shape, frozen=True, kw_only=True):
    """One message of a room."""

    id: str
    key: str
    at: str
    author: str
    author_peer: str
    kind: str
    via: str
    room: str
    thread: str  #: id of the thread's first message
    parent: str
    intent: str
    text: str
    missing: str = ""  #: why the text isn't shown
    citations: tuple[Citation, ...] = ()
    mentions: tuple[str, ...] = ()
    stance: str = ""
    weight: str = ""
    you: bool = False
    held: str = (
        ""  #: when it counts, if its stamp is ahead of the clock: until then only its author's log and this one show it
    )


class Stances(Shape, frozen=True, kw_only=True):
    """The count of typed stances on one message."""

    agree: int = 0
    disagree: int = 0
    abstain: int = 0


class Room(Shape, frozen=True, kw_only=True):
    """A room in the list."""

    id: str
    messages: int
    participants: tuple[str, ...]
    last_at: str
    last_text: str
    escalated: bool = False
    plan: str = ""  #: none, objecting, proceeding, blocked
    held: int = 0  #: messages whose time hasn't come, not among ``messages``


class RoomView(Shape, frozen=True, kw_only=True):
    """A room opened."""

    room: Room
    messages: tuple[Message, ...]  #: in thread order, threads by their first message
    stances: dict[str, Stances] = msgspec.field(default_factory=dict)  #: by message id


class PostRequest(Shape, frozen=True, kw_only=True):
    """What ``hmmm post`` and the wizard send."""

    room: str
    text: Content  #: may be empty where a stance is taken
    intent: str = "update"
    reply_to: str = ""
    citations: tuple[Citation, ...] = ()
    mentions: tuple[str, ...] = ()
    stance: str = ""
    weight: str = ""
    op_id: str = ""
    wait_s: Wait = 0.0  #: wait so long for one other member to confirm


class Posted(Shape, frozen=True, kw_only=True):
    """The answer to every changing operation."""

    id: str
    key: str
    delivered: int  #: other members that confirmed they hold it
    room: str = ""
    address: str = ""
    version: str = ""
    text: str = ""
