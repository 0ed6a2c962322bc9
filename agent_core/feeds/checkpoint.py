"""Signed checkpoints of a feed: C2SP tlog-checkpoint bodies in C2SP signed notes (c2sp.org/tlog-checkpoint, /signed-note).

The log's key is the author's Ed25519 key and its key name is the origin line, so other people's tools can check a feed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

from agent_core.errors import VerificationFailed
from agent_core.identity.peer_id import public_key_of
from agent_core.identity.signing import Signer, Verifier

ORIGIN_PREFIX = "chorus-hap/feed/v1"
#: A note longer than this isn't read: ours have about 350 bytes; the rest is room for witnesses.
MAX_NOTE_BYTES = 4096
MAX_SIGNATURES = 16

_ED25519 = b"\x01"
_ORIGIN = re.compile(re.escape(ORIGIN_PREFIX) + r"/([A-Za-z0-9._-]{1,64})/(0|[1-9][0-9]{0,14})\Z")
_SIZE = re.compile(r"(0|[1-9][0-9]{0,14})\Z")
_SIGNATURE = re.compile(r"— ([^ +\n]{1,255}) ([A-Za-z0-9+/]{1,1024}={0,2})\Z")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What an author signs: the root over the first ``size`` entries of one epoch, and the note's exact text."""

    author: str
    epoch: int
    size: int
    root: bytes
    note: str


def origin(author: str, epoch: int) -> str:
    """The origin line, which is the key name too."""
    return f"{ORIGIN_PREFIX}/{author}/{epoch}"


@lru_cache(maxsize=1024)  # a third of the time that signing takes
def key_id(author: str, epoch: int) -> bytes:
    """The four bytes by which a signature line names its key (C2SP signed-note, Ed25519)."""
    return hashlib.sha256(f"{origin(author, epoch)}\n".encode() + _ED25519 + _key_bytes(author)).digest()[:4]


def verifier_key(author: str, epoch: int) -> str:
    """The key that checks a feed's notes, as text (C2SP signed-note): name, key id in hex, algorithm and key in base64.

    Raises:
        ValueError: the author is no peer id of an Ed25519 key.
    """
    key = base64.b64encode(_ED25519 + public_key_of(author)).decode()
    return f"{origin(author, epoch)}+{key_id(author, epoch).hex()}+{key}"


def sign(signer: Signer, epoch: int, size: int, root: bytes) -> Checkpoint:
    """Sign the head of one's own feed."""
    author = signer.peer_id
    name = origin(author, epoch)
    text = f"{name}\n{size}\n{base64.b64encode(root).decode()}\n"
    signature = base64.b64encode(key_id(author, epoch) + signer.sign(text.encode())).decode()
    return Checkpoint(author, epoch, size, root, f"{text}\n— {name} {signature}\n")


def verify(note: str, author: str, epoch: int, verifier: Verifier) -> Checkpoint:
    """Read a note and check that the author signed it for this epoch.

    Lines by keys that aren't the author's (witnesses) are ignored, as signed-note demands.

    Raises:
        VerificationFailed: malformed, of another feed, or not signed by the author.
    """
    found, text, signatures = _parse(note)
    if (found.author, found.epoch) != (author, epoch):
        raise VerificationFailed("A checkpoint is of another feed.")
    name, wanted = origin(author, epoch), key_id(author, epoch)
    for signer_name, blob in signatures:
        if signer_name == name and blob[:4] == wanted:
            if len(blob) == 68 and verifier.verify(author, text.encode(), blob[4:]):
                return found
            break
    raise VerificationFailed("A checkpoint isn't signed by its author.")


def parse(note: str) -> Checkpoint:
    """Read a note without checking who signed it.

    Raises:
        VerificationFailed: malformed.
    """
    return _parse(note)[0]


def _parse(note: str) -> tuple[Checkpoint, str, list[tuple[str, bytes]]]:
    if len(note) > MAX_NOTE_BYTES:
        raise VerificationFailed("A checkpoint is too long.")
    text, blank, tail = note.partition("\n\n")
    lines = text.split("\n")
    if not blank or len(lines) != 3 or not tail.endswith("\n"):
        raise VerificationFailed("A checkpoint isn't a signed note of three lines.")
    named, sized = _ORIGIN.match(lines[0]), _SIZE.match(lines[1])
    if named is None or sized is None:
        raise VerificationFailed("A checkpoint has an unknown origin or a malformed size.")
    root = _unbase64(lines[2])
    if len(root) != 32:
        raise VerificationFailed("A checkpoint's root isn't a SHA-256 hash.")
    signatures: list[tuple[str, bytes]] = []
    for line in tail[:-1].split("\n")[: MAX_SIGNATURES + 1]:
        match = _SIGNATURE.match(line)
        if match is None or len(signatures) == MAX_SIGNATURES:
            raise VerificationFailed("A checkpoint has malformed or too many signature lines.")
        signatures.append((match[1], _unbase64(match[2])))
    return Checkpoint(named[1], int(named[2]), int(sized[1]), root, note), f"{text}\n", signatures


def _unbase64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise VerificationFailed("A checkpoint has malformed base64.") from exc
    if base64.b64encode(raw).decode() != text:
        raise VerificationFailed("A checkpoint has base64 in more than one form.")
    return raw


def _key_bytes(author: str) -> bytes:
    try:
        return public_key_of(author)
    except ValueError:  # the simulator's peers have plain names, which stand for their keys there; Ed25519 refuses them
        return author.encode("utf-8", "surrogatepass")
