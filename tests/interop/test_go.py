"""Exported feeds and proofs are accepted by Go's ``sumdb/note`` and ``sumdb/tlog``, and refused when anything is changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import trio

from agent_core.clock import HybridClock
from agent_core.feeds.model import Draft
from agent_core.feeds.proofs import verifier_key
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData
from agent_core.home import Home
from agent_core.identity import keys
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier
from agent_core.roster.model import Kind
from chorus_hap import cli
from tests.interop.tools import Go

pytestmark = pytest.mark.real

#: Two full tiles, a partial one, and one on the level above.
ENTRIES = 600


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home on which a node once wrote some hundred entries."""
    home = Home(tmp_path_factory.mktemp("home") / "home")
    home.create()
    identity = keys.load_or_create(home.identity, Kind.AGENT)
    store = Store.open(home.store)
    feeds = Feeds(store, Ed25519Signer(identity.seed), Ed25519Verifier(), HybridClock())
    drafts = [Draft(HMMM_MESSAGE, MessageData(room="r", intent="update"), b"word %d" % n) for n in range(ENTRIES)]
    trio.run(feeds.append, drafts)
    store.close()
    return home.root


def changed(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def flipped(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_proof_is_accepted_and_a_changed_one_is_not(
    home: Path, go: Go, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for seq in (0, 255, 256, ENTRIES - 1):
        base = tmp_path / str(seq)
        assert cli.main(["log", "prove", str(seq), "--out", str(base), "--json", "--home", str(home)]) == 0
        said = json.loads(capfd.readouterr().out)
        key, proof, header = said["verifier"], tmp_path / f"{seq}.tlog-proof", tmp_path / f"{seq}.header"
        assert go("proof", key, proof, header) == (True, "verified\n"), said
        # The same by its id, on standard output.
        assert cli.main(["log", "prove", said["id"], "--home", str(home)]) == 0
        assert capfd.readouterr().out.encode() == proof.read_bytes()

    kept = proof.read_bytes(), header.read_bytes()
    path = kept[0].split(b"\n")
    for file, what, old, new, why in (
        (header, "the entry", b"hmmm", b"hmmn", "invalid transparency proof"),
        (proof, "the number", b"index 599", b"index 598", "invalid transparency proof"),
        (proof, "a step", path[2][:8], b"AAAAAAAA", "invalid transparency proof"),
        (proof, "a step too few", path[2] + b"\n", b"", "invalid transparency proof"),
        (proof, "the size", b"\n600\n", b"\n601\n", "invalid signature"),
        (proof, "the signature", path[-2][-20:-12], b"AAAAAAAA", "invalid signature"),
    ):
        proof.write_bytes(kept[0])
        header.write_bytes(kept[1])
        changed(file, old, new)
        accepted, refusal = go("proof", key, proof, header)
        assert not accepted, what
        assert why in refusal, what
    proof.write_bytes(kept[0])
    header.write_bytes(kept[1])
    stranger = verifier_key(Ed25519Signer(bytes(32)).peer_id, 0)
    assert not go("proof", stranger, proof, header)[0]
    assert go("proof", key, proof, header)[0]


def test_a_feed_is_accepted_and_a_changed_one_is_not(
    home: Path, go: Go, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    feed = tmp_path / "feed"
    assert cli.main(["log", "export", str(feed), "--bodies", "--json", "--home", str(home)]) == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["entries"], said["bodies"]) == (ENTRIES, ENTRIES)
    assert (feed / "body/599").read_bytes()[16:] == b"word 599"
    key = (feed / "verifier").read_text().strip()
    assert key == said["verifier"]
    assert go("feed", key, feed) == (True, "verified\n")

    for what, change in (
        ("an entry", lambda copy: changed(copy / "tile/entries/001", b"hmmm", b"hmmn")),
        ("a hash of the tree", lambda copy: flipped(copy / "tile/0/001", 40)),
        ("the level above", lambda copy: flipped(copy / "tile/1/000.p/2", 40)),
        ("the checkpoint", lambda copy: changed(copy / "checkpoint", b"\n600\n", b"\n599\n")),
        ("its signature", lambda copy: flipped(copy / "checkpoint", -10)),
        ("an entry that is gone", lambda copy: (copy / "tile/entries/002.p/88").write_bytes(b"")),
    ):
        copy = tmp_path / "copy"
        shutil.copytree(feed, copy)
        change(copy)
        accepted, refusal = go("feed", key, copy)
        assert not accepted, what
        assert "refused: " in refusal, what
        shutil.rmtree(copy)

    # An export is brought up to date, but nothing else is written over.
    assert cli.main(["log", "export", str(feed), "--home", str(home)]) == 0
    assert cli.main(["log", "export", str(tmp_path), "--home", str(home)]) == 2
    assert "empty directory" in capfd.readouterr().err
