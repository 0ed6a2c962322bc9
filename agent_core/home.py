"""The home directory: its paths, its lock, and files that are written whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from agent_core.errors import ConfigError, HomeInUse, StoreError
from agent_core.modes import narrow
from agent_core.system import data_directory, expand, runtime_directories
from agent_core.text import has_unseen, is_text, marked

#: Longest path a Unix socket may have here; a longer one moves to the runtime directory (SPEC section 15).
MAX_SOCKET_PATH_BYTES = 100


@dataclass(frozen=True, slots=True)
class Home:
    """One home directory: one identity, one node (SPEC section 0)."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.toml"

    @property
    def roles(self) -> Path:
        """Roles of the home's own, over the packaged ones."""
        return self.root / "roles.toml"

    @property
    def identity(self) -> Path:
        return self.root / "identity"

    @property
    def store(self) -> Path:
        return self.root / "store.db"

    @property
    def blocks(self) -> Path:
        """The blocks of bodies over 32 KiB."""
        return self.root / "blocks.db"

    @property
    def snapshot(self) -> Path:
        """What was folded of the store: a cache that may be deleted."""
        return self.root / "folds.db"

    @property
    def instance(self) -> Path:
        """The instance id, kept outside the database so that a restored database is noticed."""
        return self.root / "instance"

    @property
    def log(self) -> Path:
        return self.root / "log" / "node.jsonl"

    @property
    def output(self) -> Path:
        """Where a node started by a face leaves its stdout and stderr."""
        return self.root / "log" / "node.out"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def node_file(self) -> Path:
        return self.run / "node.json"

    @property
    def failure(self) -> Path:
        """Why the last start failed: ``{code, message, next}``; gone once a node is up."""
        return self.run / "failure.json"

    @property
    def token(self) -> Path:
        return self.root / "api.token"

    @property
    def socket(self) -> Path:
        """The control socket; in a runtime directory when the home's own path is too long for one.

        That is ``$XDG_RUNTIME_DIR`` where it is this user's, else a directory for temporary files that has room for the path and
        nobody else's file of the name.

        Raises:
            StoreError: there is no such directory.
        """
        path = self.run / "control.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
            return path
        import hashlib

        name = hashlib.sha256(os.fsencode(self.root.absolute())).hexdigest()[:16]
        for directory in runtime_directories():
            moved = directory / f"chorus-hap-{os.getuid()}-{name}.sock"
            if len(os.fsencode(moved)) <= MAX_SOCKET_PATH_BYTES and not _belongs_to_another(moved):
                return moved
        raise StoreError(
            f"The home's path is too long for the control socket ({len(os.fsencode(path))} bytes; {MAX_SOCKET_PATH_BYTES} are possible), "
            "and there is no runtime directory for it.",
            "Set XDG_RUNTIME_DIR to a short directory of yours, or name a home with a shorter path with --home.",
        )

    def create(self) -> None:
        """Make the directories, 0700, and take from others whatever they may do with what is there already.

        Raises:
            StoreError: the home can't be made or written, or others may read it and that can't be changed.
        """
        try:
            for path in (self.root, self.identity, self.run, self.log.parent):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.run / f".probe-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
            narrow(self.root)
        except OSError as exc:
            raise StoreError(
                f"The home {self.root} can't be written: {exc.strerror or exc}.",
                "Free space, mend its permissions, or name another one with --home.",
            ) from exc


def _belongs_to_another(path: Path) -> bool:
    """Whether somebody else has a file there already: in a shared directory it can't be replaced."""
    try:
        return path.lstat().st_uid != os.getuid()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def default_home(environ: Mapping[str, str] | None = None) -> Path:
    """``$CHORUS_HOME``, else the platform's directory for application data.

    Raises:
        ConfigError: ``CHORUS_HOME`` is empty, or no path; or neither is to be had.
    """
    environ = os.environ if environ is None else environ
    if "CHORUS_HOME" in environ:
        return _home_path(environ["CHORUS_HOME"], "env CHORUS_HOME", environ)
    return data_directory(environ)


def home_of(home: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """The home directory that is named, or else the default one; absolute, for others read of it where they stand.

    Raises:
        ConfigError: there is none to be had, or what is named is empty, or no path that a node can tell others of.
    """
    path = default_home(environ) if home is None else _home_path(str(home), "--home", environ)
    if not is_text(str(path)):  # the working directory or the login's own may be of another encoding
        raise ConfigError(
            f"The home {path} can't be used: its path isn't UTF-8 text.",
            "Name a home with --home whose whole path is UTF-8.",
        )
    return path


def _home_path(text: str, origin: str, environ: Mapping[str, str] | None) -> Path:
    if not text.strip():
        raise ConfigError(
            f"{origin}: the home's path is {'empty' if not text else 'blank'}.",
            "Leave it out for the default, or name a directory.",
        )
    if has_unseen(text) and is_text(text):
        raise ConfigError(
            f"{origin}: '{marked(text[:80], keep='')}' can't be a home: it has characters in it that nobody sees.",
            "Write the path anew by hand.",
        )
    return expand(text, environ)


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that after a crash either the old or the new content is there, on disk when this returns.

    Raises:
        StoreError: the disk is full or the directory isn't writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)  # one that a crash left may have another
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise StoreError(
            f"{path} can't be written: {exc.strerror or exc}.", "Free space or mend the permissions."
        ) from exc


class HomeLock:
    """The lock that makes a second node on one home impossible; the kernel lets go of it when the process ends."""

    def __init__(self, home: Home) -> None:
        self._path = home.run / "lock"
        self._root = home.root
        self._fd = -1

    def __enter__(self) -> HomeLock:
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StoreError(
                f"The lock {self._path} can't be opened: {exc.strerror or exc}.", "Mend its permissions, or remove it."
            ) from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            self._fd = -1
            raise HomeInUse(
                f"Another node runs on {self._root}" + (f" (process {holder})." if holder else "."),
                f"Attach to it with `chorus-hap --home {shlex.quote(str(self._root))}`, or name another home.",
            ) from exc
        with suppress(OSError):  # a full disk costs the number, not the lock
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, str(os.getpid()).encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
