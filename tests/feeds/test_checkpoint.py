"""Checkpoints: round trip, the C2SP form, and hostile notes."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.errors import VerificationFailed
from agent_core.feeds import checkpoint
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier

SIGNER = Ed25519Signer(bytes(range(32)))
ROOT = hashlib.sha256(b"root").digest()
VERIFIER = Ed25519Verifier()


@given(st.integers(0, 10**12), st.integers(0, 10**14), st.binary(min_size=32, max_size=32))
def test_round_trip(epoch: int, size: int, root: bytes) -> None:
    made = checkpoint.sign(SIGNER, epoch, size, root)
    assert checkpoint.verify(made.note, SIGNER.peer_id, epoch, VERIFIER) == made


def test_the_note_has_the_c2sp_form() -> None:
    note = checkpoint.sign(SIGNER, 0, 3, ROOT).note
    text, _, tail = note.partition("\n\n")
    name = f"chorus-hap/feed/v1/{SIGNER.peer_id}/0"
    assert text.split("\n") == [name, "3", base64.b64encode(ROOT).decode()]
    dash, signer, blob = tail.removesuffix("\n").split(" ")
    raw = base64.b64decode(blob)
    assert (dash, signer) == ("—", name)
    assert raw[:4] == hashlib.sha256(name.encode() + b"\n\x01" + SIGNER.public_key).digest()[:4]
    assert VERIFIER.verify(SIGNER.peer_id, f"{text}\n".encode(), raw[4:])


def test_a_witness_beside_the_author_is_ignored() -> None:
    note = checkpoint.sign(SIGNER, 0, 3, ROOT).note + f"— witness.example {base64.b64encode(bytes(68)).decode()}\n"
    assert checkpoint.verify(note, SIGNER.peer_id, 0, VERIFIER).size == 3


def test_another_feed_or_epoch_is_refused() -> None:
    note = checkpoint.sign(SIGNER, 1, 3, ROOT).note
    other = Ed25519Signer(bytes(32)).peer_id
    for author, epoch in ((SIGNER.peer_id, 0), (other, 1)):
        with pytest.raises(VerificationFailed):
            checkpoint.verify(note, author, epoch, VERIFIER)


@given(st.data())
def test_no_altered_note_verifies(data: st.DataObject) -> None:
    note = checkpoint.sign(SIGNER, 0, 3, ROOT).note
    place = data.draw(st.integers(0, len(note) - 1))
    change = data.draw(st.sampled_from(["replace", "drop", "double"]))
    new = data.draw(st.characters(codec="utf-8").filter(lambda c: c != note[place]))
    altered = {
        "replace": note[:place] + new + note[place + 1 :],
        "drop": note[:place] + note[place + 1 :],
        "double": note[:place] + note[place] + note[place:],
    }[change]
    with pytest.raises(VerificationFailed):
        checkpoint.verify(altered, SIGNER.peer_id, 0, VERIFIER)


@given(st.text(max_size=6000) | st.lists(st.sampled_from(["—", " ", "\n", "\n\n", "a", "0", "AA=="])).map("".join))
def test_hostile_text_only_ever_fails_verification(text: str) -> None:
    with pytest.raises(VerificationFailed):
        checkpoint.verify(text, SIGNER.peer_id, 0, VERIFIER)


def test_a_note_with_endless_signatures_is_refused() -> None:
    note = checkpoint.sign(SIGNER, 0, 3, ROOT).note
    with pytest.raises(VerificationFailed):
        checkpoint.verify(note + "— w AA==\n" * 17, SIGNER.peer_id, 0, VERIFIER)
