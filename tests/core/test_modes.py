"""Every file of a home is for its user alone, whatever the umask and whatever was there before; no other directory is touched."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_core import databases, modes
from agent_core.blocks.store import BlockStore
from agent_core.errors import StoreError
from agent_core.feeds.store import Store
from agent_core.home import Home, HomeLock, write_whole
from agent_core.identity import keys
from agent_core.roster.model import Kind
from agent_core.snapshot import open_snapshots
from chorus_hap import cli
from chorus_hap.session import Session
from chorus_hap.wizard import drafts

#: What a home may hold from before, made by an older version or another program.
OLD = (
    "config.toml", "roles.toml", "instance", "api.token", "shhh.key", "console.json", ".console.json",
    "store.db", "store.db-wal", "store.db-shm", "store.db-journal", "blocks.db", "blocks.db-wal", "folds.db", "folds.db-shm",
    "identity/ed25519", "identity/age", "identity/card.json", "run/lock", "run/node.json", "run/failure.json", "run/.node.json.17",
    "log/node.jsonl", "log/node.jsonl.1", "log/node.jsonl.4", "log/node.out", "log/command.log", "drafts/message.json",
    "drafts/reply-x.new", "screenshots/a.svg", "damaged/store.db.20260101T000000Z",
)  # fmt: skip


@pytest.fixture(params=[0o000, 0o022, 0o277], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def opened(root: Path) -> list[str]:
    """Every path below a home that others may use: by a walk of its own."""
    return [str(p) for p in (root, *root.rglob("*")) if not p.is_symlink() and p.stat().st_mode & 0o077]


def old_home(root: Path) -> Path:
    for name in OLD:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    for path in (root, *root.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return root


def test_an_open_home_is_narrowed_whole(tmp_path: Path) -> None:
    root = old_home(tmp_path / "home")
    assert len(opened(root)) > len(OLD)
    assert {str(path) for path in modes.readable_by_others(root)} == set(opened(root))
    Home(root).create()
    assert opened(root) == []
    assert stat.S_IMODE((root / "identity" / "ed25519").stat().st_mode) == 0o600
    assert stat.S_IMODE((root / "log").stat().st_mode) == 0o700


def test_whoever_writes_writes_for_the_user_alone(tmp_path: Path, umask: int) -> None:
    root = tmp_path / "home"
    root.mkdir()
    root.chmod(0o755)
    home = Home(root)
    before = os.umask(umask)
    os.umask(0o022)  # a home's directories need their user's own permissions; files are made under any umask
    home.create()
    (root / "drafts").mkdir(mode=0o700)
    os.umask(umask)
    assert before == umask
    stale = home.run / f".node.json.{os.getpid()}"
    stale.touch()
    stale.chmod(0o666)
    write_whole(home.node_file, b"{}")
    keys.load_or_create(home.identity, Kind.AGENT)
    with HomeLock(home):
        store, blocks, folds = Store.open(home.store), BlockStore.open(home.blocks), open_snapshots(home.snapshot)
        blocks.probe()
        Session().save(root)
        assert drafts.save(root, drafts.Draft(op_id="x", text="t"), "")
        assert opened(root) == []
        for path in (store, blocks, folds):
            path.close()
    assert opened(root) == []
    found = {p.name for p in root.rglob("*")}
    assert {
        "store.db",
        "blocks.db",
        "folds.db",
        "console.json",
        "message.json",
        "node.json",
        "ed25519",
        "lock",
    } <= found


@pytest.mark.parametrize("strange", ["notes.txt", "src", ".bashrc"])
def test_a_directory_of_other_things_is_not_touched(tmp_path: Path, strange: str) -> None:
    root = tmp_path / "somewhere"
    (root / strange).mkdir(parents=True)
    root.chmod(0o755)
    with pytest.raises(StoreError, match="holds other things than a home") as caught:
        modes.narrow(root)
    assert strange in caught.value.message
    assert "--home" in caught.value.next
    assert stat.S_IMODE(root.stat().st_mode) == 0o755
    root.chmod(0o700)
    modes.narrow(root)  # closed: that is its owner's own affair


def test_what_somebody_keeps_beside_a_home_stays_as_it_is(tmp_path: Path) -> None:
    root = old_home(tmp_path / "home")
    (root / "work").mkdir()
    script = root / "work" / "run.sh"
    script.touch()
    script.chmod(0o755)
    (root / "link").symlink_to(script)
    modes.narrow(root)
    assert stat.S_IMODE(script.stat().st_mode) == 0o755
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_a_shared_directory_is_no_home(tmp_path: Path) -> None:
    root = tmp_path / "tmp"
    root.mkdir()
    root.chmod(0o1777)
    with pytest.raises(StoreError, match="everybody shares"):
        Home(root).create()
    assert stat.S_IMODE(root.stat().st_mode) == 0o1777


@pytest.mark.parametrize("name", ["", "store.db", "identity", "identity/ed25519", "log/node.jsonl", "config.toml"])
def test_what_cannot_be_narrowed_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    root = old_home(tmp_path / "home")
    fixed, change = root / name, Path.chmod

    def chmod(self: Path, mode: int, *, follow_symlinks: bool = True) -> None:
        if self == fixed:
            raise PermissionError(1, "Operation not permitted")
        change(self, mode, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "chmod", chmod)
    if name == "config.toml":  # a person's own, such as a mounted file
        modes.narrow(root)
        assert modes.readable_by_others(root) == [fixed]
        return
    with pytest.raises(StoreError, match="can't be changed: Operation not permitted") as caught:
        modes.narrow(root)
    assert str(fixed) in caught.value.message


def test_a_file_system_without_modes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = old_home(tmp_path / "home")
    monkeypatch.setattr(Path, "chmod", lambda self, mode, **_: None)
    with pytest.raises(StoreError, match="keeps no modes"):
        modes.narrow(root)


@pytest.mark.parametrize("name", OLD)
def test_doctor_names_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    root = tmp_path / "home"
    Home(root).create()
    path = root / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600)
    for directory in (root, path.parent):
        directory.chmod(0o700)
    if name not in ("config.toml", "roles.toml", "run/node.json"):  # these have to be read
        path.write_bytes(b"x")
    path.chmod(0o640)
    cli.main(["doctor", "--json", "--home", str(root)])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["files"]["verdict"] == "fail"
    assert name in checks["files"]["text"]
    assert "chmod -R go-rwx" in checks["files"]["next"]
    path.chmod(0o600)
    cli.main(["doctor", "--json", "--home", str(root)])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["files"]["verdict"] == "ok"


def test_files_for_others_places_are_as_the_user_likes(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        modes.keep_private()
        (tmp_path / "ours").touch()
        with modes.as_the_user_likes():
            (tmp_path / "theirs").touch()
        assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o640
    finally:
        os.umask(before)
    assert databases.MEMORY
