"""libp2p peer ids of Ed25519 keys, computed without libp2p (libp2p specs, peer-ids)."""

from __future__ import annotations

import base58

_PUBLIC_KEY_PROTOBUF = bytes((0x08, 0x01, 0x12, 0x20))
_IDENTITY_MULTIHASH = bytes((0x00, 0x24))


def peer_id_of(public_key: bytes) -> str:
    """The peer id (base58 text) of a 32-byte Ed25519 public key."""
    if len(public_key) != 32:
        raise ValueError(f"an Ed25519 public key has 32 bytes, not {len(public_key)}")
    return str(base58.b58encode(_IDENTITY_MULTIHASH + _PUBLIC_KEY_PROTOBUF + public_key), "ascii")


def public_key_of(peer_id: str) -> bytes:
    """The 32-byte Ed25519 public key that an inlined peer id carries.

    Raises:
        ValueError: not a peer id, or one of another key type.
    """
    if len(peer_id) > 64:
        raise ValueError("not an Ed25519 peer id: too long")
    raw = bytes(base58.b58decode(peer_id))
    prefix = _IDENTITY_MULTIHASH + _PUBLIC_KEY_PROTOBUF
    if len(raw) != len(prefix) + 32 or not raw.startswith(prefix):
        raise ValueError(f"not an Ed25519 peer id: {peer_id!r}")
    return raw[len(prefix) :]
