"""JSON from others, read in one way only: an object that has a key twice means one thing to one program and another to the next.

RFC 8259 leaves open which of two equal keys counts, so what is signed, asked or decided may not depend on it.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from agent_core.errors import VerificationFailed

T = TypeVar("T")

#: All that reading JSON may raise.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError, ValueError)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class KeyTwice(VerificationFailed):
    """An object has a key twice."""


def check_keys(raw: bytes | msgspec.Raw) -> None:
    """See that no object has a key twice, however deep it lies.

    Raises:
        KeyTwice: one has.
        msgspec.MsgspecError, UnicodeDecodeError, RecursionError: it isn't JSON.
    """
    text = bytes(raw)
    # What comes out as it went in has lost nothing; that is all our own nodes write.
    if _encode(_decode(text)) != text:
        try:
            json.loads(text, object_pairs_hook=_pairs)
        except (ValueError, OverflowError):  # a number that Python reads otherwise; it was valid JSON above
            json.loads(text, object_pairs_hook=_pairs, parse_int=str, parse_float=str)


def has_key_twice(raw: bytes | msgspec.Raw) -> bool:
    """Whether an object in it has a key twice; what isn't JSON has none."""
    try:
        check_keys(raw)
    except KeyTwice:
        return True
    except UNREADABLE:
        return False
    return False


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        once: set[str] = set()
        twice = next(name for name, _ in pairs if name in once or once.add(name))  # type: ignore[func-returns-value]
        raise KeyTwice(f"The key {twice[:40]!r} stands in one object twice.", "Say everything once.")
    return found
