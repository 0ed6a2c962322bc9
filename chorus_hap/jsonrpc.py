"""The control protocol's lines: JSON-RPC 2.0, one object a line, slice events as notifications (SPEC section 15)."""

from __future__ import annotations

from typing import Any

import msgspec

from agent_core.errors import ChorusError, Unavailable, by_code
from agent_core.shapes import SliceEvent

#: Versions of the control protocol that this program speaks.
PROTOCOLS = (1,)
#: An answer longer than this isn't one.
MAX_LINE_BYTES = 64 * 1024 * 1024


class Welcome(msgspec.Struct, frozen=True):
    """The node's answer to ``hello``. Another ``boot_id`` means another process."""

    protocol: int
    version: str
    peer_id: str
    boot_id: str


class Reply(msgspec.Struct, frozen=True):
    """One line from the node: the answer to a call, or an event (``method`` is set)."""

    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: dict[str, Any] | None = None
    method: str = ""
    params: msgspec.Raw = msgspec.Raw(b"null")


class _Event(msgspec.Struct, frozen=True):
    """:class:`SliceEvent` as it is read: msgspec decodes no optional raw value."""

    slice: str
    rev: int
    value: msgspec.Raw = msgspec.Raw(b"null")
    items: tuple[msgspec.Raw, ...] = ()
    dropped: int = 0


_decode_reply = msgspec.json.Decoder(Reply).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def encode_call(number: int, method: str, params: dict[str, Any]) -> bytes:
    """One JSON-RPC 2.0 request line."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + b"\n"


def decode_line(line: bytes) -> Reply:
    """One line from the node.

    Raises:
        Unavailable: it isn't JSON-RPC.
    """
    try:
        return _decode_reply(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise Unavailable(
            f"The node's answer isn't the control protocol: {exc}.", "Use a console and node of the same version."
        ) from exc


def event_of(reply: Reply) -> SliceEvent | None:
    """The slice event in a notification; nothing for those this version doesn't know."""
    if reply.method != "event":
        return None
    try:
        event = _decode_event(reply.params)
    except msgspec.MsgspecError:
        return None
    value = None if bytes(event.value) == b"null" else event.value
    return SliceEvent(slice=event.slice, rev=event.rev, value=value, items=event.items, dropped=event.dropped)


def failure_of(error: dict[str, Any]) -> ChorusError:
    """The exception that a JSON-RPC error stands for."""
    data = error.get("data")
    told: dict[str, Any] = data if isinstance(data, dict) else {}
    message = str(told.get("message") or error.get("message") or "The node refused without a reason.")
    return by_code(str(told.get("code", "failed")))(message, str(told.get("next", "")))


def hello_params(client: str, kind: str, read_only: bool) -> dict[str, Any]:
    """The parameters of the first call."""
    return {"protocol": PROTOCOLS, "client": client, "session_kind": kind, "read_only": read_only}
