"""Signing and verifying: one small protocol, real Ed25519 (RFC 8032) behind it, replaceable by a counted fake in the search."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from agent_core.identity.peer_id import peer_id_of, public_key_of


class Signer(Protocol):
    """Signs as one peer."""

    @property
    def peer_id(self) -> str:
        """Whose signatures these are."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of the message."""
        ...


class Verifier(Protocol):
    """Checks anybody's signatures."""

    def verify(self, peer_id: str, message: bytes, signature: bytes) -> bool:
        """Whether the peer signed the message; never raises."""
        ...


class Ed25519Signer:
    """Signs with a 32-byte Ed25519 seed. PyNaCl, because it signs and verifies faster than ``cryptography`` here."""

    def __init__(self, seed: bytes) -> None:
        from nacl.signing import SigningKey

        self._key = SigningKey(seed)
        self.public_key = bytes(self._key.verify_key)
        self._peer_id = peer_id_of(self.public_key)

    @property
    def peer_id(self) -> str:
        return self._peer_id

    def sign(self, message: bytes) -> bytes:
        return bytes(self._key.sign(message).signature)


class Ed25519Verifier:
    """Verifies against the public key inside the peer id."""

    def verify(self, peer_id: str, message: bytes, signature: bytes) -> bool:
        from nacl.exceptions import CryptoError
        from nacl.signing import VerifyKey

        try:
            VerifyKey(_public_key(peer_id)).verify(message, signature)
        except (CryptoError, ValueError, TypeError):
            return False
        return True


@lru_cache(maxsize=1024)
def _public_key(peer_id: str) -> bytes:
    return public_key_of(peer_id)
