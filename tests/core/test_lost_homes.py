"""Every file of a home that says who and where it is, damaged in every way: never another identity, never another cluster."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent_core.api.offline import Offline
from agent_core.assembly import _identity
from agent_core.errors import ChorusError, StoreError
from agent_core.feeds.epochs import Place
from agent_core.feeds.store import Store
from agent_core.home import Home
from agent_core.identity import keys
from agent_core.instance import Instance, read_instance, write_instance
from agent_core.roster.model import Kind
from chorus_hap.cli.offline import OfflineReader

CLUSTER = "c" * 64


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that was enrolled."""
    home = Home(tmp_path / "home")
    home.create()
    identity = keys.load_or_create(home.identity, Kind.HUMAN)
    store = Store.open(home.store)
    store.write("cluster", CLUSTER.encode())
    Place(store, identity.peer_id, home.instance).enrolled(CLUSTER, "ann", "human")
    store.close()
    return home


def whose(home: Home) -> str:
    """Whose home the next start takes it for."""
    store = Store.open(home.store)
    try:
        return _identity(SimpleNamespace(home=home, kind=Kind.AGENT), store).peer_id  # type: ignore[arg-type]
    finally:
        store.close()


def _gone(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _directory(path: Path) -> None:
    _gone(path)
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": _gone,
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(os.urandom(max(32, path.stat().st_size))),
    "directory": _directory,
}
FILES = ["identity/ed25519", "identity/age", "identity/card.json", "instance", "store.db"]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_home_is_nobody_else(home: Home, name: str, damage: str) -> None:
    me = whose(home)
    DAMAGES[damage](home.root / name)
    found: list[str] = []
    refusal = refused(lambda: found.append(whose(home)))
    if refusal is None:
        assert found == [me]
        assert keys.load(home.identity).kind is Kind.HUMAN
    else:
        assert refusal.next, "what brings it back"
    reading = refused(lambda: OfflineReader(home.root).close())  # a command that reads without a node
    assert reading is None or (reading.next and "No node ever ran" not in reading.message)


def refused(job: Callable[[], object]) -> ChorusError | None:
    """Do something; how it was refused, if it was."""
    try:
        job()
    except ChorusError as exc:
        return exc
    return None


@pytest.mark.parametrize("lost", [["identity"], ["identity", "store.db"]])
def test_without_any_key_it_doesnt_start(home: Home, lost: list[str]) -> None:
    for name in lost:
        _gone(home.root / name)
    home.create()
    with pytest.raises(StoreError, match="The identity of this home is lost"):
        whose(home)
    assert not list(home.identity.iterdir())


def test_the_keys_of_somebody_else_are_refused(home: Home) -> None:
    shutil.rmtree(home.identity)
    home.create()
    keys.create(home.identity, Kind.HUMAN)
    with pytest.raises(StoreError, match="this home was ann"):
        whose(home)


def test_an_interrupted_first_start_goes_on(tmp_path: Path) -> None:
    home = Home(tmp_path / "new")
    home.create()
    Store.open(home.store).close()
    first = whose(home)
    (home.identity / "card.json").unlink()
    assert whose(home) == first


def test_a_home_of_before_learns_as_whom_it_was_enrolled(home: Home) -> None:
    known = read_instance(home.instance)
    assert known is not None
    write_instance(home.instance, Instance(known.id, known.epoch))
    store = Store.open(home.store)
    place = Place(store, keys.load(home.identity).peer_id, home.instance)
    assert place.instance.peer_id
    assert not place.forgotten
    place.enrolled(CLUSTER, "ann", "human")
    store.close()
    assert read_instance(home.instance) == known


def test_a_lost_database_without_a_word_of_where_it_was_founds_nothing(home: Home) -> None:
    known = read_instance(home.instance)
    assert known is not None
    write_instance(home.instance, Instance(known.id, known.epoch))
    home.store.unlink()
    store = Store.open(home.store)
    assert Place(store, keys.load(home.identity).peer_id, home.instance).forgotten
    store.close()


def test_a_command_says_that_the_database_is_lost(home: Home) -> None:
    home.store.unlink()
    with pytest.raises(StoreError, match="it was ann"):
        OfflineReader(home.root)
    with pytest.raises(ChorusError):
        Offline(home)
