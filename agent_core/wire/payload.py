"""The building blocks of message schemas: the base struct, bounded field types, and how a family of types is declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from agent_core.grammar import Counted

#: An identifier somebody else made: issue, task, session, decision.
Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
#: A short name: agent id, role, capability, model, area of expertise.
Name: TypeAlias = Annotated[str, Meta(max_length=128)]
#: One line for people.
Line: TypeAlias = Annotated[str, Meta(max_length=512)]
#: Prose, Markdown. Larger bodies go by content address.
Text: TypeAlias = Annotated[str, Meta(max_length=65_536)]
#: An RFC 3339 time; empty where it isn't known.
Time: TypeAlias = Annotated[str, Meta(max_length=40)]
#: A peer id in base58.
PeerId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
#: A UCXL address.
Address: TypeAlias = Annotated[str, Meta(max_length=1024)]
#: A hash in hex; empty where there is none.
Hash: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{0,128}\Z")]
#: A share, score, confidence or progress.
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
#: A count, a term, a number in a chain.
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
Ids: TypeAlias = Annotated[tuple[Id, ...], Meta(max_length=256)]
Names: TypeAlias = Annotated[tuple[Name, ...], Meta(max_length=256)]
Lines: TypeAlias = Annotated[tuple[Line, ...], Meta(max_length=256)]
Addresses: TypeAlias = Annotated[tuple[Address, ...], Meta(max_length=256)]
Urgency: TypeAlias = Literal["low", "normal", "high", "urgent"]


class Payload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what an envelope's ``data`` holds: a JSON object; unknown fields are ignored, so schemas may grow."""


class Cited(Payload, frozen=True):
    """A citation: a UCXL address and why it is cited."""

    address: Address
    reason: Line = ""


Citations: TypeAlias = Annotated[tuple[Cited, ...], Meta(max_length=64)]


@dataclass(frozen=True, slots=True)
class MessageType:
    """One type of message.

    Args:
        name: the envelope's ``type``.
        example: a whole payload; its class is the schema of ``data``.
        line: what it says in one line, a format string over the payload's fields; ``{size:entry|entries}`` counts.
    """

    name: str
    example: msgspec.Struct
    line: str

    @property
    def schema(self) -> type[msgspec.Struct]:
        """The struct that ``data`` decodes to."""
        return type(self.example)

    def text(self, data: Any) -> str:
        """The line for one payload."""
        return self.line.format_map({name: _plain(getattr(data, name)) for name in data.__struct_fields__})


def _plain(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return Counted(value)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class Family:
    """Types that belong together.

    Args:
        name: what subscribers to the whole family name.
        topic: where they are published unless something more specific is meant.
        types: its types.
    """

    name: str
    topic: str
    types: tuple[MessageType, ...]
