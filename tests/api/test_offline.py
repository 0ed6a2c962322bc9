from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent_core.api.offline import CLUSTER_KEY, Offline
from agent_core.clock import HybridClock, rfc3339, unpack
from agent_core.errors import InvalidInput, NoNode, NotFound
from agent_core.feeds.model import Draft
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData
from agent_core.home import Home
from agent_core.identity import keys
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier
from agent_core.roster import service as roster_service
from agent_core.roster.model import Kind
from agent_core.shapes import Status, Verification
from agent_core.version import VERSION


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    """A home on which a node once wrote three entries."""
    home = Home(tmp_path / "home")
    home.create()
    identity = keys.load_or_create(home.identity, Kind.AGENT)
    store = Store.open(home.store)
    feeds = Feeds(store, Ed25519Signer(identity.seed), Ed25519Verifier(), HybridClock())
    for n in range(3):
        await feeds.append([Draft(HMMM_MESSAGE, MessageData(room="r", intent="update"), f"word {n}".encode())])
    store.close()
    return home


async def test_a_home_answers_without_a_node(home: Home) -> None:
    with Offline(home) as offline:
        status = offline.call("status")
        assert isinstance(status, Status)
        assert (status.offline, status.as_of, status.entries, status.mode) == (True, offline.as_of, 3, "offline")
        assert status.leader is None
        lines = offline.call("log.tail", limit=2)
        assert [line.text for line in lines] == ["word 1", "word 2"]
        assert lines[-1].at == offline.as_of
        verified = offline.call("log.verify")
        assert isinstance(verified, Verification)
        assert (verified.ok, verified.entries) == (True, 3)
        assert offline.call("election.show").why.startswith("No node runs")
        assert offline.call("peers") == ()
        # The home belongs to no cluster, so nothing is folded.
        assert offline.call("hmmm.rooms") == ()
        assert offline.call("shhh.check", text="nothing in here") == ()


async def test_entries_are_proven_and_feeds_exported_page_by_page(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_core.api.reading._PAGE_BYTES", 700)  # two of the entries
    me = keys.load(home.identity).peer_id
    with Offline(home) as offline:
        proof = offline.call("log.prove", entry="1")
        assert (proof.key, proof.size) == (f"{me}/0/1", 3)
        assert offline.call("log.prove", entry=proof.id) == offline.call("log.prove", entry=proof.key) == proof
        assert offline.call("log.prove", entry="1", author=me, epoch=0) == proof
        for wrong in (
            {"entry": "3"},
            {"entry": "9" * 400},
            {"entry": "1", "epoch": 1},
            {"entry": "1", "author": "ann"},
        ):
            with pytest.raises(NotFound):
                offline.call("log.prove", **wrong)
        first, second = (offline.call("log.export", start=start, bodies=True) for start in (0, 2))
        assert [item.body for item in (*first.items, *second.items)] == [b"word 0", b"word 1", b"word 2"]
        assert first.items[1].header == proof.header
        assert first.checkpoint == second.checkpoint == proof.proof.partition("\n\n")[2]
        assert offline.call("log.export", start=3).items == ()
        assert offline.call("log.export").items[0].body is None


async def test_the_first_frame_has_what_the_store_has(home: Home) -> None:
    with Offline(home) as offline:
        slices = offline.slices(["status", "rooms", "room:r", "log", "peers", "traffic"])
    assert set(slices) == {"as_of", "status", "rooms", "room:r", "log"}
    assert len(slices["log"]) == 3


async def test_what_needs_a_node_says_so(home: Home) -> None:
    with Offline(home) as offline:
        for name in ("hmmm.post", "session.end_preview", "nonsense"):
            with pytest.raises(NoNode, match=name):
                offline.call(name)
        with pytest.raises(InvalidInput):
            offline.call("log.tail", limit="many")
        with pytest.raises(NotFound):
            offline.call("decisions.show", id="zzzz")


async def test_it_reads_beside_a_writer(home: Home) -> None:
    identity = keys.load(home.identity)
    store = Store.open(home.store)
    clock = HybridClock(last=store.latest_hlc(identity.peer_id))
    feeds = Feeds(store, Ed25519Signer(identity.seed), Ed25519Verifier(), clock)
    (entry,) = await feeds.append([Draft(HMMM_MESSAGE, MessageData(room="r", intent="update"), b"fresh")])
    with Offline(home) as offline:
        assert offline.call("status").entries == 4
        assert offline.as_of == rfc3339(unpack(entry.header.hlc)[0])
    store.close()


def test_a_home_without_a_store_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    with pytest.raises(NotFound):
        Offline(home)
    assert not home.store.exists()


def test_node_and_offline_agree_on_where_the_cluster_is_kept() -> None:
    assert roster_service.CLUSTER_KEY == CLUSTER_KEY


def test_reading_offline_imports_nothing_heavy() -> None:
    heavy = ["trio", "textual", "libp2p", "asyncio", "cryptography", "nacl", "starlette", "hypercorn", "structlog"]
    code = f"import sys, agent_core.api.offline; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert found.stdout.strip() == "[]"


def test_the_version_is_the_packages() -> None:
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    assert f'version = "{VERSION}"' in pyproject.read_text()
