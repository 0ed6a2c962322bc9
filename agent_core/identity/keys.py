"""The keys of a home: made once, atomically, 0600; read back with a clear word about what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent_core.errors import StoreError
from agent_core.home import write_whole
from agent_core.identity.kind import Kind
from agent_core.identity.peer_id import peer_id_of
from agent_core.strict_json import UNREADABLE

SEED_BYTES = 32


class Card(msgspec.Struct, frozen=True):
    """What is fixed when the home is made, beside the keys."""

    kind: Kind
    peer_id: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a home is. ``seed`` is the 32-byte Ed25519 seed; ``age_secret`` opens what is encrypted to this node."""

    peer_id: str
    kind: Kind
    seed: bytes
    age_secret: str
    age_recipient: str


def exists(directory: Path) -> bool:
    """Whether an identity was ever made here."""
    return any((directory / name).exists() for name in ("ed25519", "age", "card.json"))


def load(directory: Path) -> Identity:
    """Read the identity of a home.

    Raises:
        StoreError: a key file is missing, truncated or doesn't belong to the others.
    """
    import pyrage
    from pyrage import x25519

    seed = _seed(directory)
    try:
        age = x25519.Identity.from_str(_read(directory / "age").decode().strip())
    except (ValueError, UnicodeDecodeError, pyrage.IdentityError) as exc:
        raise _broken(directory / "age", "it isn't an age identity") from exc
    card = load_card(directory)
    peer_id = _peer_id(seed)
    if card.peer_id != peer_id:
        raise _broken(directory / "ed25519", f"it is the key of {peer_id}, and this home is {card.peer_id}")
    return Identity(peer_id, card.kind, seed, str(age), str(age.to_public()))


def load_card(directory: Path) -> Card:
    """Whose home this is, without opening its keys.

    Raises:
        StoreError: the card is missing or broken.
    """
    try:
        return msgspec.json.decode(_read(directory / "card.json"), type=Card)
    except UNREADABLE as exc:
        raise _broken(directory / "card.json", str(exc)) from exc


def create(directory: Path, kind: Kind, random: Callable[[int], bytes] = os.urandom) -> Identity:
    """Make the identity of a home that has none; keys that are there already, after an interrupted start, are kept.

    Raises:
        StoreError: the disk refuses, or what is there is damaged.
    """
    from pyrage import x25519

    if not (directory / "ed25519").exists():
        if (directory / "age").exists():  # made after it, so it was there
            raise _broken(directory / "ed25519", "it is missing")
        write_whole(directory / "ed25519", random(SEED_BYTES))
    if not (directory / "age").exists():
        write_whole(directory / "age", f"{x25519.Identity.generate()}\n".encode())
    seed = _seed(directory)
    write_whole(directory / "card.json", msgspec.json.encode(Card(kind, _peer_id(seed))))
    return load(directory)


def load_or_create(directory: Path, kind: Kind, *, whole: bool = False) -> Identity:
    """The identity of a home, made if it was never there. An existing home keeps its kind.

    Args:
        directory: where the keys are.
        kind: of a home that is made, or whose card is gone.
        whole: a node was up here before, so no key is made anew; only the card is, since the keys give it.

    Raises:
        StoreError: as :func:`load` and :func:`create`.
    """
    if (directory / "card.json").exists():
        return load(directory)
    for name in ("ed25519", "age") if whole else ():
        if not (directory / name).exists():
            raise _broken(directory / name, "it is missing")
    return create(directory, kind)


def _seed(directory: Path) -> bytes:
    seed = _read(directory / "ed25519")
    if len(seed) != SEED_BYTES:
        raise _broken(directory / "ed25519", f"it has {len(seed)} bytes where {SEED_BYTES} belong")
    return seed


def _peer_id(seed: bytes) -> str:
    from nacl.signing import SigningKey

    return peer_id_of(bytes(SigningKey(seed).verify_key))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise _broken(path, exc.strerror or str(exc)) from exc


def _broken(path: Path, why: str) -> StoreError:
    return StoreError(
        f"The identity in {path.parent} can't be used: {path.name}: {why}.",
        "Put the file back from a copy of this home, or start a new identity with another --home.",
    )
