"""Who is let in at the socket: connections of one host, and handshakes that aren't finished. Pure but for who is shown out."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from agent_core.budget import Bucket

#: Hosts whose rate is remembered; the least recently seen goes first.
MAX_HOSTS = 1024


@dataclass(eq=False)
class Guest:
    """One connection from outside; ``show_out`` closes it. A guest is ``seated`` once its hello went through."""

    host: str
    show_out: Callable[[], None]
    seated: bool = False


@dataclass
class _Host:
    knocks: Bucket
    waiting: deque[Guest] = field(default_factory=deque)
    inside: int = 0


class Entrance:
    """Bounds on connections from outside.

    A handshake takes a few milliseconds, so an honest host rarely has several under way. When the room is full, the oldest of
    the host with the most is shown out: who knocks and says nothing keeps nobody else out.

    Args:
        most: connections from outside in all.
        of_host: of these, from one host (an IPv4 address, an IPv6 /64); all of loopback is one host with three quarters of them.
        waiting: unfinished handshakes in all; half as many of one host.
        knocks_per_s, knocks: connections a second one host may open, and at once.
    """

    def __init__(
        self, most: int = 64, of_host: int = 32, waiting: int = 32, knocks_per_s: float = 20.0, knocks: float = 64.0
    ) -> None:
        self._most, self._of_host, self._waiting = most, of_host, waiting
        self._ration = (knocks_per_s, knocks)
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._inside = 0
        self.turned_away = 0

    def knock(self, address: str, show_out: Callable[[], None], now: float) -> Guest | None:
        """Somebody connects from an IP address: its guest, or nothing if it isn't let in. ``now`` in seconds."""
        name = host_of(address)
        host = self._host(name, now)
        of_host = self._most * 3 // 4 if name == "loopback" else min(self._of_host, self._most)
        if not host.knocks.take(1, now) or self._inside >= self._most or host.inside >= of_host:
            self.turned_away += 1
            return None
        if len(host.waiting) >= self._waiting // 2:
            self._make_room(host)
        elif sum(len(h.waiting) for h in self._hosts.values()) >= self._waiting:
            self._make_room(max(self._hosts.values(), key=lambda h: len(h.waiting)))
        guest = Guest(name, show_out)
        host.waiting.append(guest)
        host.inside += 1
        self._inside += 1
        return guest

    def seat(self, guest: Guest) -> None:
        """The guest's handshake and hello went through."""
        host = self._hosts.get(guest.host)
        if host is not None and guest in host.waiting:
            host.waiting.remove(guest)
            guest.seated = True

    def leave(self, guest: Guest) -> None:
        """The guest's connection ended."""
        host = self._hosts[guest.host]
        if guest in host.waiting:
            host.waiting.remove(guest)
        host.inside -= 1
        self._inside -= 1

    def _make_room(self, host: _Host) -> None:
        oldest = host.waiting.popleft()
        self.turned_away += 1
        oldest.show_out()

    def _host(self, name: str, now: float) -> _Host:
        host = self._hosts.pop(name, None)
        if host is None:
            host = _Host(Bucket(*self._ration))
            host.knocks.at = now
        self._hosts[name] = host
        if len(self._hosts) > MAX_HOSTS:
            for other, known in self._hosts.items():
                if not known.inside and known is not host:
                    del self._hosts[other]
                    break
        return host


def host_of(address: str) -> str:
    """What counts as one host: an IPv4 address, an IPv6 /64, all of loopback."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    if ip.is_loopback:
        return "loopback"
    return str(ip) if ip.version == 4 else str(ip_network((ip, 64), strict=False))
