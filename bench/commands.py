"""How long ``chorus-hap status`` takes against a running daemon, beside an empty Typer program in the same run.

``python -m bench.commands [runs]`` prints medians in milliseconds and their ratio as JSON; the goal is at most 1.6.
The two are run in turn, so that a busy machine slows both.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from chorus_hap.tour import Daemon

GOAL = 1.6
RUNS = 20

_EMPTY = """
import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def root() -> None: ...


@app.command()
def status() -> None: ...


app()
"""


def compare(home: Path, runs: int = RUNS) -> dict[str, float | int | bool]:
    """Time both programs in turn.

    Args:
        home: a home that a daemon runs on.
        runs: how often each is run.
    """
    with tempfile.TemporaryDirectory() as place:
        empty = Path(place) / "empty.py"
        empty.write_text(_EMPTY)
        beside = [sys.executable, str(empty), "status"]
        ours = [sys.executable, "-m", "chorus_hap", "status", "--home", str(home), "--json"]
        for words in (beside, ours):
            _milliseconds(words)  # once for the disk's cache
        pairs = [(_milliseconds(beside), _milliseconds(ours)) for _ in range(runs)]
    empty_ms, status_ms = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(ours / empty for empty, ours in pairs)
    return {
        "runs": runs,
        "empty_typer_ms": round(empty_ms, 1),
        "status_ms": round(status_ms, 1),
        "ratio": round(ratio, 2),
        "goal": GOAL,
        "ok": ratio <= GOAL,
    }


def _milliseconds(words: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"NO_COLOR": "1"})
    return (time.perf_counter() - began) * 1000


def main() -> int:
    """Start a daemon in a temporary home, compare, print; exit 1 when the goal is missed."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with tempfile.TemporaryDirectory(prefix="chorus-bench-") as place:
        daemon = Daemon(Path(place) / "home", "bench", ("cluster.discovery_s=0.1",))
        try:
            daemon.wait("leader")
            result = compare(daemon.home, runs)
        finally:
            daemon.end()
    print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
