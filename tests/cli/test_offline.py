"""Reading commands on a home that no node runs on: the store answers, nothing is started, nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent_core.clock import HybridClock
from agent_core.feeds.model import Draft
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData
from agent_core.home import Home
from agent_core.identity import keys
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier
from agent_core.roster.model import Kind
from chorus_hap import cli


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    """A home on which a node once wrote two entries; it belongs to no cluster."""
    home = Home(tmp_path / "home")
    home.create()
    identity = keys.load_or_create(home.identity, Kind.AGENT)
    store = Store.open(home.store)
    feeds = Feeds(store, Ed25519Signer(identity.seed), Ed25519Verifier(), HybridClock())
    for word in ("first", "second"):
        await feeds.append([Draft(HMMM_MESSAGE, MessageData(room="r", intent="update"), word.encode())])
    store.close()
    return home.root


async def test_reading_says_that_it_is_offline_and_as_of_when(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--home", str(home), "--json"]) == 0
    printed = capfd.readouterr()
    status = json.loads(printed.out)
    assert status["offline"] is True
    assert status["as_of"]
    assert printed.err.startswith("offline, as of ")
    assert not (home / "run" / "node.json").exists()


async def test_the_log_is_read_and_verified(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["log", "tail", "--limit", "1", "--json", "--home", str(home)]) == 0
    assert [json.loads(line)["text"] for line in capfd.readouterr().out.splitlines()] == ["second"]
    assert cli.main(["log", "verify", "--home", str(home)]) == 0
    assert "every feed verifies" in capfd.readouterr().out


async def test_every_reading_command_answers(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["status"],
        ["peers"],
        ["members"],
        ["members", "log"],
        ["election", "show"],
        ["election", "why"],
        ["hmmm", "rooms"],
        ["decisions", "list"],
        ["ucxl", "ls"],
        ["log", "tail"],
        ["doctor"],
    ):
        for form in ([], ["--json"]):
            assert cli.main([*words, *form, "--home", str(home)]) == 0, words
    assert "Traceback" not in capfd.readouterr().err


async def test_a_home_without_a_cluster_is_not_written_to(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["hmmm", "post", "r", "hi"], ["election", "resign"], ["decide", "vote", "abc", "approve"]):
        assert cli.main([*words, "--home", str(home)]) == 3
        assert "never founds" in capfd.readouterr().err


async def test_a_damaged_store_is_one_sentence(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (home / "store.db").write_bytes(b"no database at all" * 100)
    assert cli.main(["status", "--home", str(home)]) == 1
    err = capfd.readouterr().err
    assert "store" in err
    assert "nobody foresaw" not in err
