"""HMMM, shown and ephemeral: a message told to those without the room's entries, presence, typing."""

from __future__ import annotations

from typing import Literal

from agent_core.wire import topics
from agent_core.wire.payload import Citations, Family, Id, MessageType, Name, Names, Payload, Text


class HmmmMessage(Payload, frozen=True):
    """A message of a room. What lasts is the entry; this is for those that follow the topic only."""

    room: Name
    text: Text
    intent: Literal["proposal", "question", "answer", "update", "escalation"] = "update"
    entry: Name = ""  #: key of the entry, ``author/epoch/seq``
    parent: Name = ""
    citations: Citations = ()
    mentions: Names = ()


class HmmmPresence(Payload, frozen=True):
    """Who has a room open, or is writing in it."""

    room: Id
    state: Literal["here", "writing", "away"]


FAMILY = Family(
    "hmmm",
    topics.META_DISCUSSION,
    (
        MessageType(
            "hmmm.message",
            HmmmMessage(room="issue-42", text="Freeze the grammar first.", intent="proposal", mentions=("agent-b",)),
            "#{room} {intent}: {text}",
        ),
        MessageType("hmmm.presence", HmmmPresence(room="issue-42", state="writing"), "is {state} in #{room}"),
    ),
)
