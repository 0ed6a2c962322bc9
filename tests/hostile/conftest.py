"""A victim, an honest peer that never stops talking, and the attackers' process."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from chorus_hap.link import connect
from chorus_hap.tour import TIMINGS, Daemon, mesh
from tests.hostile.catalogue import Attack
from tests.hostile.peer import Target
from tests.support.daemons import status, voters
from tests.support.waiting import until

#: Pause between two messages of the honest peer, and how long one may take, seconds.
PAUSE_S, LONGEST_S = 0.02, 20.0
#: After so many attacks there is peace for so many messages: quiet and attacked times are of one machine, at one time.
ATTACKS_AT_A_TIME, MESSAGES_IN_PEACE = 10, 30
#: A network of its own, as mDNS on loopback reaches whatever else runs there.
NETWORK = f"hostile-{os.getpid()}"
SETTINGS = (*TIMINGS, "dht.enabled=true", "mdns.interfaces=127.0.0.1", f"cluster.network={NETWORK}")


@dataclass
class Talker:
    """The honest peer: writes an entry and waits until the victim confirms that it holds it, again and again."""

    daemon: Daemon
    took_s: list[tuple[float, float]] = field(default_factory=list)  #: when it began, how long it took
    lost: list[str] = field(default_factory=list)
    over: bool = False

    def talk(self) -> None:
        """Until it is over."""
        with connect(self.daemon.home, start=False) as link:
            n = 0
            while not self.over:
                n += 1
                began = time.monotonic()
                try:
                    said: Any = link.call(
                        "hmmm.post", room="honest", text=f"honest {n}", wait_s=LONGEST_S, timeout_s=LONGEST_S + 5
                    )
                    if not said["delivered"]:
                        self.lost.append(f"honest {n}")
                except Exception as error:
                    self.lost.append(f"honest {n}: {error}")
                self.took_s.append((began, time.monotonic() - began))
                time.sleep(PAUSE_S)

    def during(self, spans: Sequence[tuple[float, float]]) -> list[float]:
        """How long those messages took that were begun in some spans of time, rising."""
        return sorted(took for began, took in self.took_s if any(begin <= began <= end for begin, end in spans))


@dataclass
class Cost:
    """What one attack cost the victim, and what came of it."""

    attack: Attack
    sent: int
    end: str
    after_s: float
    cpu_s: float
    grown_mib: float
    lasted_s: float
    note: str = ""
    error: str = ""

    def row(self) -> str:
        """In one line, for whoever looks at figures."""
        return (
            f"{self.attack.layer:12}{self.attack.name:36}sent {self.sent:<8}{self.end:13}after {self.after_s:5.2f} s "
            f"cpu {self.cpu_s:5.2f} s memory {self.grown_mib:+6.1f} MiB lasted {self.lasted_s:5.1f} s {self.note}"
        )

    @property
    def broken(self) -> list[str]:
        """The bounds that weren't kept."""
        bound, out = self.attack.bound, []
        if self.error:
            return [self.error]
        if not self.sent:
            out.append("nothing was delivered: this shows nothing")
        if self.end not in bound.ends:
            out.append(f"ended {self.end or 'nowhere'}, not {' or '.join(bound.ends)} ({self.note})")
        if self.after_s > bound.within_s:
            out.append(f"ended after {self.after_s:.1f} s, not within {bound.within_s:g}")
        if self.cpu_s > bound.cpu_s:
            out.append(f"cost {self.cpu_s:.2f} s of the processor, not at most {bound.cpu_s:g}")
        if self.grown_mib > bound.grows_mib:
            out.append(f"memory grew by {self.grown_mib:.1f} MiB, not at most {bound.grows_mib:g}")
        return out


class Field:
    """Where attacks take place."""

    def __init__(self, victim: Daemon, honest: Daemon, attackers: subprocess.Popen[str]) -> None:
        self.victim, self.honest, self._attackers = victim, honest, attackers
        self.process = psutil.Process(victim.process.pid)
        self.talker = Talker(honest)
        now = status(victim)
        host, port = now["addresses"][0].split("/")[2], int(now["addresses"][0].split("/")[4])
        self.target = Target(host, port, now["peer_id"], NETWORK, now["cluster_id"], status(honest)["peer_id"])
        self.costs: list[Cost] = []
        self.attacked: list[tuple[float, float]] = []  #: from when to when
        self.quiet: list[tuple[float, float]] = []
        self._memory_before = self._memory_mib()

    def carry_out(self, *attacks: Attack) -> list[Cost]:
        """Attack, with all of them at once, and see what it cost; of several the cost is divided among them."""
        cpu, memory, began = self._cpu_s(), self._memory_mib(), time.monotonic()
        assert self._attackers.stdin
        assert self._attackers.stdout
        for attack in attacks:
            order = {"attack": attack.name, "target": dataclasses.asdict(self.target)}
            self._attackers.stdin.write(json.dumps(order) + "\n")
        self._attackers.stdin.flush()
        came = {}
        while len(came) < len(attacks):
            one = json.loads(self._attackers.stdout.readline())
            came[one["name"]] = one["came"]
        lasted = time.monotonic() - began
        time.sleep(0.1)  # what was set off goes on for a moment
        cpu, grown = (self._cpu_s() - cpu) / len(attacks), (self._memory_mib() - memory) / len(attacks)
        costs = [Cost(attack=a, cpu_s=cpu, grown_mib=grown, lasted_s=lasted, **came[a.name]) for a in attacks]
        for cost in costs:
            print(cost.row())
        self.costs += costs
        self.attacked.append((began, time.monotonic()))
        if len(self.attacked) % ATTACKS_AT_A_TIME == 0:
            self.rest(MESSAGES_IN_PEACE)
        return costs

    def grown_mib(self) -> float:
        """By how much the victim's memory has grown since the first attack, MiB."""
        return self._memory_mib() - self._memory_before

    def rest(self, messages: int) -> None:
        """Let the honest peer talk in peace."""
        began, before = time.monotonic(), len(self.talker.took_s)
        until(lambda: len(self.talker.took_s) > before + messages, 60, f"{messages} messages in peace")
        self.quiet.append((began, time.monotonic()))

    def _cpu_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def _memory_mib(self) -> float:
        return float(self.process.memory_info().rss) / 2**20


@contextmanager
def attackers() -> Iterator[subprocess.Popen[str]]:
    """The attackers' process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.attackers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert "ready" in process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def battlefield(root: Path) -> Iterator[Field]:
    """A mesh of a victim and an honest peer, and attackers."""
    with mesh(root, ("victim", "honest"), SETTINGS) as (victim, honest), attackers() as foes:
        until(lambda: all(voters(d) == 2 for d in (victim, honest)), 20, "two voters")
        yield Field(victim, honest, foes)


@pytest.fixture(scope="session")
def field_of_attack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with battlefield(tmp_path_factory.mktemp("hostile")) as place:
        thread = threading.Thread(target=place.talker.talk, daemon=True)
        thread.start()
        yield place
        place.talker.over = True
        thread.join(LONGEST_S)
