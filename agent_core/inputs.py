"""What comes in from files that a person names or edits: regular files of a bounded size, read without waiting for anybody."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from pathlib import Path

from agent_core.errors import ChorusError, ConfigError, InvalidInput, NotFound, TooLarge
from agent_core.text import from_system

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_PIPE = "Name a file, or pipe what it gives into standard input and write `-`."


def read_file(path: Path, limit_bytes: int) -> bytes:
    """The content of a regular file.

    Raises:
        NotFound: there is none.
        InvalidInput: it is a pipe, a directory, a socket, a device, or a file of the kernel that doesn't know its size; or it can't be
            read.
        TooLarge: it has more bytes than the limit; nothing of it was read.
    """
    name = from_system(str(path))
    try:
        _regular(os.stat(path), name, limit_bytes)
        # Not waiting: between the two looks it may have become a pipe, and some files of the kernel have no end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            size = _regular(os.fstat(file.fileno()), name, limit_bytes)
            data = file.read(limit_bytes + 1)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFound(f"{name}: No such file.", "Check its path.") from exc
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        raise InvalidInput(f"{name} can't be read: {_reason(exc)}.", "Mend the file or its permissions.") from exc
    if data is None or (size == 0 and data):
        raise InvalidInput(f"{name} is a file of the kernel that doesn't say how long it is.", _PIPE)
    if len(data) > limit_bytes:
        raise _too_large(name, len(data), limit_bytes)
    return data


def read_text(path: Path, limit_bytes: int) -> str | None:
    """The text of a file of settings, whatever editor wrote it; nothing if there is no such file.

    A byte order mark is forgiven, and so are line ends of other systems.

    Raises:
        ConfigError: it is no regular file, too large, can't be read, or isn't UTF-8.
    """
    try:
        data = read_file(path, limit_bytes)
    except NotFound:
        return None
    except ChorusError as exc:
        next_step = "Put a file of settings in its place." if exc.next == _PIPE else exc.next
        raise ConfigError(exc.message, next_step) from exc
    name = from_system(str(path))
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"{name} is UTF-16 text.", "Save it as UTF-8.")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ConfigError(f"{name} isn't UTF-8 text: see line {line}.", "Save it as UTF-8.") from exc


def _regular(found: os.stat_result, name: str, limit_bytes: int) -> int:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise InvalidInput(f"{name} is {_KINDS.get(kind, 'no regular file')}, not a file.", _PIPE)
    if found.st_size > limit_bytes:
        raise _too_large(name, found.st_size, limit_bytes)
    return found.st_size


def _too_large(name: str, size: int, limit_bytes: int) -> TooLarge:
    return TooLarge(f"{name} has {size:,} bytes; the limit is {limit_bytes:,}.", "Name a smaller file, or split it.")


def _reason(exc: OSError | ValueError) -> str:
    if isinstance(exc, OSError) and exc.errno == errno.EAGAIN:
        return "it has nothing to give now"
    return exc.strerror or str(exc) if isinstance(exc, OSError) else "there is no such path"
