"""What several of these tests judge by."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.interop.tools import HERE, Go, absent, missing

#: Where Debian has Go's modules.
GOPATH = Path("/usr/share/gocode")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped for want of somebody else's program: a row of letters doesn't."""
    for sentence in sorted(absent):
        terminalreporter.write_line(f"Not judged by others: {sentence}")


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Go:
    """Runs the verifier: whether it accepted, and what it said."""
    if shutil.which("go") is None or not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        missing("Go, or its module golang.org/x/mod,", "apt-get install golang-go golang-golang-x-mod-dev")
    built = tmp_path_factory.mktemp("go")
    env = os.environ | {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(built / "cache"), "GOFLAGS": ""}
    subprocess.run(["go", "build", "-o", built / "verify", HERE / "go" / "verify.go"], env=env, check=True, timeout=100)

    def run(*words: str | Path) -> tuple[bool, str]:
        done = subprocess.run([built / "verify", *words], capture_output=True, text=True, timeout=30)
        return done.returncode == 0, done.stdout + done.stderr

    return run
