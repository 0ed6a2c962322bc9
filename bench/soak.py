"""Five daemons and a steady stream of durable posts: does memory stay, does the leader? Prints JSON.

Run: ``python -m bench.soak`` (an hour), or ``python -m bench.soak --minutes 3``. Posts go to all nodes in turn, into a room that
changes every few minutes; resident memory is read every ten seconds. Growth is counted from the tenth minute on, by when caches
and rings are full (of a shorter run: from its middle).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

import psutil

from chorus_hap.link import connect
from chorus_hap.tour import Daemon, mesh

NAMES = ("agent-a", "agent-b", "agent-c", "agent-d", "agent-e")
RATE_PER_S = 50
WARM_UP_S = 600
SAMPLE_S = 10
TEXT_BYTES = 256
ROOM_S = 300
MIB = 2**20


@dataclass
class Course:
    """What was seen of one node."""

    rss: list[tuple[float, int]] = field(default_factory=list)  #: seconds since the start, bytes
    posted: int = 0
    refused: int = 0


def post(daemon: Daemon, course: Course, start: float, end: float) -> None:
    """Post at this node's share of the rate until the end."""
    every_s = len(NAMES) / RATE_PER_S
    with connect(daemon.home, start=False) as link:
        due = time.monotonic()
        while due < end and time.monotonic() < end:  # who can't keep up posts less, and the result says so
            time.sleep(max(0.0, due - time.monotonic()))
            room = f"soak-{int((due - start) // ROOM_S)}"
            try:
                link.call("hmmm.post", room=room, text="x" * TEXT_BYTES)
                course.posted += 1
            except Exception as exc:
                course.refused += 1
                print(f"{daemon.name}: {exc}", file=sys.stderr)
            due += every_s


def watch(daemons: Sequence[Daemon], courses: Sequence[Course], start: float, end: float) -> None:
    """Read everybody's memory until the end."""
    processes = [psutil.Process(d.process.pid) for d in daemons]
    due = start
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        for process, course in zip(processes, courses, strict=True):
            course.rss.append((time.monotonic() - start, process.memory_info().rss))
        due += SAMPLE_S


def figures(daemon: Daemon, course: Course, lasted_s: float) -> dict[str, Any]:
    """One node's line of the result."""
    warm = min(WARM_UP_S, lasted_s / 2)
    before = median(r for t, r in course.rss if warm - 60 <= t <= warm + 60)
    after = median(r for t, r in course.rss if t >= lasted_s - 120)
    election: Any = daemon.call("election.show")
    status: Any = daemon.call("status")
    cpu = psutil.Process(daemon.process.pid).cpu_times()
    log = (daemon.home / "log" / "node.jsonl").read_text("utf-8", "replace").splitlines()
    return {
        "rss_mib_by_minute": {
            int(minute): round(mean(r for t, r in course.rss if minute * 60 <= t < minute * 60 + 60) / MIB, 1)
            for minute in range(0, int(lasted_s // 60), 5)
        },
        "rss_growth": round(after / before - 1, 4),
        "cpu_share": round((cpu.user + cpu.system) / lasted_s, 3),
        "posted": course.posted,
        "refused": course.refused,
        "entries": status["entries"],
        "term": election["term"],
        "warnings_logged": sum('"level":"warning"' in line or '"level": "warning"' in line for line in log),
        "errors_logged": sum('"level":"error"' in line or '"level": "error"' in line for line in log),
    }


def main() -> None:
    """Run the soak and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    lasted_s = parser.parse_args().minutes * 60
    with tempfile.TemporaryDirectory(prefix="chorus-soak-") as root, mesh(Path(root), NAMES, ()) as daemons:
        courses = [Course() for _ in daemons]
        start = time.monotonic()
        end = start + lasted_s
        threads = [threading.Thread(target=watch, args=(daemons, courses, start, end))]
        threads += [
            threading.Thread(target=post, args=(d, c, start, end)) for d, c in zip(daemons, courses, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        nodes = {d.name: figures(d, c, lasted_s) for d, c in zip(daemons, courses, strict=True)}
    print(
        json.dumps(
            {
                "bench": "soak",
                "nodes": len(NAMES),
                "minutes": lasted_s / 60,
                "offered_per_s": RATE_PER_S,
                "posted_per_s": round(sum(c.posted for c in courses) / lasted_s, 1),
                "worst_rss_growth": max(n["rss_growth"] for n in nodes.values()),
                "by_node": nodes,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
