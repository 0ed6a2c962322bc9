"""How a large body is cut: blocks of 128 KiB, each addressed by its SHA-256, and the manifest that names them in order.

The manifest is the entry's body, salted and proven like any other: it travels, expires and is purged by the same road, and what it names goes with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from agent_core.errors import VerificationFailed
from agent_core.feeds.model import MAX_BODY_BYTES

BLOCK_BYTES = 128 * 1024
#: Bodies up to this are fetched by every member as soon as their entry is here; larger ones when somebody asks.
EAGER_BYTES = 8 * 1024 * 1024
HASH_BYTES = 32
VERSION = 1
#: What a manifest of 32 KiB can name.
MAX_CONTENT_BYTES = (MAX_BODY_BYTES - 64) // HASH_BYTES * BLOCK_BYTES


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The blocks of one body, as MessagePack: all have 128 KiB but the last."""

    v: int
    size: int  #: bytes of the body
    blocks: bytes  #: SHA-256 of each block, in order, 32 bytes each

    def __len__(self) -> int:
        return len(self.blocks) // HASH_BYTES

    def __iter__(self) -> Iterator[bytes]:
        return (self.blocks[at : at + HASH_BYTES] for at in range(0, len(self.blocks), HASH_BYTES))

    def block(self, index: int) -> bytes:
        """The address of a block."""
        return self.blocks[index * HASH_BYTES : (index + 1) * HASH_BYTES]

    def sizes(self) -> dict[bytes, int]:
        """How long each block must be."""
        last = self.size - (len(self) - 1) * BLOCK_BYTES
        return {hash: BLOCK_BYTES if at < len(self) - 1 else last for at, hash in enumerate(self)}


_decode = msgspec.msgpack.Decoder(Manifest).decode


def address(block: bytes) -> bytes:
    """What a block is called by."""
    return hashlib.sha256(block).digest()


def cut(body: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """A body's manifest, and its blocks by their addresses."""
    parts = [body[at : at + BLOCK_BYTES] for at in range(0, len(body), BLOCK_BYTES)]
    hashes = [address(part) for part in parts]
    manifest = Manifest(v=VERSION, size=len(body), blocks=b"".join(hashes))
    return msgspec.msgpack.encode(manifest), dict(zip(hashes, parts, strict=True))


def parse(raw: bytes, size: int) -> Manifest:
    """Read a manifest.

    Args:
        raw: the entry's body.
        size: how many bytes its header says the blocks hold.

    Raises:
        VerificationFailed: it isn't one of this version, or doesn't name blocks for that many bytes.
    """
    try:
        manifest = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise VerificationFailed(f"A manifest of blocks doesn't parse: {exc}.") from exc
    blocks = -(-size // BLOCK_BYTES)
    if manifest.v != VERSION or manifest.size != size or not 0 < size <= MAX_CONTENT_BYTES:
        raise VerificationFailed("A manifest of blocks is of another version or size than its header says.")
    if len(manifest.blocks) != blocks * HASH_BYTES:
        raise VerificationFailed("A manifest doesn't name as many blocks as its size takes.")
    return manifest
