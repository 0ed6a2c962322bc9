"""The envelope every gossip message travels in: its fields, its JSON form and its limits (SPEC section 3)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from agent_core.clock import Hlc, parse_rfc3339
from agent_core.errors import TooLarge, VerificationFailed
from agent_core.grammar import a
from agent_core.strict_json import check_keys
from agent_core.text import Unseen, marked, unseen
from agent_core.wire.payload import Name, PeerId

ENVELOPE_VERSION = 1
MAX_ENVELOPE_BYTES = 256 * 1024

SpeakerKind: TypeAlias = Literal["human", "agent"]


class Priority(StrEnum):
    """How much a message matters to its sender."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who says what, and when. Unknown fields are ignored, so later versions may add some."""

    v: Annotated[int, Meta(ge=1, le=1)]
    id: Annotated[
        str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
    ]  #: UUIDv7
    type: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.-]{0,63}\Z")]
    sender: PeerId = msgspec.field(name="from")
    agent_id: Name
    role: Name
    kind: SpeakerKind
    hlc: Annotated[Hlc, Meta(pattern=r"^[0-9a-f]{12}\.[0-9a-f]{4}\Z")]
    sent_at: Annotated[str, Meta(min_length=20, max_length=40)]  #: RFC 3339 with milliseconds
    data: msgspec.Raw  #: a JSON object, typed by ``type``
    hop_count: Annotated[int, Meta(ge=0, le=255)] = 0
    thread_id: Name = ""
    target_roles: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    required_expertise: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    priority: Priority = Priority.NORMAL
    traceparent: Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?\Z")] = ""

    @property
    def sent_ms(self) -> int:
        """``sent_at`` as Unix milliseconds.

        Raises:
            ValueError: it isn't RFC 3339; :func:`decode` lets no such envelope through.
        """
        return parse_rfc3339(self.sent_at)


class NewerVersion(VerificationFailed):
    """An envelope of a version this node can't read: nobody's fault."""


class _Version(msgspec.Struct):
    v: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Envelope).decode
_decode_version = msgspec.json.Decoder(_Version).decode

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError)


def encode(envelope: Envelope) -> bytes:
    """An envelope as it travels.

    Raises:
        TooLarge: over 256 KiB.
    """
    payload = _encode(envelope)
    check_size(payload)
    return payload


def check_size(payload: bytes) -> None:
    """Refuse what is over the limit.

    Raises:
        TooLarge: over 256 KiB.
    """
    if len(payload) > MAX_ENVELOPE_BYTES:
        raise TooLarge(
            f"A message has {len(payload)} bytes; the limit is {MAX_ENVELOPE_BYTES}.",
            "Put the content at a UCXL address and send that.",
        )


def decode(payload: bytes) -> Envelope:
    """What arrived, as an envelope.

    Raises:
        TooLarge: over 256 KiB.
        NewerVersion: of a version this node doesn't know.
        KeyTwice: an object in it has a key twice. Older nodes relay that, so it is no fault of whom it comes from.
        VerificationFailed: not an envelope.
    """
    check_size(payload)
    try:
        payload.decode()  # msgspec takes ``data`` as raw bytes without looking into its strings
        envelope = _decode(payload)
        _ = envelope.sent_ms
        check_keys(payload)
    except _UNREADABLE as exc:
        if _version(payload) > ENVELOPE_VERSION:
            raise NewerVersion("A message has an envelope of a newer version.", "Update this node.") from exc
        raise VerificationFailed(f"A message isn't an envelope: {_first_line(exc)}.") from exc
    if bytes(envelope.data)[:1] != b"{":
        raise VerificationFailed("A message's data isn't a JSON object.")
    return envelope


def decode_data(envelope: Envelope, schema: type[msgspec.Struct]) -> msgspec.Struct:
    """An envelope's data as its schema.

    Raises:
        VerificationFailed: it isn't that.
    """
    try:
        return msgspec.json.decode(envelope.data, type=schema)
    except _UNREADABLE as exc:
        raise VerificationFailed(f"A message's data isn't {a(envelope.type)}: {_first_line(exc)}.") from exc


def one_line(text: str, limit: int = 200) -> str:
    """Somebody else's text, safe to print in one line: what isn't drawn becomes spaces, and what tag characters spell is read out."""
    text = text[: 2 * limit]
    if not (text.isascii() and text.isprintable()):
        text = marked("".join(c if c.isprintable() or unseen(c) is Unseen.TAG else " " for c in text), keep="")
    return text.strip()[:limit]


def _version(payload: bytes) -> int:
    try:
        return _decode_version(payload).v
    except _UNREADABLE:
        return 0


def _first_line(exc: BaseException) -> str:
    return one_line(str(exc)).rstrip(".")
