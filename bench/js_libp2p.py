"""js-libp2p for the benchmarks: installs it beside ``bench/js/package.json`` when it isn't there, and says how to start a node."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).with_name("js")


def available() -> bool:
    """Whether js-libp2p can be run; installs it if npm can. Says on stderr why not."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        print("js-libp2p is left out: node and npm are missing. Run: apt-get install nodejs npm", file=sys.stderr)
        return False
    if not (HERE / "node_modules" / "libp2p").exists():
        print("installing js-libp2p into bench/js/node_modules", file=sys.stderr)
        installed = subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=HERE, stdout=sys.stderr)
        if installed.returncode:
            print("js-libp2p is left out: npm ci failed", file=sys.stderr)
            return False
    return True


def command(number: int) -> Sequence[str]:
    """The command of a node of js-libp2p."""
    return ("node", "--import", str(HERE / "polyfill.mjs"), str(HERE / "node.mjs"), str(number))
