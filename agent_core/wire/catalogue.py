"""The catalogue: every type of message this version knows, with its schema, an example and a line for people."""

from __future__ import annotations

from types import MappingProxyType

import msgspec

from agent_core.errors import InvalidInput, VerificationFailed
from agent_core.grammar import plural
from agent_core.wire.envelope import Envelope, decode_data, one_line
from agent_core.wire.families import (
    context,
    cooee,
    coordination,
    decisions,
    election,
    feed,
    hmmm,
    meta,
    roles,
    sessions,
    slurp,
    teams,
)
from agent_core.wire.payload import Family, MessageType

#: The 31 types of SPEC section 3, then the families that the mesh itself needs.
FAMILIES: tuple[Family, ...] = (
    coordination.FAMILY,
    meta.FAMILY,
    roles.FAMILY,
    context.FAMILY,
    slurp.FAMILY,
    election.FAMILY,
    cooee.FAMILY,
    feed.FAMILY,
    hmmm.FAMILY,
    decisions.FAMILY,
    sessions.PATCH,
    sessions.SESSION,
    teams.COUNCIL,
    teams.TEAM,
)

TYPES = MappingProxyType({kind.name: kind for family in FAMILIES for kind in family.types})
FAMILY_OF = MappingProxyType({kind.name: family for family in FAMILIES for kind in family.types})
_TYPE_OF = MappingProxyType({kind.schema: kind for kind in TYPES.values()})


def known(type: str) -> bool:
    """Whether this version has a schema for the type."""
    return type in TYPES


def get(type: str) -> MessageType:
    """A type by its name.

    Raises:
        InvalidInput: there is none.
    """
    found = TYPES.get(type)
    if found is None:
        raise InvalidInput(
            f"There is no message type {one_line(type, 64)!r}.", "Check its spelling, or update this node."
        )
    return found


def type_of(payload: msgspec.Struct) -> str:
    """The type whose schema a payload is.

    Raises:
        InvalidInput: it is no type's.
    """
    found = _TYPE_OF.get(type(payload))
    if found is None:
        raise InvalidInput(f"{type(payload).__name__} is not the schema of a message type.")
    return found.name


def topic_of(type: str) -> str:
    """The topic a type is published on unless something more specific is meant."""
    get(type)
    return FAMILY_OF[type].topic


def read(envelope: Envelope) -> msgspec.Struct | None:
    """An envelope's data by the schema of its type; nothing for a type this version doesn't know.

    Raises:
        VerificationFailed: the data isn't what its type says.
    """
    kind = TYPES.get(envelope.type)
    return None if kind is None else decode_data(envelope, kind.schema)


def summary(envelope: Envelope) -> str:
    """One line for people: what the message says. Never raises, never holds control characters."""
    kind = TYPES.get(envelope.type)
    if kind is None:
        return one_line(f"unknown type, {plural(len(bytes(envelope.data)), 'byte')} of data")
    try:
        return one_line(kind.text(decode_data(envelope, kind.schema)))
    except VerificationFailed as exc:
        return one_line(exc.message)
