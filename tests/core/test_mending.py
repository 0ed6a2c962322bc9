"""A page of a database that was zeroed: found, put aside, and what can be read of it taken over. Every page of every database."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio

from agent_core.blocks.store import BlockStore
from agent_core.clock import HybridClock
from agent_core.errors import StoreDamaged, StoreError
from agent_core.feeds.model import Draft
from agent_core.feeds.schema import watching
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData
from agent_core.home import Home
from agent_core.identity import keys
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier
from agent_core.lost import ASIDE
from agent_core.mending import mend
from agent_core.roster.model import Kind
from agent_core.scrub import Scrub, check, tables
from tests.support.waiting import until

PAGE = 4096
ENTRIES = 90


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with some ninety entries, all in its database file."""
    home = Home(tmp_path_factory.mktemp("mending") / "home")
    home.create()

    async def write() -> None:
        identity = keys.load_or_create(home.identity, Kind.AGENT)
        store = Store.open(home.store)
        feeds = Feeds(store, Ed25519Signer(identity.seed), Ed25519Verifier(), HybridClock(), instance=home.instance)
        for n in range(0, ENTRIES, 10):
            drafts = [
                Draft(HMMM_MESSAGE, MessageData(room="r", intent="update"), f"{m} ".encode() * 90, op=f"op-{m}")
                for m in range(n, n + 10)
            ]
            await feeds.append(drafts)
        store.write("cluster", b"c" * 64)
        store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.close()
        BlockStore.open(home.blocks).close()

    trio.run(write)
    return home.root


def copy(template: Path, to: Path) -> Home:
    shutil.copytree(template, to)
    return Home(to)


def zeroed(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(bytes(PAGE))


def pages(path: Path) -> range:
    return range(path.stat().st_size // PAGE)


def found(home: Home) -> StoreDamaged | None:
    """What opening and looking through the database comes upon."""
    try:
        Store.open(home.store).close()
        for table in tables(home.store):
            if said := check(home.store, table):
                error = StoreDamaged(said)
                error.path = str(home.store)
                return error
    except StoreDamaged as exc:
        return exc
    return None


def test_every_zeroed_page_is_found_and_the_readable_rest_taken_over(template: Path, tmp_path: Path) -> None:
    whole = 0
    for page in pages(template / "store.db"):
        home = copy(template, tmp_path / str(page))
        before = home.store.read_bytes()
        zeroed(home.store, page)
        damage = found(home)
        assert damage is not None, f"page {page} is not missed"
        damaged_bytes = home.store.read_bytes()
        mended = mend(home, damage)
        assert mended.aside.parent.name == ASIDE
        assert mended.aside.read_bytes()[page * PAGE : (page + 1) * PAGE] == bytes(PAGE), "the damaged file is kept"
        assert len(damaged_bytes) == len(before)
        store = Store.open(home.store)
        assert store.verify().ok
        assert mended.entries == store.entry_count
        if mended.whole:
            whole += 1
            assert store.entry_count == ENTRIES
            assert store.read("feeds.instance")
            assert store.read("cluster")
        else:
            assert not store.read("feeds.instance"), "the home must know that it forgot something"
        store.close()
        assert str(mended)
        shutil.rmtree(home.root)
    assert whole >= 5, "damage to an index, a text or what entries say again costs no entry"


def test_a_database_of_which_nothing_can_be_read_is_put_aside(template: Path, tmp_path: Path) -> None:
    for number, content in enumerate(
        (b"no database at all" * 300, bytes(PAGE * 4), b"SQLite format 3\0" + bytes(PAGE))
    ):
        home = copy(template, tmp_path / str(number))
        home.store.write_bytes(content)
        damage = found(home)
        assert damage is not None
        mended = mend(home, damage)
        assert mended.aside.read_bytes() == content
        assert (mended.entries, mended.whole, home.store.exists()) == (0, False, False)


def test_blocks_are_put_aside_too(template: Path, tmp_path: Path) -> None:
    home = copy(template, tmp_path / "h")
    zeroed(home.blocks, 0)
    with pytest.raises(StoreDamaged) as damage:
        BlockStore.open(home.blocks)
    mended = mend(home, damage.value)
    assert "fetched back" in str(mended)
    BlockStore.open(home.blocks).close()


def test_a_second_database_put_aside_in_the_same_second_keeps_the_first(template: Path, tmp_path: Path) -> None:
    home = copy(template, tmp_path / "h")
    for _ in range(3):
        home.store.write_bytes(b"x" * PAGE)
        damage = found(home)
        assert damage is not None
        mend(home, damage)
    assert len(list((home.root / ASIDE).glob("store.db.*"))) == 3


def test_damage_is_told_wherever_it_is_come_upon(template: Path, tmp_path: Path) -> None:
    home = copy(template, tmp_path / "h")
    zeroed(home.store, len(pages(home.store)) - 1)
    told: list[StoreDamaged] = []
    with watching([home.store], told.append):
        damage = found(home)
    assert told or damage
    before = len(told)
    home.store.write_bytes(b"x" * PAGE)
    with pytest.raises(StoreError):
        Store.open(home.store)
    assert len(told) == before, "nobody watches any more"


async def test_the_scrub_comes_upon_what_nobody_reads(template: Path, tmp_path: Path) -> None:
    home = copy(template, tmp_path / "h")
    told: list[StoreDamaged] = []
    sound = Scrub([home.store, home.blocks, home.snapshot], first_s=0, every_s=0.01)

    with watching([home.store], told.append):
        async with trio.open_nursery() as nursery:
            await nursery.start(sound.run)
            await trio.to_thread.run_sync(until, lambda: sound.rounds, 5, "a round of the scrub")
            nursery.cancel_scope.cancel()
        assert not told
        zeroed(home.store, len(pages(home.store)) - 1)
        with pytest.raises(ExceptionGroup):
            async with trio.open_nursery() as nursery:
                await nursery.start(Scrub([home.store], first_s=0).run)
        assert told[0].path == str(home.store)
