"""Identity: made once, kept, and plain about damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_core.errors import StoreError
from agent_core.identity import keys
from agent_core.identity.peer_id import peer_id_of, public_key_of
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier
from agent_core.roster.model import Kind


def test_made_once_and_the_kind_stays(tmp_path: Path) -> None:
    made = keys.load_or_create(tmp_path, Kind.AGENT)
    assert keys.load_or_create(tmp_path, Kind.HUMAN) == made
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in tmp_path.iterdir())


@pytest.mark.parametrize("name", ["ed25519", "age", "card.json"])
def test_a_truncated_file_is_named_and_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    keys.load_or_create(tmp_path, Kind.AGENT)
    cut = (tmp_path / name).read_bytes()[:7]
    (tmp_path / name).write_bytes(cut)
    with pytest.raises(StoreError) as caught:
        keys.load_or_create(tmp_path, Kind.AGENT)
    assert name in caught.value.message
    assert (tmp_path / name).read_bytes() == cut


def test_a_lost_card_keeps_the_key(tmp_path: Path) -> None:
    made = keys.load_or_create(tmp_path, Kind.AGENT)
    (tmp_path / "card.json").unlink()
    assert keys.load_or_create(tmp_path, Kind.AGENT).peer_id == made.peer_id


def test_signatures_and_peer_ids() -> None:
    signer = Ed25519Signer(bytes(32))
    assert peer_id_of(public_key_of(signer.peer_id)) == signer.peer_id
    signature = signer.sign(b"x")
    verify = Ed25519Verifier().verify
    assert verify(signer.peer_id, b"x", signature)
    assert not verify(signer.peer_id, b"y", signature)
    assert not verify("nonsense", b"x", signature)
    assert not verify(signer.peer_id, b"x", b"short")
    with pytest.raises(ValueError, match="peer id"):
        public_key_of("1" * 100)


def test_a_lost_key_is_not_made_anew(tmp_path: Path) -> None:
    keys.create(tmp_path, Kind.AGENT)
    for name in ("ed25519", "card.json"):
        (tmp_path / name).unlink()
    with pytest.raises(StoreError, match="ed25519: it is missing"):
        keys.load_or_create(tmp_path, Kind.AGENT)
    assert not (tmp_path / "ed25519").exists()
