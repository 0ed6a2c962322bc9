"""How soon a new leader is seen by all after the old one's end, beside etcd and Serf in the same run, each node in a network namespace.

``python -m bench.election`` prints a table and one JSON object; exit 1 when a goal is missed. It needs root, and Debian's packages
iproute2, nftables, etcd-server and serf (``apt-get install iproute2 nftables etcd-server serf``); a rival that isn't there is left out
and named. ``--quick`` makes 3 trials in place of 10; ``--busy-minutes 10`` keeps every core busy meanwhile and counts needless elections
instead. Times are seconds from the fault to the instant when every other node shows the same new leader with certainty.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_core.clock import boottime_s
from bench.systems import Chorus, Etcd, Serf, System, View, missing, until
from tests.support.namespaces import NoNamespaces, lan

TRIALS, QUICK_TRIALS = 10, 3
DEFAULT, FAST = (5.0, 15.0), (0.1, 1.0)
#: Pauses between two looks while something may happen any moment, and while it can't yet (s).
_CLOSE_S, _FAR_S = 0.003, 0.02
_BUSY = "while True: pass"


@dataclass(frozen=True)
class Goal:
    """What a figure is to be at most; nothing where there is no goal."""

    median: float | None = None
    most: float | None = None

    def met(self, times: Sequence[float]) -> bool:
        """Whether it is."""
        median_met = self.median is None or statistics.median(times) <= self.median
        return median_met and (self.most is None or max(times) <= self.most)


_NONE = Goal()


@dataclass
class Row:
    """One line of the table."""

    what: str
    system: str
    profile: str
    nodes: int
    goal: Goal = _NONE
    times: list[float] = field(default_factory=list)
    #: By how much the term grew in each trial.
    terms: list[int] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        times = sorted(self.times)
        return {
            "what": self.what,
            "system": self.system,
            "profile": self.profile,
            "nodes": self.nodes,
            "trials": len(times),
            "min_s": round(times[0], 4),
            "median_s": round(statistics.median(times), 4),
            "max_s": round(times[-1], 4),
            "goal_median_s": self.goal.median,
            "goal_max_s": self.goal.most,
            "ok": self.goal.met(times),
            "terms": self.terms,
            "each_s": [round(t, 4) for t in self.times],
        }


class Bench:
    """The run.

    Args:
        root: where the nodes keep things.
        trials: of each kind.
    """

    def __init__(self, root: Path, trials: int) -> None:
        self._root, self.trials = root, trials
        self._systems: dict[System, ExitStack] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.rows: list[Row] = []

    def system(self, kind: type[System], nodes: int, profile: tuple[float, float]) -> System:
        """Start a cluster on a network of its own."""
        stack = ExitStack()
        hosts = stack.enter_context(lan(nodes))
        system = kind(hosts, self._root / f"{kind.name}-{next(self._numbers)}", *profile)
        stack.callback(system.end)
        self._systems[system] = stack
        system.start()
        return system

    def end(self, *systems: System) -> None:
        """End clusters and remove their networks; all of them if none is named."""
        for system in systems or tuple(self._systems):
            self._systems.pop(system).close()

    def row(self, what: str, system: System, goal: Goal = _NONE) -> Row:
        """A new line for a system."""
        profile = f"{system.heartbeat_s:g}/{system.timeout_s:g} s" if not isinstance(system, Serf) else "lan"
        row = Row(what, system.name, profile, len(system.hosts), goal if isinstance(system, Chorus) else _NONE)
        with self._lock:
            self.rows.append(row)
        return row

    # --- trials -------------------------------------------------------------------------------------------------------

    def replaced(self, system: System, what: str, number: int, goal: Goal = _NONE) -> None:
        """End or stop the leader by a signal, so many times, and see how soon all others have the next one."""
        row = self.row(what, system, goal)
        for _ in range(self.trials):
            before = system.settled()
            time.sleep(random.uniform(0.2, 0.2 + min(system.heartbeat_s, 1.0)))
            victim = system.node_of(before.leader)
            others = [n for n in system.nodes if n != victim]
            quick = number != signal.SIGSTOP and isinstance(system, Chorus)
            began = boottime_s()
            system.signal(victim, number)
            took, after = self._next(system, before, others, began, 0.0 if quick else 0.5 * system.timeout_s)
            row.times.append(took)
            row.terms.append(after.term - before.term)
            if number == signal.SIGSTOP:
                system.signal(victim, signal.SIGCONT)
            else:
                until(lambda: system.ended(victim), 30, "the old leader has ended")  # noqa: B023 - called at once
                system.revive(victim)

    def _next(
        self, system: System, before: View, others: Sequence[int], began: float, idle_s: float = 0.0
    ) -> tuple[float, View]:
        """Wait until the others show a new leader; how long after the fault that was, and what they show."""
        while True:
            after = system.agreed(others, beyond=before.term)
            now = boottime_s()
            if after and after.leader != before.leader:
                return now - began, after
            if now - began > 60 + 4 * system.timeout_s:
                raise TimeoutError(f"{system.name}: no new leader")
            time.sleep(_FAR_S if now - began < idle_s else _CLOSE_S)

    def cut_off(self, system: System, trials: int) -> None:
        """Cut the leader off with a minority, silently: who claims to lead at the same time, and how soon all agree afterwards."""
        reach = self.row("cut off with a minority", system, _late(system))
        overlap = self.row("two claims at once", system, Goal(most=0.0))
        heal = self.row("one view after healing", system, Goal(most=1.0))
        for _ in range(trials):
            before = system.settled()
            leader = system.node_of(before.leader)
            rest = [n for n in system.nodes if n != leader]
            random.shuffle(rest)
            few = (len(system.hosts) - 1) // 2
            minority, majority = [leader, *rest[: few - 1]], rest[few - 1 :]
            claims = Claims(system)
            with claims.watched():
                began = boottime_s()
                system.hosts.partition([system.hosts[n] for n in minority], [system.hosts[n] for n in majority])
                took, after = self._next(system, before, majority, began)
                time.sleep(0.5 * system.timeout_s)  # what a claim that lasts too long would show
            reach.times.append(took)
            reach.terms.append(after.term - before.term)
            overlap.times.append(claims.overlap_s())
            system.hosts.heal()
            began = boottime_s()
            until(system.agreed, 120, f"{system.name} is of one view", _CLOSE_S)
            heal.times.append(boottime_s() - began)

    def found_failed(self, system: Serf, what: str, number: int) -> None:
        """The same for Serf, which elects nobody: how soon all others say that a member failed."""
        row = self.row(what, system)
        for trial in range(self.trials):
            victim = trial % len(system.hosts)
            began = boottime_s()
            system.signal(victim, number)
            row.times.append(until(lambda: system.failed_at(victim), 60, "all say so", _FAR_S) - began)  # noqa: B023
            if number == signal.SIGSTOP:
                system.signal(victim, signal.SIGCONT)
                system.joined()
            else:
                system.revive(victim)


class Claims:
    """Who said of itself that it leads, from when to when, by reads of all nodes of a system."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._said: dict[int, tuple[float, float, float]] = {}
        self._done = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at every node, by connections that nobody else uses, while the block runs."""
        reader = self._system.reader()
        thread = threading.Thread(target=self._look, args=(reader,))
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()
            reader.hang_up()

    def _look(self, reader: System) -> None:
        while not self._done.is_set():
            for node in reader.nodes:
                view = reader.view(node)
                if view and view.own:
                    first = self._said.get(node, (view.read_s,))[0]
                    self._said[node] = (first, view.read_s, view.until_s)
            time.sleep(_CLOSE_S)

    def overlap_s(self) -> float:
        """The longest time in which two nodes claimed: from the first word of one to the last of another, or its claim's end."""
        claims = sorted(self._said.values())
        later = itertools.pairwise(claims)
        return max((max(0.0, max(a[1], min(a[2], a[1] + 60)) - b[0]) for a, b in later), default=0.0)


def _late(system: System) -> Goal:
    """What is due when only the timeout tells of the leader's end."""
    return Goal(15.2, 16.3) if system.timeout_s == DEFAULT[1] else Goal(1.05, 2.15)


# --- the whole --------------------------------------------------------------------------------------------------------


def together(*jobs: Callable[[], None]) -> None:
    """Run jobs that mostly wait side by side; raises what one of them raised."""
    failed: list[BaseException] = []

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def measure_fast(bench: Bench, rivals: Sequence[type[System]]) -> None:
    """The quick profile, one system at a time."""
    for kind in (Chorus, *(r for r in rivals if r is Etcd)):
        system = bench.system(kind, 5, FAST)
        bench.replaced(system, "SIGKILL", signal.SIGKILL, Goal(1.05, 2.15))
        bench.replaced(system, "SIGSTOP", signal.SIGSTOP, Goal(1.05, 2.15))
        bench.replaced(system, "SIGTERM", signal.SIGTERM, Goal(most=0.055))
        bench.cut_off(system, bench.trials)
        bench.end(system)


def measure_default(bench: Bench, rivals: Sequence[type[System]]) -> None:
    """The default profile; what waits for its timeout runs side by side."""
    few = max(2, bench.trials // 2)
    ours = [bench.system(Chorus, nodes, DEFAULT) for nodes in (3, 5)]
    for system in ours:
        bench.replaced(system, "SIGKILL", signal.SIGKILL, Goal(1.0, 2.0))
        bench.replaced(system, "SIGTERM", signal.SIGTERM, Goal(most=0.055))
    theirs = [bench.system(Etcd, nodes, DEFAULT) for nodes in (3, 5)] if Etcd in rivals else []
    serf = bench.system(Serf, 5, DEFAULT) if Serf in rivals else None

    def of(system: System) -> Callable[[], None]:
        def job() -> None:
            if isinstance(system, Etcd):
                bench.replaced(system, "SIGKILL", signal.SIGKILL)
            bench.replaced(system, "SIGSTOP", signal.SIGSTOP, Goal(15.2, 16.3))
            if len(system.hosts) == 5:
                bench.cut_off(system, few)

        return job

    def failures() -> None:
        assert isinstance(serf, Serf)
        bench.found_failed(serf, "SIGKILL", signal.SIGKILL)
        bench.found_failed(serf, "SIGSTOP", signal.SIGSTOP)

    together(*map(of, [*ours, *theirs]), *([failures] if serf else []))
    bench.end()


def busy(bench: Bench, rivals: Sequence[type[System]], minutes: float) -> dict[str, Any]:
    """Keep every core busy and count what was needlessly elected or called failed."""
    systems = [bench.system(kind, 5, DEFAULT) for kind in (Chorus, *(r for r in rivals if r is Etcd))]
    serf = bench.system(Serf, 5, DEFAULT) if Serf in rivals else None
    before = [s.settled().term for s in systems]
    burners = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        time.sleep(minutes * 60)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    found: dict[str, Any] = {"minutes": minutes, "burners": len(burners)}
    for system, term in zip(systems, before, strict=True):
        found[f"{system.name}_needless_elections"] = system.settled().term - term
    if isinstance(serf, Serf):
        found["serf_agents_called_failed"] = sum(
            w == "Failed" for heard in serf.heard.values() for w, _ in heard.values()
        )
    found["ok"] = not found["chorus-hap_needless_elections"]
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for reading."""
    lines = [f"{'what':<24} {'profile':<9} {'n':>1} {'system':<11} {'min':>8} {'median':>8} {'max':>8}  goal"]
    for r in rows:
        goals = [
            f"{name} ≤ {g:g}" for name, g in (("median", r["goal_median_s"]), ("max", r["goal_max_s"])) if g is not None
        ]
        goal = f"{', '.join(goals)}: {'met' if r['ok'] else 'MISSED'}" if goals else ""
        times = " ".join(f"{r[k]:8.3f}" for k in ("min_s", "median_s", "max_s"))
        lines.append(f"{r['what']:<24} {r['profile']:<9} {r['nodes']:>1} {r['system']:<11} {times}  {goal}")
    return "\n".join(lines)


_PROFILES = {"fast": measure_fast, "default": measure_default}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit status whether every goal was met."""
    parser = argparse.ArgumentParser(description="How soon a new leader is seen by all, beside etcd and Serf.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_TRIALS} trials of each kind, not {TRIALS}")
    parser.add_argument("--busy-minutes", type=float, metavar="MIN", help="only this: needless elections on busy cores")
    parser.add_argument("--profile", choices=sorted(_PROFILES), help="only this one")
    parser.add_argument("--alone", action="store_true", help="leave the rivals out")
    options = parser.parse_args(argv)
    lacking = missing()
    for program, package in lacking.items():
        sys.stderr.write(f"{program} isn't installed and is left out: apt-get install {package}\n")
    wanted: tuple[type[System], ...] = () if options.alone else (Etcd, Serf)
    rivals = [r for r in wanted if r.name not in lacking]
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="chorus-bench-") as root:
            bench = Bench(Path(root), QUICK_TRIALS if options.quick else TRIALS)
            try:
                if options.busy_minutes:
                    result = busy(bench, rivals, options.busy_minutes)
                else:
                    for profile in (options.profile,) if options.profile else _PROFILES:
                        _PROFILES[profile](bench, rivals)
                    result = {}
            finally:
                bench.end()
    except NoNamespaces as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    if not options.busy_minutes:
        rows = [row.shown() for row in bench.rows if row.times]
        print(table(rows))
        result = {"trials": bench.trials, "rows": rows, "ok": all(r["ok"] for r in rows)}
    result |= {"took_s": round(time.monotonic() - began), "without": sorted(lacking)}
    print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
