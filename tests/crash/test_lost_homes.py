"""Homes that lost a file: never a new cluster, never somebody else, and what the others hold comes back. Real daemons."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_core.instance import read_instance
from chorus_hap.tour import TIMINGS, Daemon, mesh
from tests.support.daemons import status, texts
from tests.support.waiting import until

pytestmark = pytest.mark.real

NAMES = ("agent-a", "agent-b", "agent-c")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    with mesh(tmp_path_factory.mktemp("lost"), NAMES, TIMINGS) as daemons:
        for daemon in daemons:
            daemon.call("hmmm.post", room="r", text=f"said by {daemon.name}")
        for daemon in daemons:
            until(lambda daemon=daemon: len(texts(daemon, "r")) == 3, 20, "everybody holds all")
        yield daemons


def again(daemon: Daemon, first: Daemon) -> Daemon:
    """The ended daemon, started once more where it finds the first one; ended by the caller."""
    return Daemon(daemon.home, daemon.name, TIMINGS, str(status(first)["addresses"][0]))


def test_an_enrolled_home_is_known_outside_its_database(three: list[Daemon]) -> None:
    for daemon in three:
        known, now = read_instance(daemon.home / "instance"), status(daemon)
        assert known is not None
        assert (known.cluster, known.peer_id, known.agent_id, known.kind) == (
            now["cluster_id"],
            now["peer_id"],
            daemon.name,
            "agent",
        )


def test_a_lost_database_comes_back_from_the_others(three: list[Daemon]) -> None:
    first, lost = three[0], three[2]
    was = status(lost)
    lost.end()
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (lost.home / name).unlink(missing_ok=True)
    back = again(lost, first)
    try:
        until(lambda: status_or_none(back) and len(texts(back, "r")) == 3, 30, "its memory is back, its own words too")
        now = status(back)
        assert (now["peer_id"], now["cluster_id"]) == (was["peer_id"], was["cluster_id"])
        assert any("database was lost" in note for note in now["notes"])
        assert not any("founds no other cluster" in note for note in now["notes"]), "that is settled"
        back.call("hmmm.post", room="r", text="and on in the next epoch")
        until(lambda: "and on in the next epoch" in texts(first, "r"), 20, "the others hear it")
    finally:
        back.end()


def test_a_damaged_database_is_said_put_aside_and_refilled(three: list[Daemon]) -> None:
    first, hurt = three[0], three[1]
    was = status(hurt)
    hurt.end()
    store = hurt.home / "store.db"
    with store.open("r+b") as file:
        file.write(bytes(4096))
    back = again(hurt, first)
    try:
        until(lambda: status_or_none(back) and len(texts(back, "r")) >= 3, 30, "what others hold is fetched back")
        now = status(back)
        assert (now["peer_id"], now["cluster_id"]) == (was["peer_id"], was["cluster_id"])
        assert any("damaged" in note for note in now["notes"])
        assert list((hurt.home / "damaged").glob("store.db.*"))
    finally:
        back.end()


def test_without_its_identity_it_becomes_nobody_else(three: list[Daemon], tmp_path: Path) -> None:
    first = three[0]
    home = tmp_path / "copy"
    shutil.copytree(three[2].home, home, ignore=shutil.ignore_patterns("run"))
    shutil.rmtree(home / "identity")
    stripped = Daemon(home, "agent-c", TIMINGS, str(status(first)["addresses"][0]))
    try:
        until(lambda: stripped.process.poll() is not None, 20, "it refuses to start")
        assert stripped.process.returncode == 1
    finally:
        stripped.end()
    said = (home / "daemon.out").read_text()
    assert "The identity of this home is lost" in said
    assert "agent-c" in said
    assert "Traceback" not in said
    assert not list((home / "identity").iterdir())


def status_or_none(daemon: Daemon) -> bool:
    """Whether the daemon answers and is a member."""
    from agent_core.errors import ChorusError

    try:
        return bool(status(daemon)["cluster_id"]) and status(daemon)["stage"] in ("ready", "degraded", "member")
    except ChorusError:
        return False
