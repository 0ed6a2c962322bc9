"""Who may read a home's files: its user alone, whatever the umask and whatever the directory's mode was before."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent_core.errors import StoreError

OTHERS = stat.S_IRWXG | stat.S_IRWXO
#: Directories of a home that hold nothing but its own files.
OURS = ("identity", "run", "log", "drafts", "damaged", "screenshots")
#: Other files of a home, by the beginning of their names.
_FILES = (
    "config.toml",
    "roles.toml",
    "store.db",
    "blocks.db",
    "folds.db",
    "instance",
    "api.token",
    "shhh.key",
    "console.json",
)
#: What a volume or a file manager leaves in a directory.
_NOBODYS = ("lost+found", ".console.json", ".DS_Store", ".keep", ".gitkeep")
#: A person may have these from elsewhere, such as a mounted file that can't be changed here; they hold no keys.
_GIVEN = ("config.toml", "roles.toml")

_users = 0o022


def keep_private() -> None:
    """From now on every file that this process and its children make is for its user alone."""
    global _users
    before = os.umask(OTHERS)
    _users = before if before != OTHERS else _users


@contextmanager
def as_the_user_likes() -> Iterator[None]:
    """Files that a person asked for somewhere else than in the home get the modes that this person's umask gives."""
    before = os.umask(_users)
    try:
        yield
    finally:
        os.umask(before)


def is_home(root: Path) -> bool:
    """Whether a node has lived in this directory."""
    return any((root / name).exists() for name in ("store.db", "identity/card.json", "instance"))


def files_of(root: Path) -> Iterator[Path]:
    """The home and everything in it that is its own: not what somebody keeps beside that in directories of other names."""
    yield root
    with os.scandir(root) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if not entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)
        elif entry.name in OURS or entry.name.startswith(_FILES):
            for directory, _, names in os.walk(entry.path):
                yield Path(directory)
                yield from (Path(directory, name) for name in names)


def readable_by_others(root: Path) -> list[Path]:
    """Those that others than the user may read, write or search."""
    return [path for path in files_of(root) if _is_open(path)]


def narrow(root: Path) -> None:
    """Take from others whatever they may do with a home and its files.

    Raises:
        StoreError: others may read it and that can't be changed, or the directory is no home's own.
    """
    if _is_open(root):
        _refuse_strangers(root)
    for path in readable_by_others(root):
        why = ""
        try:
            mode = path.lstat().st_mode
            path.chmod(stat.S_IMODE(mode) & ~OTHERS)
        except FileNotFoundError:
            continue
        except OSError as exc:
            why = exc.strerror or str(exc)
        if _is_open(path) and path.name not in _GIVEN:
            raise StoreError(
                f"{path} can be read by others, and that can't be changed: {why or 'its file system keeps no modes'}.",
                f"Own it and run `chmod -R go-rwx {root}`, or name a directory below it with --home: that is made private.",
            )


def _refuse_strangers(root: Path) -> None:
    """A directory that holds other things is nobody's to narrow: it may be everybody's."""
    advice = "Name a directory of its own with --home; one that isn't there is made."
    if root.stat().st_mode & stat.S_ISVTX:
        raise StoreError(f"{root} is a directory that everybody shares, so it can't be a home.", advice)
    if is_home(root):
        return
    strange = sorted(
        entry.name
        for entry in root.iterdir()
        if entry.name not in (*OURS, *_NOBODYS) and not entry.name.startswith(_FILES)
    )
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise StoreError(
            f"{root} can be read by others and holds other things than a home ({', '.join(strange[:3])}{more}).", advice
        )


def _is_open(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            mode = path.stat().st_mode  # a link's own says nothing, and what strange ones lead to isn't a home's
            return (
                stat.S_ISREG(mode) and bool(mode & OTHERS) and path.name.startswith(_FILES) and path.name not in _GIVEN
            )
        return bool(mode & OTHERS)
    except OSError:
        return False
