"""Identifiers: UUIDv7 (RFC 9562) for operations and messages, short ids for people."""

from __future__ import annotations

import base64
import hashlib
import os
import uuid


def uuid7(now_ms: int, random: bytes | None = None) -> str:
    """A UUIDv7 in its text form (RFC 9562 section 5.7).

    Args:
        now_ms: Unix time in milliseconds, 48 bits.
        random: 10 random bytes; the operating system's if not given.
    """
    rand = os.urandom(10) if random is None else random
    value = (now_ms & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | (int.from_bytes(rand[:2], "big") & 0x0FFF) << 64
    value |= 0b10 << 62 | int.from_bytes(rand[2:], "big") & (1 << 62) - 1
    return str(uuid.UUID(int=value))


def short_id(*parts: str | bytes | int) -> str:
    """Eight lower-case base32 characters of the SHA-256 of the parts: what people type for rooms, decisions and entries.

    Commands accept any unique prefix (SPEC section 7).
    """
    digest = hashlib.sha256(b"\0".join(p if isinstance(p, bytes) else str(p).encode() for p in parts)).digest()
    return base64.b32encode(digest[:5]).decode().lower()
