"""What every changing operation of a domain checks first: who asks, the operation's id, short-id prefixes, the header's room."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

import msgspec

from agent_core.caller import Caller
from agent_core.errors import Conflict, InvalidInput, NotFound, Refused, TooLarge
from agent_core.feeds.model import MAX_BODY_BYTES, MAX_HEADER_BYTES, Entry, OwnFeed
from agent_core.ids import uuid7
from agent_core.nearest import nearest
from agent_core.roster.model import Authority, Member
from agent_core.views import ViewContext

E = TypeVar("E", bound=StrEnum)

#: What the feed adds around a header's data: author, numbers, clock, ids.
_HEADER_FRAME_BYTES = 1024


def writer(ctx: ViewContext, caller: Caller) -> Member:
    """This node's own member, if it may write at all.

    Raises:
        Refused: the caller is read-only, the node is no member, or its authority is ``read_only``.
    """
    if caller.read_only:
        raise Refused("This session is read-only, so nothing was changed.", "Type :speak to end that.")
    member = ctx.member(ctx.me)
    if member is None or not member.active:
        raise Refused("This node is not a member of a cluster, so it can't write.", "`chorus-hap status` says why.")
    if not member.authority.at_least(Authority.SUGGESTION):
        raise Refused(f"{member.agent_id} has authority read_only, so it can't write.", "Ask the admin for more.")
    return member


def operation_id(given: str, now_ms: int) -> str:
    """The caller's operation id, or a new UUIDv7 when it gave none.

    Raises:
        InvalidInput: what was given isn't a UUID.
    """
    if not given:
        return uuid7(now_ms)
    try:
        return str(uuid.UUID(given))
    except ValueError as exc:
        raise InvalidInput(
            f"The operation id {given[:40]!r} is not a UUID.", "Leave it out, or give a UUIDv7."
        ) from exc


def derived_operation_id(ms: int, *parts: str) -> str:
    """A UUIDv7 that is the same wherever it is derived from the same parts, for what a node writes by itself."""
    return uuid7(ms, hashlib.sha256("\0".join(parts).encode()).digest()[:10])


def by_prefix(prefix: str, ids: Iterable[str], what: str) -> str:
    """The one id that starts with the prefix; an exact match wins.

    Args:
        what: the sort of thing, for the message: ``decision``, ``message``.

    Raises:
        NotFound: none starts so.
        InvalidInput: several do, or the prefix is empty.
    """
    wanted = prefix.strip().lower()
    if not wanted:
        raise InvalidInput(f"No {what} was named.", f"Give the {what}'s id or any unique beginning of it.")
    found = set()
    known = list(ids)
    for candidate in known:
        if candidate == wanted:
            return candidate
        if candidate.startswith(wanted):
            found.add(candidate)
    if not found:
        raise NotFound(
            f"There is no {what} {prefix[:40]!r} here.",
            nearest(wanted, known, "It may not have arrived yet; list them to see what is."),
        )
    if len(found) > 1:
        shown = ", ".join(sorted(found)[:4])
        raise InvalidInput(f"{prefix[:40]!r} is the beginning of several {what}s: {shown}.", "Type one character more.")
    return found.pop()


def words(choices: Iterable[str]) -> str:
    """Choices as a person reads them, with commas."""
    return ", ".join(choices)


def one_of(kind: type[E], text: str, what: str) -> E:
    """The member of an enumeration that a person typed.

    Raises:
        InvalidInput: there is none; lists them.
    """
    try:
        return kind(text.strip().lower())
    except ValueError as exc:
        raise InvalidInput(f"{text[:40]!r} is no {what}.", f"Choose from: {words(kind)}.") from exc


def text_body(text: str, what: str) -> bytes:
    """A text as an entry's body.

    Raises:
        TooLarge: it has more than 32 KiB; checked before anything else is done with it.
        InvalidInput: it isn't text that UTF-8 can carry.
    """
    # A character has at least one byte, so a huge text is refused before it is encoded.
    if len(text) > MAX_BODY_BYTES:
        raise _too_large(what, len(text))
    try:
        body = text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidInput(f"The {what} has characters that are no Unicode text.", "Send it as UTF-8.") from exc
    if len(body) > MAX_BODY_BYTES:
        raise _too_large(what, len(body))
    return body


def _too_large(what: str, size: int) -> TooLarge:
    return TooLarge(
        f"The {what} has {size:,} bytes; the limit is {MAX_BODY_BYTES:,}, and nothing was sent.",
        "Shorten it, or put the long part at UCXL addresses and cite them.",
    )


def check_header(data: msgspec.Struct) -> None:
    """See that what folds decide on fits an entry's header.

    Raises:
        TooLarge: citations, mentions and notes together are over the limit.
    """
    size = len(msgspec.json.encode(data))
    if size > MAX_HEADER_BYTES - _HEADER_FRAME_BYTES:
        raise TooLarge(
            f"Citations, mentions and notes make {size:,} bytes; the limit is {MAX_HEADER_BYTES - _HEADER_FRAME_BYTES:,}.",
            "Cite fewer addresses, or shorten the reasons.",
        )


def made_before(feed: OwnFeed, op: str, type: str) -> Entry | None:
    """The entry that an operation of this node made, so that a repeat is answered before it is judged anew.

    Raises:
        Conflict: it made an entry of another type.
    """
    made = feed.made(op) if op else None
    if made is not None and made.header.type != type:
        raise Conflict(
            f"The operation id {op} was used before, for another operation ({made.header.type}).",
            "Make a new operation id for every operation.",
        )
    return made
