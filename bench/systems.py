"""What the election's bench drives: clusters of this program, of etcd and of Serf, each node in a network namespace of its own.

A system starts its nodes, says what a node shows of the leader, and takes faults. Reading is light: one kept connection a node.
"""

from __future__ import annotations

import copy
import ctypes
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from agent_core.clock import boottime_s
from agent_core.errors import ChorusError
from chorus_hap.link import Link, connect
from tests.support.namespaces import Host, Lan

T = TypeVar("T")

#: How Debian names what the bench is held against, and the program in it.
RIVALS = {"etcd": "etcd-server", "serf": "serf"}
_CLONE_NEWNET = 0x40000000
_ANSWER_S = 2.0


class View(NamedTuple):
    """What one node shows of the leader. ``own``: it claims to lead itself, until ``until_s`` of ``CLOCK_BOOTTIME`` if it says."""

    leader: str
    term: int
    own: bool
    read_s: float
    until_s: float


class System:
    """Nodes of one cluster, each on a host.

    Args:
        hosts: one a node, on a network that is this system's alone.
        root: a directory for what they keep.
        heartbeat_s, timeout_s: the profile.
    """

    name = ""

    def __init__(self, hosts: Lan, root: Path, heartbeat_s: float, timeout_s: float) -> None:
        self.hosts, self.root = hosts, root
        self.heartbeat_s, self.timeout_s = heartbeat_s, timeout_s
        self.processes: list[subprocess.Popen[bytes]] = []
        root.mkdir(parents=True, exist_ok=True)

    @property
    def nodes(self) -> range:
        return range(len(self.hosts))

    def start(self) -> None:
        """Start all nodes and wait until they agree."""
        raise NotImplementedError

    def revive(self, node: int) -> None:
        """Start an ended node again on what it kept."""
        raise NotImplementedError

    def view(self, node: int) -> View | None:
        """What the node shows; nothing if it is certain of no leader or doesn't answer."""
        raise NotImplementedError

    def node_of(self, leader: str) -> int:
        """Which node a leader's id names."""
        raise NotImplementedError

    def whole(self) -> bool:
        """Whether every node has every other."""
        return True

    def signal(self, node: int, number: int) -> None:
        """Send a node's process a signal."""
        self.processes[node].send_signal(number)

    def ended(self, node: int) -> bool:
        """Whether the node's process has ended."""
        return self.processes[node].poll() is not None

    def agreed(self, nodes: Sequence[int] | None = None, beyond: int = -1) -> View | None:
        """What the nodes show when all show the same leader and term.

        Args:
            nodes: which; all of them if none are named.
            beyond: a term like this or before isn't what is waited for. Nobody is asked after the first that shows none: each
                question takes time from nodes that have an election to hold.
        """
        first: View | None = None
        for node in self.nodes if nodes is None else nodes:
            view = self.view(node)
            if view is None or view.term <= beyond or (first is not None and view[:2] != first[:2]):
                return None
            first = first or view
        return first

    def settled(self, timeout_s: float = 90.0) -> View:
        """Wait until all agree and have one another."""
        try:
            return until(lambda: self.agreed() if self.whole() else None, timeout_s, f"{self.name} is whole")
        except TimeoutError as exc:
            raise TimeoutError(f"{exc}; {[self.view(n) for n in self.nodes]}") from exc

    def reader(self) -> System:
        """The same nodes, read by connections of its own."""
        other = copy.copy(self)
        other.forget()
        return other

    def forget(self) -> None:
        """Have no connections yet."""

    def hang_up(self) -> None:
        """Close all connections."""

    def end(self) -> None:
        """End all nodes."""
        self.hang_up()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def launch(self, node: int, words: Sequence[str], **options: Any) -> None:
        """Run a node's program on its host; its output goes to a file beside what it keeps."""
        with (self.root / f"{node}.out").open("ab") as output:
            options = {"stdout": output, "stderr": output} | options
            process = self.hosts.start(self.hosts[node], *words, stdin=subprocess.DEVNULL, **options)
        if node < len(self.processes):
            self.processes[node].wait()
            self.processes[node] = process
        else:
            self.processes.append(process)


# --- this program -----------------------------------------------------------------------------------------------------


class _Led(msgspec.Struct):
    peer_id: str
    term: int
    certain: bool


class _Claimed(msgspec.Struct):
    own: bool
    read_s: float
    until_s: float


class _Voters(msgspec.Struct):
    total: int
    reachable: int


class _Shown(msgspec.Struct):
    """The part of ``election.show`` that is looked at."""

    voters: _Voters
    leader: _Led | None = None
    claim: _Claimed | None = None
    term: int = 0


class Chorus(System):
    """Daemons of this program."""

    name = "chorus-hap"
    settings: Sequence[str] = ()

    def start(self) -> None:
        self.forget()
        self._ids: dict[str, int] = {}
        self._bootstrap = ""
        for node in self.nodes:
            self._run(node)
            if not node:
                status = until(lambda: self._status(0), 60, "the first daemon listens")
                self._bootstrap = status["addresses"][0]
        for node in self.nodes:
            self._ids[until(lambda node=node: self._status(node), 60, f"daemon {node} listens")["peer_id"]] = node
        self.settled()

    def _run(self, node: int) -> None:
        given = {
            "p2p.host": self.hosts[node].address,
            **{f"{p}.port": "0" for p in ("p2p", "api", "health", "metrics")},
            "cluster.force_open": "true",
            "election.heartbeat_s": f"{self.heartbeat_s:g}",
            "election.timeout_s": f"{self.timeout_s:g}",
        }
        words = [sys.executable, "-m", "chorus_hap", "--daemon", "--home", str(self.home(node))]
        words += [
            "--agent-id",
            f"agent-{'abcdefghi'[node]}",
            *(["--bootstrap", self._bootstrap] if node else ["--found"]),
        ]
        for setting in (*(f"{k}={v}" for k, v in given.items()), *self.settings):
            words += ["--set", setting]
        self.launch(node, words)

    def home(self, node: int) -> Path:
        """The home of a node."""
        return self.root / str(node)

    def revive(self, node: int) -> None:
        self.processes[node].wait()
        self._drop(node)
        self._run(node)

    def call(self, node: int, method: str, **params: Any) -> Any:
        """One operation, on the connection that is kept to the node."""
        try:
            return self._link(node).call(method, **params)
        except ChorusError:
            self._drop(node)
            raise

    def view(self, node: int) -> View | None:
        shown = self._show(node)
        if shown is None or shown.leader is None or not shown.leader.certain:
            return None
        claim, leader = shown.claim, shown.leader
        own, read_s, until_s = (claim.own, claim.read_s, claim.until_s) if claim else (False, boottime_s(), 0.0)
        return View(leader.peer_id, leader.term, own, read_s, until_s)

    def node_of(self, leader: str) -> int:
        return self._ids[leader]

    def whole(self) -> bool:
        shown = [self._show(n) for n in self.nodes]
        wanted = len(self.hosts)
        return all(s and s.voters.total == s.voters.reachable == wanted for s in shown)

    def forget(self) -> None:
        self._links: dict[int, Link] = {}

    def hang_up(self) -> None:
        for node in self.nodes:
            self._drop(node)

    def _show(self, node: int) -> _Shown | None:
        try:
            return self._link(node).ask(_Shown, "election.show", timeout_s=_ANSWER_S)
        except ChorusError:
            self._drop(node)
            return None

    def _status(self, node: int) -> Any:
        try:
            status = self.call(node, "status")
        except ChorusError:
            return None
        return status if status["addresses"] else None

    def _link(self, node: int) -> Link:
        if node not in self._links:
            self._links[node] = connect(self.home(node), start=False)
        return self._links[node]

    def _drop(self, node: int) -> None:
        if node in self._links:
            self._links.pop(node).close()


# --- etcd -------------------------------------------------------------------------------------------------------------


class Etcd(System):
    """Members of an etcd cluster, asked for their status over its HTTP gateway."""

    name = "etcd"

    def start(self) -> None:
        self.forget()
        self._ids: dict[str, int] = {}
        for node in self.nodes:
            self._run(node)
        self.settled()
        for node in self.nodes:
            status = self._status(node)
            self._ids[status["header"]["member_id"]] = node

    def _run(self, node: int) -> None:
        def peer(n: int) -> str:
            return f"http://{self.hosts[n].address}:2380"

        client = f"http://{self.hosts[node].address}:2379"
        heartbeat_s = min(self.heartbeat_s, self.timeout_s / 5)  # what etcd demands
        self.launch(
            node,
            [
                *("etcd", "--name", f"e{node}", "--data-dir", str(self.root / str(node)), "--log-level", "error"),
                *("--listen-peer-urls", peer(node), "--initial-advertise-peer-urls", peer(node)),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--initial-cluster", ",".join(f"e{n}={peer(n)}" for n in self.nodes)),
                *("--heartbeat-interval", f"{heartbeat_s * 1000:.0f}"),
                *("--election-timeout", f"{self.timeout_s * 1000:.0f}"),
            ],
            env={**os.environ, "ETCD_UNSUPPORTED_ARCH": ""},
        )

    def revive(self, node: int) -> None:
        self.processes[node].wait()
        self._run(node)

    def view(self, node: int) -> View | None:
        try:
            status = self._status(node)
        except (OSError, http.client.HTTPException, ValueError):
            if node in self._asked:
                self._asked.pop(node).close()
            return None
        leader = status.get("leader", "0")
        if leader == "0":
            return None
        header = status["header"]
        return View(leader, int(header["raft_term"]), leader == header["member_id"], boottime_s(), 0.0)

    def node_of(self, leader: str) -> int:
        return self._ids[leader]

    def forget(self) -> None:
        self._asked: dict[int, http.client.HTTPConnection] = {}

    def hang_up(self) -> None:
        for asked in self._asked.values():
            asked.close()
        self._asked.clear()

    def _status(self, node: int) -> Any:
        asked = self._asked.get(node)
        if asked is None:
            address = self.hosts[node].address
            asked = self._asked[node] = http.client.HTTPConnection(address, 2379, timeout=_ANSWER_S)
            asked.sock = connected_from(self.hosts[node], 2379)
        asked.request("POST", "/v3/maintenance/status", "{}")
        return json.loads(asked.getresponse().read())


# --- Serf -------------------------------------------------------------------------------------------------------------


class Serf(System):
    """Agents of Serf: it elects nobody, but finds failed members; by what each agent logs."""

    name = "serf"
    _EVENT = re.compile(rb"EventMember(Failed|Join|Leave)\S*: (s\d)")

    def start(self) -> None:
        #: By node, what it last heard of each other, and when (s).
        self.heard: dict[int, dict[int, tuple[str, float]]] = {n: {} for n in self.nodes}
        for node in self.nodes:
            self._run(node)
        self.joined()

    def joined(self) -> None:
        """Wait until everybody has everybody."""
        others = len(self.hosts) - 1
        until(
            lambda: all(sum(w == "Join" for p, (w, _) in h.items() if p != n) == others for n, h in self.heard.items()),
            60,
            "the agents have joined",
        )

    def _run(self, node: int) -> None:
        here = self.hosts[node].address
        words = ["serf", "agent", f"-node=s{node}", f"-bind={here}", "-rpc-addr=127.0.0.1:7373", "-profile=lan"]
        joins = [f"-retry-join={self.hosts[n].address}" for n in self.nodes if n != node]
        self.launch(node, [*words, *joins, "-retry-interval=1s"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._listen, args=(node, self.processes[node]), daemon=True).start()

    def _listen(self, node: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            found = self._EVENT.search(line)
            if found:
                self.heard[node][int(found[2][1:])] = (found[1].decode(), boottime_s())

    def revive(self, node: int) -> None:
        self.processes[node].wait()
        self.heard[node] = {}
        self._run(node)
        self.joined()

    def failed_at(self, victim: int) -> float | None:
        """When the last of the others heard that a member failed (s); nothing until all have."""
        heard = [self.heard[n].get(victim, ("", 0.0)) for n in self.nodes if n != victim]
        return max(at for _, at in heard) if all(what == "Failed" for what, _ in heard) else None


# --- beneath ----------------------------------------------------------------------------------------------------------


def connected_from(host: Host, port: int) -> socket.socket:
    """A connection to a port of a host, made there: a thread of its own moves into the namespace, the socket stays in it."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            fd = os.open(f"/run/netns/{host.namespace}", os.O_RDONLY)
            with closing(os.fdopen(fd)):
                if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_connection((host.address, port), _ANSWER_S))
        except OSError as exc:
            made.append(exc)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def until(condition: Callable[[], T], timeout_s: float, what: str, every_s: float = 0.02) -> T:
    """The condition's first true result.

    Raises:
        TimeoutError: it never became true.
    """
    end = time.monotonic() + timeout_s
    while not (result := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(every_s)
    return result


def missing() -> dict[str, str]:
    """The programs that are not installed, and the Debian package of each."""
    return {program: package for program, package in RIVALS.items() if shutil.which(program) is None}
