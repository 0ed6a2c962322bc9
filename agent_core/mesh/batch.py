"""Batches: several gossip messages of one author and topic under one signature (docs/protocol.md, Gossip). Pure.

What travels in a signed gossip frame is either one message, as it is, or a batch: a zero byte, then each message behind its
length. A message that itself begins with a zero byte travels as a batch of one, so the two can't be mistaken for one another.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from agent_core.mesh.config import MAX_GOSSIP_BYTES

#: Messages of one batch, and bytes that a batch of several has at most when it is made.
MAX_MESSAGES, MAX_BATCH_BYTES = 256, 64 * 1024

_MARK = b"\x00"
_LENGTH = struct.Struct(">I")
#: The longest data of a gossip frame: a batch of one message of the longest kind.
MAX_DATA_BYTES = MAX_GOSSIP_BYTES + len(_MARK) + _LENGTH.size


class Malformed(ValueError):
    """Data that is neither a message nor a batch; no honest node makes or relays such."""


def pack(messages: Sequence[bytes]) -> bytes:
    """Messages, at least one, as the data of a frame."""
    if len(messages) == 1 and messages[0][:1] != _MARK:
        return messages[0]
    parts = [_MARK]
    for message in messages:
        parts += [_LENGTH.pack(len(message)), message]
    return b"".join(parts)


def unpack(data: bytes) -> list[bytes]:
    """The messages of a frame's data.

    Raises:
        Malformed: it is cut off, too long, holds no message or more than 256.
    """
    if len(data) > MAX_DATA_BYTES:
        raise Malformed(f"{len(data)} bytes of data")
    if data[:1] != _MARK:
        return [data]
    messages: list[bytes] = []
    at, end = len(_MARK), len(data)
    while at < end:
        start = at + _LENGTH.size
        if start > end:
            raise Malformed("a length that is cut off")
        at = start + _LENGTH.unpack_from(data, at)[0]
        if at > end:
            raise Malformed("a message that is cut off")
        if len(messages) == MAX_MESSAGES:
            raise Malformed("too many messages")
        messages.append(data[start:at])
    if not messages:
        raise Malformed("a batch of nothing")
    return messages


def fitting(sizes: Sequence[int]) -> int:
    """How many of the first messages, by their sizes, go into the next frame; at least one."""
    total = 0
    for count, size in enumerate(sizes[:MAX_MESSAGES]):
        total += size + _LENGTH.size
        if total > MAX_BATCH_BYTES:
            return max(count, 1)
    return min(len(sizes), MAX_MESSAGES)
