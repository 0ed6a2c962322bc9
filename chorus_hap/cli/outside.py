"""What of a node can be reached from outside this machine: by the kernel's word while it runs, else by its settings."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from agent_core.settings import Settings

_SECTIONS = ("p2p", "api", "health", "metrics")
_LISTEN, _UNCONNECTED = "0A", "07"  # the states of proc(5), /proc/net/tcp
_SIOCGIFADDR = 0x8915


class Listener(NamedTuple):
    """Where something listens."""

    what: str  #: p2p, api, health, metrics; ``port`` if it isn't known for which
    transport: str  #: tcp or udp
    address: IPv4Address | IPv6Address
    port: int

    @property
    def outside(self) -> bool:
        """Whether others than this machine reach it."""
        return not self.address.is_loopback


def of_process(pid: int, ports: Mapping[str, int]) -> list[Listener]:
    """Where a process listens, by the kernel's tables.

    Args:
        pid: the process.
        ports: section to port, as the node tells them.

    Raises:
        OSError: it is gone, or somebody else's.
    """
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}").removeprefix("socket:[").rstrip("]"))
    names = {port: section for section, port in ports.items()}
    found = []
    for table, transport, state in (
        ("tcp", "tcp", _LISTEN),
        ("tcp6", "tcp", _LISTEN),
        ("udp", "udp", _UNCONNECTED),
        ("udp6", "udp", _UNCONNECTED),
    ):
        with suppress(FileNotFoundError):  # no IPv6 here
            for address, port, inode in parse_table(Path(f"/proc/{pid}/net/{table}").read_text(), state):
                what = names.get(port, "port")
                # A UDP socket of another port only sends: resolving, multicast DNS, dialling by QUIC.
                if inode in inodes and (transport == "tcp" or what == "p2p"):
                    found.append(Listener(what, transport, address, port))
    return found


def parse_table(text: str, state: str) -> Iterable[tuple[IPv4Address | IPv6Address, int, str]]:
    """Address, port and inode of the sockets in a state, of a table of proc(5)."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == state:
            address, _, port = fields[1].partition(":")
            # Words of 32 bits in the order of this machine.
            words = struct.unpack(f">{len(address) // 8}I", bytes.fromhex(address))
            raw = struct.pack(f"={len(words)}I", *words)
            yield ip_address(raw), int(port, 16), fields[9]


def of_settings(settings: Settings) -> list[Listener]:
    """Where a daemon with these settings would listen."""
    values = settings.values
    found = []
    for section in _SECTIONS:
        port = getattr(values, section).port
        if port != "off":
            host = values.p2p.host if section == "p2p" else values.http.host
            found.append(Listener(section, "tcp", ip_address(host), port))
    if values.p2p.quic:
        found.append(Listener("p2p", "udp", ip_address(values.p2p.host), values.p2p.port))
    return found


def words(found: Sequence[Listener]) -> tuple[bool, str, str]:
    """What is reachable from outside: whether anything is that has no token before it, a sentence, and what to do."""
    outside = [listener for listener in found if listener.outside]
    if not outside:
        return False, "nothing: it listens on this machine's own addresses only" if found else "nothing listens", ""
    said = [f"{item.what} on {_where(item)}" for item in outside]
    if any(item.address.is_unspecified for item in outside):
        said.append(f"interfaces here: {', '.join(interfaces()) or 'none but the loopback'}")
    web = [item.what for item in outside if item.what in ("api", "health", "metrics")]
    bare = "health and metrics ask nobody for a token, and the API's token travels in clear"
    advice = f"Set http.host = 127.0.0.1, or put a proxy with TLS in front: {bare}." if web else ""
    return bool(web), "; ".join(said), advice


def interfaces() -> list[str]:
    """The interfaces of this machine with their addresses, those of the loopback left out: ``eth0 192.0.2.7``."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # one without an IPv4 address
                request = struct.pack("256s", name.encode()[:15])
                address = ip_address(fcntl.ioctl(sock, _SIOCGIFADDR, request)[20:24])
                if not address.is_loopback:
                    found.append(f"{name} {address}")
    with suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            fields = line.split()
            address = ip_address(bytes.fromhex(fields[0]))
            if not (address.is_loopback or address.is_link_local):
                found.append(f"{fields[-1]} {address}")
    return found


def _where(item: Listener) -> str:
    host = f"[{item.address}]" if item.address.version == 6 else str(item.address)
    every = " (every interface)" if item.address.is_unspecified else ""
    return f"{host}:{item.port}/{item.transport}{every}" if item.port else f"{host}, any free port{every}"
