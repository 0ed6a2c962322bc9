"""What a daemon costs that has nothing to do, one of five in a mesh with the default timings: traffic, CPU, memory. Prints JSON.

Traffic is the TCP payload on all of the daemon's sockets, both ways, as ``ss`` counts it. Run: ``python -m bench.idle [--seconds N]``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from chorus_hap.tour import mesh

NAMES = ("idle-a", "idle-b", "idle-c", "idle-d", "idle-e")
SETTLE_S, SECONDS = 20, 60
MIB = 2**20
#: What one of five idle etcd members was seen to send and receive, measured elsewhere: a constant to compare with, not of this run.
ETCD_REFERENCE_BYTES_PER_S = 4558

_COUNTERS = re.compile(r"bytes_(?:sent|received):(\d+)")


def traffic() -> dict[int, int]:
    """Bytes sent and received so far on the open TCP sockets of each process."""
    text = subprocess.run(["ss", "-tinpHO"], capture_output=True, text=True, check=True).stdout
    totals: dict[int, int] = {}
    for line in text.splitlines():
        for pid in re.findall(r"pid=(\d+)", line):
            totals[int(pid)] = totals.get(int(pid), 0) + sum(int(n) for n in _COUNTERS.findall(line))
    return totals


def measure(settle_s: float = SETTLE_S, seconds: float = SECONDS) -> dict[str, Any]:
    """Start five daemons, let them settle, and watch them do nothing."""
    with tempfile.TemporaryDirectory(prefix="chorus-idle-") as root, mesh(Path(root), NAMES, settings=()) as daemons:
        status: Any = daemons[0].wait("leader")
        leader = status["leader"]["peer_id"]
        time.sleep(settle_s)
        processes = [psutil.Process(daemon.process.pid) for daemon in daemons]
        before, began = traffic(), time.monotonic()
        cpu = [sum(p.cpu_times()[:2]) for p in processes]
        time.sleep(seconds)
        after, span = traffic(), time.monotonic() - began
        rows = [
            {
                "bytes_per_s": round((after.get(p.pid, 0) - before.get(p.pid, 0)) / span),
                "cpu_percent": round(100 * (sum(p.cpu_times()[:2]) - used) / span, 2),
                "rss_mib": round(p.memory_info().rss / MIB, 1),
            }
            for p, used in zip(processes, cpu, strict=True)
        ]
        leads = [daemon.call("status")["peer_id"] == leader for daemon in daemons]
    followers = [row for row, is_leader in zip(rows, leads, strict=True) if not is_leader]
    return {
        "follower_median": {key: round(median(row[key] for row in followers), 2) for key in rows[0]},
        "leader": next((row for row, is_leader in zip(rows, leads, strict=True) if is_leader), None),
        "seconds": round(span),
        "etcd_reference_bytes_per_s_measured_elsewhere": ETCD_REFERENCE_BYTES_PER_S,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    print(json.dumps(measure(seconds=parser.parse_args().seconds), indent=2))


if __name__ == "__main__":
    main()
