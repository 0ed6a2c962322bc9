"""Hosts on a network of their own: network namespaces on one bridge, whose lines can be cut, one way too, and made bad.

Needs root, iproute2 and nftables; a test that uses it carries the mark :data:`needs_namespaces`. Everything lives in
namespaces whose names hold the pid of their maker: removed at the end with what still runs in them, and what a killed maker left is
removed by the next one. The machine's own network is never touched::

    with lan(3) as hosts:
        hosts.run(hosts[0], "ping", "-c1", hosts[1].address)
        hosts.partition([hosts[0]], hosts[1:])
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_PREFIX = "chorus-lan"
#: The benchmarking network of RFC 2544: nobody's real addresses.
_SUBNET = "198.18.7"
MAX_HOSTS = 200
_COMMAND_S = 20
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
#: A closed port that refuses has been reached, and its refusal has come back.
_KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), 0.3)
except ConnectionRefusedError:
    print("reached")
except OSError:
    pass
"""


class NoNamespaces(Exception):
    """This machine or this user can't make them, or its kernel lacks what was asked for."""


@dataclass(frozen=True)
class Host:
    """One network namespace with one interface on the bridge."""

    index: int
    namespace: str
    address: str  #: IPv4
    interface: str = "lan0"

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words to put before a command's so that it runs here; they become the command: the pid stays."""
        return ("ip", "netns", "exec", self.namespace)


class Lan(Sequence[Host]):
    """The hosts in order, and what can be done to the lines between them. Made by :func:`lan`."""

    def __init__(self, count: int) -> None:
        if not 0 < count <= MAX_HOSTS:
            raise ValueError(f"a network of {count} hosts isn't one; at most {MAX_HOSTS} fit")
        name = f"{_PREFIX}-{os.getpid()}-{time.monotonic_ns() % 10**6:06d}"
        self._switch = f"{name}-s"
        self._hosts = tuple(Host(n, f"{name}-{n}", f"{_SUBNET}.{n + 1}") for n in range(count))
        self._started: list[subprocess.Popen[Any]] = []

    def __getitem__(self, which: Any) -> Any:
        return self._hosts[which]

    def __len__(self) -> int:
        return len(self._hosts)

    # -- processes -------------------------------------------------------------------------------------------------

    def run(self, host: Host, *words: str, check: bool = True) -> str:
        """Run a command on a host to its end; what it printed."""
        done = subprocess.run([*host.prefix, *words], check=check, text=True, capture_output=True, timeout=_COMMAND_S)
        return done.stdout

    def reaches(self, here: Host, there: Host) -> bool:
        """Whether packets go from one host to the other and back."""
        return bool(self.run(here, sys.executable, "-SEc", _KNOCK, there.address))

    def start(self, host: Host, *words: str, **options: Any) -> subprocess.Popen[Any]:
        """Start a process on a host; killed at the end if it still runs. ``options`` are ``Popen``'s."""
        process = subprocess.Popen([*host.prefix, *words], **options)
        self._started.append(process)
        return process

    # -- faults ----------------------------------------------------------------------------------------------------

    def cut_one_way(self, source: Host, target: Host) -> None:
        """From now on nothing that ``source`` sends arrives at ``target``; silently, as with a broken line."""
        _nft(target.namespace, f"add element inet lan cut {{ {source.address} }}")

    def cut(self, one: Host, other: Host) -> None:
        """Nothing passes between the two."""
        self.cut_one_way(one, other)
        self.cut_one_way(other, one)

    def partition(self, *groups: Sequence[Host]) -> None:
        """Hosts reach those of their own group only; one that is in no group reaches everybody. Earlier cuts stay."""
        for number, group in enumerate(groups):
            for other in groups[number + 1 :]:
                for here in group:
                    for there in other:
                        self.cut(here, there)

    def heal(self) -> None:
        """All lines are whole again: no cut, no loss, no delay, everything plugged in."""
        for host in self._hosts:
            _nft(host.namespace, "flush set inet lan cut; flush chain inet lan loss")
            _ip("-n", host.namespace, "link", "set", host.interface, "up")
            subprocess.run(
                ["tc", "-n", host.namespace, "qdisc", "del", "dev", host.interface, "root"],
                capture_output=True,
                timeout=_COMMAND_S,
            )

    def unplug(self, host: Host) -> None:
        """Pull the host's plug: its interface goes down, and the host knows."""
        _ip("-n", host.namespace, "link", "set", host.interface, "down")

    def plug(self, host: Host) -> None:
        """Put it in again."""
        _ip("-n", host.namespace, "link", "set", host.interface, "up")

    def loss(self, host: Host, percent: int) -> None:
        """Of what arrives at the host, lose this many packets in a hundred, at random; 0 for none."""
        dice = "" if percent >= 100 else f"numgen random mod 100 < {percent}"
        rule = f"; add rule inet lan loss {dice} drop" if percent > 0 else ""
        _nft(host.namespace, f"flush chain inet lan loss{rule}")

    def delay(self, host: Host, ms: int, jitter_ms: int = 0) -> None:
        """What the host sends leaves so much later.

        Raises:
            NoNamespaces: the kernel has no netem; :func:`can_delay` tells beforehand.
        """
        words = ["tc", "-n", host.namespace, "qdisc", "replace", "dev", host.interface, "root", "netem"]
        _do([*words, "delay", f"{ms}ms", f"{jitter_ms}ms"])

    # -- making and removing ---------------------------------------------------------------------------------------

    def make(self) -> None:
        """Set everything up. Raises :class:`NoNamespaces`."""
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
        _ip("-n", self._switch, "link", "set", "bridge", "up")
        for host in self._hosts:
            _ip("netns", "add", host.namespace)
            port = f"port{host.index}"
            peer = ("peer", "name", host.interface, "netns", host.namespace)
            _ip("-n", self._switch, "link", "add", port, "type", "veth", *peer)
            _ip("-n", self._switch, "link", "set", port, "master", "bridge", "up")
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", host.interface)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
            _ip("-n", host.namespace, "link", "set", host.interface, "up")
            _nft(
                host.namespace,
                "add table inet lan; add set inet lan cut { type ipv4_addr; }; add chain inet lan loss;"
                "add chain inet lan arriving { type filter hook input priority 0; };"
                f'add rule inet lan arriving iifname "{host.interface}" ip saddr @cut drop;'
                f'add rule inet lan arriving iifname "{host.interface}" jump loss',
            )

    def remove(self) -> None:
        """End what runs on the hosts and remove them; never raises."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
        for name in (*(h.namespace for h in self._hosts), self._switch):
            _remove(name)


@contextmanager
def lan(count: int) -> Iterator[Lan]:
    """Hosts on one bridge, all reaching one another; gone at the end, whatever happens.

    Raises:
        NoNamespaces: they can't be made here.
    """
    if why := reason():
        raise NoNamespaces(why)
    _sweep()
    made = Lan(count)
    try:
        made.make()
        yield made
    finally:
        made.remove()


@cache
def reason() -> str:
    """Why namespaces can't be made here; empty if they can."""
    status = Path("/proc/self/status").read_text() if sys.platform == "linux" else ""
    capabilities = int(status.partition("CapEff:")[2].split("\n")[0] or "0", 16)
    if any(not capabilities & 1 << wanted for wanted in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN)):
        return "making network namespaces needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN"
    for program, package in (("ip", "iproute2"), ("tc", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None:
            return f"{program} isn't installed (Debian's package {package})"
    return ""


@cache
def can_delay() -> bool:
    """Whether this kernel has netem, by which lines are delayed."""
    with lan(1) as hosts:
        try:
            hosts.delay(hosts[0], 1)
        except NoNamespaces:
            return False
    return True


#: The mark of tests that use :func:`lan`; they are skipped with the reason where it can't work.
needs_namespaces = pytest.mark.skipif(bool(reason()), reason=reason())


def _ip(*words: str) -> None:
    _do(["ip", *words])


def _nft(namespace: str, commands: str) -> None:
    _do(["ip", "netns", "exec", namespace, "nft", commands])


def _do(words: Sequence[str]) -> None:
    done = subprocess.run(words, text=True, capture_output=True, timeout=_COMMAND_S)
    if done.returncode:
        raise NoNamespaces(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")


def _remove(namespace: str) -> None:
    """Kill what runs in a namespace of ours and remove it with its interfaces."""
    found = subprocess.run(["ip", "netns", "pids", namespace], text=True, capture_output=True, timeout=_COMMAND_S)
    for pid in found.stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    subprocess.run(["ip", "netns", "del", namespace], capture_output=True, timeout=_COMMAND_S)


def _sweep() -> None:
    """Remove what makers that were killed left behind."""
    for path in Path("/run/netns").glob(f"{_PREFIX}-*"):
        maker = path.name.removeprefix(f"{_PREFIX}-").partition("-")[0]
        if maker.isdigit() and not Path("/proc", maker).exists():
            _remove(path.name)
