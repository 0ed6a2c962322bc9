"""What the machine says of its user and of this process, each asked in one place: any of it may be missing.

A container may run under a uid without a passwd entry; ``HOME`` may be unset, empty or nobody's; ``/proc`` and the runtime directory
may not be there; the working directory may be gone. Nothing here raises anything but a :class:`ConfigError` with what to do.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent_core.errors import ConfigError
from agent_core.text import from_system

#: Where the kernel tells of processes; may be missing.
PROC = Path("/proc")
_NAME_IT = "Set HOME to a directory of yours, or name a home with --home or CHORUS_HOME."


def login() -> str:
    """The login name of whoever runs this process; empty if nobody knows one."""
    import getpass

    try:
        return from_system(getpass.getuser())
    except (KeyError, OSError, ImportError):
        return ""


def login_of(uid: int) -> str:
    """The login name of a user id, or the number as text where there is none."""
    import pwd

    try:
        return from_system(pwd.getpwuid(uid).pw_name)
    except (KeyError, OSError, OverflowError):
        return str(uid)


def user_directory(environ: Mapping[str, str] | None = None) -> Path | None:
    """The user's own directory: ``HOME`` if it is an absolute path, else what the passwd entry says; nothing if neither is."""
    named = (os.environ if environ is None else environ).get("HOME", "")
    if os.path.isabs(named):
        return Path(named)
    import pwd

    with suppress(KeyError, OSError):
        entry = pwd.getpwuid(os.getuid()).pw_dir
        if os.path.isabs(entry):
            return Path(entry)
    return None


def mend_environment() -> None:
    """Give ``HOME`` a meaning for the libraries that read it: empty or relative, it would lead them anywhere."""
    if "HOME" in os.environ and not os.path.isabs(os.environ["HOME"]):
        del os.environ["HOME"]
    found = user_directory()
    if found is not None:
        os.environ.setdefault("HOME", str(found))


def expand(text: str | Path, environ: Mapping[str, str] | None = None) -> Path:
    """A path that somebody wrote, with ``~`` as the user's own directory, and absolute.

    Raises:
        ConfigError: nobody knows that directory, or the working directory is gone.
    """
    path = Path(text)
    if path.parts[:1] == ("~",):
        own = user_directory(environ)
        if own is None:
            raise ConfigError(f"{text}: nobody knows your own directory ({_nobody()}).", _NAME_IT)
        path = own.joinpath(*path.parts[1:])
    elif path.parts[:1] and path.parts[0].startswith("~"):
        try:
            path = path.expanduser()
        except (RuntimeError, KeyError) as exc:
            raise ConfigError(
                f"{text}: nobody knows the directory of {path.parts[0][1:]!r}.", "Write the whole path."
            ) from exc
    try:
        return path.absolute()
    except OSError as exc:
        raise ConfigError(
            f"{path} is read from the working directory, and that is gone.",
            "Change to another directory, or write the whole path.",
        ) from exc


def data_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Where applications keep their data on this platform.

    Raises:
        ConfigError: nobody knows the user's own directory.
    """
    environ = os.environ if environ is None else environ
    named = environ.get("XDG_DATA_HOME", "").strip()
    if os.path.isabs(named):
        return Path(named) / "chorus-hap"
    own = user_directory(environ)
    if own is None:
        raise ConfigError(f"There is no home: nobody knows your own directory ({_nobody()}).", _NAME_IT)
    from platformdirs import user_data_path

    # A relative XDG_DATA_HOME doesn't count (XDG Base Directory Specification), nor does a HOME that is none.
    with _environment(HOME=str(own), XDG_DATA_HOME=""):
        return user_data_path("chorus-hap", appauthor=False)


def runtime_directories() -> Iterator[Path]:
    """Where a short-lived socket of this user may be, the best first; each is there, and private or shared safely."""
    named = os.environ.get("XDG_RUNTIME_DIR", "")
    for place in (named, f"/run/user/{os.getuid()}"):
        if os.path.isabs(place) and _is_ours(place):
            yield Path(place)
    shared = []
    with suppress(OSError):  # no directory for temporary files can be written
        shared.append(tempfile.gettempdir())
    for place in dict.fromkeys((*shared, "/tmp", "/var/tmp", "/dev/shm")):
        if os.path.isabs(place) and os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK):
            yield Path(place)


def _is_ours(place: str) -> bool:
    try:
        found = os.stat(place)
    except (OSError, ValueError):
        return False
    private = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and private and os.access(place, os.W_OK)


def _nobody() -> str:
    return f"HOME isn't set to one, and user {os.getuid()} has no passwd entry"


class _environment:
    """Variables that differ for a moment."""

    def __init__(self, **values: str) -> None:
        self._values = values

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in self._values}
        os.environ.update(self._values)

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# --- this process, and others of this machine ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """How many files a process has open, of how many it may; 0 for what nobody knows."""

    used: int
    limit: int

    @property
    def short(self) -> bool:
        """Whether so few are left that connections may have to wait."""
        return 0 < self.limit <= self.used + max(4, self.limit // 50)


def proc(name: str, pid: int | str = "self") -> bytes | None:
    """A file of ``/proc/<pid>``, nothing where that isn't to be had."""
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return None


def open_files() -> OpenFiles:
    """Those of this process."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        return OpenFiles(len(os.listdir(PROC / "self" / "fd")) - 1, limit)
    except FileNotFoundError:
        pass
    except OSError:
        return OpenFiles(limit, limit)  # not even one for looking
    try:
        os.close(os.dup(0))
    except OSError as exc:
        return OpenFiles(limit if exc.errno == 24 else 0, limit)
    return OpenFiles(0, limit)


def open_files_of(pid: int) -> OpenFiles:
    """Those of another process of this user."""
    try:
        used = len(os.listdir(PROC / str(pid) / "fd"))
    except OSError:
        return OpenFiles(0, 0)
    for line in (proc("limits", pid) or b"").decode("ascii", "replace").splitlines():
        words = line.split()
        if line.startswith("Max open files") and words[3].isdigit():
            return OpenFiles(used, int(words[3]))
    return OpenFiles(used, 0)


def state_of(pid: int) -> str:
    """The letter for how a process stands (proc(5), field 3 of ``stat``): ``T`` is stopped; empty if nobody knows."""
    fields = (proc("stat", pid) or b"").rpartition(b")")[2].split()
    return fields[0].decode("ascii", "replace") if fields else ""


def started_at() -> int:
    """When this process began, in clock ticks since boot (proc(5), field 22): tells a pid used twice apart. 0 if nobody knows."""
    fields = (proc("stat") or b"").rpartition(b")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0
