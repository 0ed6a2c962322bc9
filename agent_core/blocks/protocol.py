"""The blocks protocol ``/chorus/blocks/1.0.0``: its frames. One side asks, the other answers, one frame each; see docs/protocol-blocks.md."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from agent_core.blocks.model import BLOCK_BYTES, HASH_BYTES
from agent_core.feeds.protocol import read_frame

PROTOCOL = "/chorus/blocks/1.0.0"
MAX_FRAME_BYTES = BLOCK_BYTES + 1024

_Number: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 53)]


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="t"):
    """Base of all frames: a MessagePack map with the frame's name under ``t``; unknown keys are ignored."""


class Want(Frame, frozen=True, kw_only=True, tag="want"):
    """Asks for a block by its address."""

    block: Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]


class Block(Frame, frozen=True, kw_only=True, tag="block"):
    """The block; nothing if the sender doesn't have it."""

    data: Annotated[bytes, Meta(max_length=BLOCK_BYTES)] | None = None


class AskHeld(Frame, frozen=True, kw_only=True, tag="ask_held"):
    """Asks whether the whole body of an entry is held."""

    author: Annotated[str, Meta(max_length=64)]
    epoch: _Number
    seq: _Number


class Held(Frame, frozen=True, kw_only=True, tag="held"):
    """Whether it is."""

    whole: bool


AnyFrame: TypeAlias = Want | Block | AskHeld | Held

_decoder = msgspec.msgpack.Decoder(AnyFrame)
encode = msgspec.msgpack.Encoder().encode


def decode(raw: bytes) -> AnyFrame:
    """Read a frame.

    Raises:
        VerificationFailed: not a frame, or out of bounds.
    """
    frame: AnyFrame = read_frame(_decoder, raw, MAX_FRAME_BYTES)
    return frame
