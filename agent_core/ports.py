"""Which port to listen on: the one asked for or an error, else last time's, the default, or any free one (SPEC section 17)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from agent_core.errors import ConfigError, PortInUse
from agent_core.settings import Settings


@dataclass(frozen=True, slots=True)
class Choice:
    """A port to listen on. ``note`` is a sentence for a person when it isn't the default."""

    port: int
    note: str = ""


def is_free(host: str, port: int) -> bool:
    """Whether a TCP port can be listened on now.

    Raises:
        OSError: the address itself can't be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as exc:
            if exc.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def choose(name: str, host: str, wanted: int, *, asked: bool, remembered: int = 0) -> Choice:
    """Choose a port.

    Args:
        name: the setting, such as ``p2p.port``, for the message.
        host: address to listen on.
        wanted: the setting's value; 0 for any free port.
        asked: whether somebody set it, rather than its default being in force.
        remembered: what was used in its place last time; 0 for nothing.

    Raises:
        PortInUse: it was asked for and is taken.
        ConfigError: nothing can listen on that address at all.
    """
    try:
        is_free(host, 0)
    except OSError as exc:
        raise ConfigError(
            f"Nothing can listen on {host} ({name}): {exc.strerror or exc}.",
            f"Set {'p2p' if name.startswith('p2p') else 'http'}.host to an address of this machine.",
        ) from exc
    if wanted == 0:
        return Choice(remembered if remembered and is_free(host, remembered) else 0)
    if is_free(host, wanted) and (asked or not remembered):
        return Choice(wanted)
    if asked:
        raise PortInUse(
            f"Port {wanted} on {host} ({name}) is taken.",
            f"End the program that holds it, or name another with --set {name}=PORT (0 for any free one).",
        )
    for port in (remembered, wanted):
        if port and is_free(host, port):
            return Choice(port, "" if port == wanted else f"Port {wanted} was taken; {name} is {port} since.")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port = int(probe.getsockname()[1])
    return Choice(port, f"Port {wanted} is taken, so {name} is {port} from now on in this home.")


class Memory(Protocol):
    """Small values on disk."""

    def read(self, key: str) -> bytes | None: ...

    def write(self, key: str, value: bytes) -> None: ...


class Ports:
    """The ports of one node: chosen at start, remembered in its home.

    Args:
        settings: what is asked for.
        memory: where last time's ports are kept.
        now: section to port, as ``status`` and ``node.json`` show them; filled in here.
        note: takes a sentence for a person.
    """

    def __init__(self, settings: Settings, memory: Memory, now: dict[str, int], note: Callable[[str], None]) -> None:
        self.now = now
        self._settings, self._memory, self._note = settings, memory, note

    def take(self, section: str, host: str, wanted: int) -> int:
        """Choose the port of a section; see :func:`choose`."""
        name = f"{section}.port"
        remembered = int(self._memory.read(_key(section)) or b"0")
        choice = choose(name, host, wanted, asked=self._settings.asked_for(name), remembered=remembered)
        self._note(choice.note)
        if choice.port and choice.port != remembered:
            self._memory.write(_key(section), str(choice.port).encode())
        self.now[section] = choice.port
        return choice.port

    async def keep(self, section: str, port: int, write: Callable[[str, bytes], Awaitable[None]]) -> None:
        """Use the port that was found free next time as well.

        Args:
            section: the section.
            port: the port.
            write: keeps a value while others write, too.
        """
        if port != self.now.get(section):
            self.now[section] = port
            await write(_key(section), str(port).encode())


def _key(section: str) -> str:
    return f"port.{section}"
