"""The program under a wall clock that is off: only tests start it, so no setting of the product can be left on.

``python -m tests.support.skewed FILE WORD…`` runs ``chorus-hap WORD…``; FILE holds the seconds by which the clock is fast, and
may be changed while it runs.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

if __name__ == "__main__":
    path, right_ns = Path(sys.argv[1]), time.time_ns

    def skewed_ns() -> int:
        """Unix time in nanoseconds as the skewed clock shows it."""
        return right_ns() + int(float(path.read_text() or 0) * 1e9)

    time.time_ns = skewed_ns
    time.time = lambda: skewed_ns() / 1e9
    from chorus_hap.__main__ import main

    sys.argv = ["chorus-hap", *sys.argv[2:]]
    sys.exit(main())
