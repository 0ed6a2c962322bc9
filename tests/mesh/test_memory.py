"""What homes remember, on real nodes: old copies that are put back, meshes that start again, bodies that must go."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chorus_hap.tour import TIMINGS, Daemon, mesh
from tests.support.daemons import agreed, messages, revived, status, texts, voters
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[list[Daemon]]:
    with mesh(tmp_path) as running:
        until(lambda: all(voters(d) == 3 for d in running), 20, "three voters")
        yield running


def say(daemon: Daemon, room: str, text: str) -> Any:
    return daemon.call("hmmm.post", room=room, text=text)


def spread(daemons: list[Daemon], room: str, expected: set[str], within_s: float = 10) -> None:
    for daemon in daemons:
        until(lambda daemon=daemon: texts(daemon, room) == expected, within_s, f"{expected} on {daemon.name}")


def voter_changes(daemon: Daemon) -> int:
    entries: Any = daemon.call("log.tail", limit=200)
    return sum(e["type"] == "act" and " voter" in e["text"] for e in entries)


def test_an_old_copy_of_a_home_fetches_what_it_lost_and_votes_again_when_told(daemons: list[Daemon]) -> None:
    old, others = daemons[2], daemons[:2]
    say(old, "memory", "before the copy")
    spread(daemons, "memory", {"before the copy"})
    old.end()
    copy = old.home.with_name("copy")
    shutil.copytree(old.home, copy)

    old = daemons[2] = revived(old)
    say(old, "memory", "after the copy")
    spread(daemons, "memory", {"before the copy", "after the copy"})
    old.end()
    shutil.rmtree(old.home)
    copy.rename(old.home)

    old = daemons[2] = revived(old)
    until(lambda: any("older copy" in note for note in status(old)["notes"]), 15, "it says what it is")
    spread(daemons, "memory", {"before the copy", "after the copy"})
    until(lambda: voter_changes(daemons[0]) == 2 + 2, 15, "demoted, and promoted again")
    until(lambda: not any("No vote" in note for note in status(old)["notes"]), 5, "and trusted")
    assert status(old)["voter"]
    say(old, "memory", "with a new epoch")
    spread(daemons, "memory", {"before the copy", "after the copy", "with a new epoch"})
    assert agreed(daemons)
    for daemon in daemons:
        verified: Any = daemon.call("log.verify")
        assert verified["ok"]
        assert not verified["forks"]
    assert messages(others[0], "memory")[-1]["key"].split("/")[1] == "1", "written in the next epoch"


def test_a_home_without_its_instance_file_says_so_and_votes_again_when_told(daemons: list[Daemon]) -> None:
    moved = daemons[1]
    say(moved, "moved", "from there")
    spread(daemons, "moved", {"from there"})
    moved.end()
    (moved.home / "instance").unlink()
    moved = daemons[1] = revived(moved)
    until(lambda: any("instance file" in note for note in status(moved)["notes"]), 5, "it says what it is")
    until(lambda: voter_changes(daemons[0]) == 2 + 2, 15, "demoted, and promoted again")
    until(lambda: not any("No vote" in note for note in status(moved)["notes"]), 5, "and trusted")
    assert say(moved, "moved", "here I am")["key"].split("/")[1] == "1", "in the next epoch"
    spread(daemons, "moved", {"from there", "here I am"})


def test_a_purged_body_is_gone_everywhere_and_every_feed_verifies(daemons: list[Daemon]) -> None:
    author, other, away = daemons[1], daemons[0], daemons[2]
    key = say(author, "purge", "a password")["key"]
    spread(daemons, "purge", {"a password"})
    away.end()
    words = [sys.executable, "-m", "chorus_hap", "log", "purge", key, "--home", str(author.home)]
    assert subprocess.run(words, check=False).returncode == 1, "not without --yes"
    assert texts(author, "purge") == {"a password"}
    subprocess.run([*words, "--yes"], check=True)

    def purged(daemon: Daemon) -> bool:
        return [(m["text"], m["missing"]) for m in messages(daemon, "purge")] == [("", "purged")]

    until(lambda: purged(author) and purged(other), 5, "purged on both that run")
    away = daemons[2] = revived(away)
    until(lambda: purged(away), 15, "purged on the one that was away")
    for at, daemon in enumerate(daemons):
        daemon.end()
        daemons[at] = revived(daemon)
        until(lambda at=at: purged(daemons[at]), 5, "purged after a restart too")
        stored = (daemon.home / "store.db").read_bytes() + (daemon.home / "store.db-wal").read_bytes()
        assert b"a password" not in stored
    for daemon in daemons:
        verified: Any = daemon.call("log.verify")
        assert verified["ok"]
        assert not verified["forks"]


def test_only_the_author_and_the_master_may_purge(daemons: list[Daemon]) -> None:
    master, author, other = daemons
    assert status(master)["authority"] == "master"
    key = say(author, "purge", "said in haste")["key"]
    spread(daemons, "purge", {"said in haste"})
    with pytest.raises(Exception, match="Only its author or the admin"):
        other.call("log.purge", key=key)
    master.call("log.purge", key=key)
    for daemon in daemons:
        until(lambda daemon=daemon: messages(daemon, "purge")[0]["missing"] == "purged", 10, f"gone on {daemon.name}")


def test_a_mesh_that_was_off_finds_itself_again(daemons: list[Daemon]) -> None:
    said = {f"entry {n}" for n in range(5)}
    for text in said:
        say(daemons[1], "again", text)
    spread(daemons, "again", said)
    term = until(lambda: agreed(daemons), 10, "a leader")[1]
    for daemon in daemons:
        daemon.process.terminate()
    for daemon in daemons:
        daemon.end()
    daemons[:] = [Daemon(d.home, d.name, (*TIMINGS, "cluster.found=false")) for d in daemons]
    for daemon in daemons:
        daemon.wait("leader")
    assert until(lambda: agreed(daemons), 20, "a leader again")[1] > term
    spread(daemons, "again", said)
    for daemon in daemons:
        assert status(daemon)["peers"] == 2
    say(daemons[2], "again", "awake")
    spread(daemons, "again", said | {"awake"})
