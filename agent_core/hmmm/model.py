"""What HMMM writes into the log: messages and the ``proceed`` of a plan, and the words they are typed with."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from agent_core.feeds.model import EntryKey, Head
from agent_core.names import AGENT, MAX_NAME_CHARS
from agent_core.text import normal, unseen
from agent_core.ucxl.model import MAX_CITATIONS, Cited, Hash, OptionalHash

#: Entry type of a message; its body is Markdown text.
HMMM_MESSAGE = "hmmm.message"
#: Entry type by which a plan's proposer goes ahead; it has no body.
HMMM_PROCEED = "hmmm.proceed"

#: Where messages that name no room go: the discussion about the discussion.
META_ROOM = "meta"
MAX_MENTIONS = 32
MAX_HOPS = 1_000_000
#: A ``proceed`` names at most so many heads: what its header has room for.
MAX_SEEN = 64

_ROOM = r"[A-Za-z0-9][A-Za-z0-9_.#-]{0,63}"
_ROOM_ID = re.compile(rf"{_ROOM}\Z")
#: A name, ``~`` and the end of a peer id; and what stands behind a name rather than in it.
_LONGEST_MENTION, _ENDS_NO_NAME = MAX_NAME_CHARS + 7, ".~+-"
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_MENTION = re.compile(r"(?<![\w@./])@(role:|expertise:)?(?=[^\W_])")

RoomId: TypeAlias = Annotated[str, Meta(pattern=rf"^{_ROOM}\Z")]
_Word: TypeAlias = Annotated[str, Meta(max_length=32)]
_Name: TypeAlias = Annotated[str, Meta(max_length=80)]


class Intent(StrEnum):
    """What a message wants."""

    PROPOSAL = "proposal"
    QUESTION = "question"
    ANSWER = "answer"
    UPDATE = "update"
    ESCALATION = "escalation"


class Stance(StrEnum):
    """Where an author stands on the message it replies to. Consensus is counted from these, never guessed from words."""

    AGREE = "agree"
    DISAGREE = "disagree"
    ABSTAIN = "abstain"


class Weight(StrEnum):
    """How much a ``disagree`` weighs: only a blocking one stops a plan."""

    BLOCKING = "blocking"
    ADVISORY = "advisory"


class MessageData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message's header data. Words of later versions are kept and shown as they are."""

    room: RoomId
    intent: _Word
    thread: OptionalHash = ""  #: hash of the thread's first message; empty in that one
    parent: OptionalHash = ""  #: hash of the message it replies to, and that its stance is about
    stance: _Word = ""
    weight: _Word = ""
    citations: Annotated[tuple[Cited, ...], Meta(max_length=MAX_CITATIONS)] = ()
    mentions: Annotated[tuple[_Name, ...], Meta(max_length=MAX_MENTIONS)] = ()
    hop_count: Annotated[int, Meta(ge=0, le=MAX_HOPS)] = 0  #: replies among agents since a person last spoke


class ProceedData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The proposer goes ahead with a plan: whom it heard from, and how much of their feeds it had seen."""

    room: RoomId
    plan: Hash
    heard: Annotated[tuple[_Name, ...], Meta(max_length=MAX_SEEN)] = ()  #: peer ids
    seen: Annotated[tuple[Head, ...], Meta(max_length=MAX_SEEN)] = ()


@dataclass(frozen=True, slots=True)
class Post:
    """One message as the fold keeps it."""

    hash: str
    id: str  #: short id
    key: EntryKey
    order: tuple[str, str, int, int]  #: (hlc, author, epoch, seq)
    via: str
    data: MessageData

    @property
    def author(self) -> str:
        return self.key.author

    @property
    def hlc(self) -> str:
        return self.order[0]


@dataclass(frozen=True, slots=True)
class Proceed:
    """One ``proceed`` as the fold keeps it."""

    hash: str
    key: EntryKey
    order: tuple[str, str, int, int]
    data: ProceedData

    def saw(self, key: EntryKey) -> bool:
        """Whether the entry was among what the proposer had seen."""
        return any(h.author == key.author and h.epoch == key.epoch and key.seq < h.size for h in self.data.seen)


def is_room_id(text: str) -> bool:
    """Whether the text can name a room: 1 to 64 letters, digits and ``_ . # -``, the first a letter or digit."""
    return _ROOM_ID.match(text) is not None


def is_hash(text: str) -> bool:
    """Whether the text is an entry's leaf hash in hex."""
    return _HASH.match(text) is not None


def mentions_in(text: str) -> tuple[str, ...]:
    """Whom a text addresses with ``@name``, ``@role:name`` or ``@expertise:name``, each once, in order; e-mail addresses don't."""
    text = normal(text)
    found: dict[str, None] = {}
    for match in _MENTION.finditer(text):
        name = text[match.end() : match.end() + _LONGEST_MENTION]
        end = next((at for at, char in enumerate(name) if not _in_a_name(char)), len(name))
        if named := name[:end].rstrip(_ENDS_NO_NAME):
            found[(match[1] or "") + named] = None
        if len(found) == MAX_MENTIONS:
            break
    return tuple(found)


def _in_a_name(char: str) -> bool:
    """Whether a character can stand in a name of :data:`agent_core.names.AGENT`, or between it and a peer id's end (``~``)."""
    if char.isascii():
        return char.isalnum() or char in "_~" or (char in AGENT.signs and char != "@")
    return unseen(char) is None and (char.isalnum() or unicodedata.category(char)[0] == "M")
