"""Runs the whole program many times over, each time in a fork of one interpreter that has imported it: a case costs milliseconds.

Standard streams can be closed, full, broken or binary, the environment and the user anything. As a script this file is the interpreter
that forks: cases come as JSON lines on stdin, results go out as JSON lines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: A case that takes longer hangs, seconds.
HANGS_S = 20.0
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Case:
    """One run.

    ``stdin`` is null, closed, write-only, binary or text; ``stdout`` and ``stderr`` are pipe, closed, full, broken or read-only. A
    variable of ``env`` that is None is taken away.
    """

    words: Sequence[str]
    stdin: str = "null"
    stdout: str = "pipe"
    stderr: str = "pipe"
    env: dict[str, str | None] = field(default_factory=dict)
    uid: int = -1
    cwd: str = ""
    umask: int = -1
    gone: bool = False  #: the working directory is removed
    no_proc: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How a run went; ``status`` is None when it had to be killed."""

    status: int | None
    out: str
    err: str
    seconds: float


def run_all(cases: Iterable[Case], hangs_s: float = HANGS_S, prefix: Sequence[str] = ()) -> list[Result]:
    """Run cases, several at once; the results in their order.

    Args:
        cases: what to run.
        hangs_s: a case that takes longer is killed, seconds.
        prefix: words put before the command that runs them, such as those that give it mounts of its own.
    """
    lines = "".join(json.dumps(asdict(case)) + "\n" for case in cases)
    done = subprocess.run(
        [*prefix, sys.executable, "-W", "error", "-m", "tests.support.forked", str(hangs_s)],
        input=lines, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [Result(**json.loads(line)) for line in done.stdout.splitlines()]


# --- the interpreter that forks --------------------------------------------------------------------------------------


def _stream(what: str, write: bool) -> int:
    """A descriptor for a standard stream; -1 for a closed one."""
    if what == "closed":
        return -1
    if what == "full":
        return os.open("/dev/full", os.O_WRONLY)
    if what in ("null", "read-only"):
        return os.open(os.devnull, os.O_RDONLY)
    if what == "write-only":
        return os.open(os.devnull, os.O_WRONLY)
    reading, writing = os.pipe()
    if write:  # broken: nobody reads
        os.close(reading)
        return writing
    os.write(writing, b"\xff\xfe\x00\x80" * 64 if what == "binary" else b"some text\n")
    os.close(writing)
    return reading


def _child(case: dict[str, Any], outputs: dict[str, int]) -> int:
    import io
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    given = [_stream(case["stdin"], False)]
    given += [outputs[name] if name in outputs else _stream(case[name], True) for name in ("stdout", "stderr")]
    given = [os.dup2(fd, 100 + number) if fd >= 0 else -1 for number, fd in enumerate(given)]
    for number, fd in enumerate(given):
        os.close(number)
        if fd >= 0:
            os.dup2(fd, number)
    os.closerange(3, 200)
    # As the interpreter makes them at its start: none where the descriptor is closed.
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream: Any = None
        if given[number] >= 0:
            raw = io.FileIO(number, mode, closefd=False)
            buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
            stream = io.TextIOWrapper(buffer, encoding="utf-8", line_buffering=name == "stderr")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    if case["cwd"]:
        os.chdir(case["cwd"])
    if case["gone"]:
        os.rmdir(os.getcwd())
    if case["umask"] >= 0:
        os.umask(case["umask"])
    for name, value in case["env"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if case["no_proc"]:
        from agent_core import system

        system.PROC = Path("/nowhere")
    if case["uid"] >= 0:
        _become(case["uid"])
    sys.argv = ["chorus-hap", *case["words"]]
    from chorus_hap.__main__ import main

    try:
        status = main()
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    for stream in (sys.stdout, sys.stderr):  # as the interpreter does at its end
        try:
            if stream is not None:
                stream.flush()
        except Exception:
            os.write(2, b"Exception ignored while a stream was flushed\n")
            status = 120
    return status


def _become(uid: int) -> None:
    """Be another user in a namespace of one's own, as in a container; files that were ours stay so."""
    import ctypes

    outside = os.getuid()
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:  # CLONE_NEWUSER
        os._exit(77)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outside} 1")


def _import_all() -> None:
    """Have imported what commands import when they are run."""
    import contextlib
    import io

    from chorus_hap import cli
    from chorus_hap.cli.app import COMMANDS, application

    for command in COMMANDS:
        application([command.name])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for words in (["--help"], ["config", "show"], ["status"], ["doctor"]):
            cli.main(["--home", "/nowhere/at/all", *words])


def _serve() -> None:
    import gc
    import select
    import signal
    import time

    _import_all()
    gc.freeze()  # what was imported is shared by the forks
    hangs_s = float(sys.argv[1])
    todo = [json.loads(line) for line in sys.stdin]
    results: list[dict[str, Any] | None] = [None] * len(todo)
    running: dict[int, dict[str, Any]] = {}
    at = 0
    while at < len(todo) or running:
        while at < len(todo) and len(running) < AT_ONCE:
            case = todo[at]
            pipes = {name: os.pipe() for name in ("stdout", "stderr") if case[name] == "pipe"}
            pid = os.fork()
            if pid == 0:
                status = 99
                try:
                    status = _child(case, {name: ends[1] for name, ends in pipes.items()})
                finally:
                    os._exit(status)
            for ends in pipes.values():
                os.close(ends[1])
            reading = {ends[0]: name for name, ends in pipes.items()}
            running[pid] = {"at": at, "begun": time.monotonic(), "read": reading, "stdout": b"", "stderr": b""}
            at += 1
        fds = [fd for one in running.values() for fd in one["read"]]
        ready = select.select(fds, [], [], 0.005)[0]
        for pid, one in list(running.items()):
            for fd in [fd for fd in one["read"] if fd in ready]:
                data = os.read(fd, 1 << 16)
                one[one["read"][fd]] += data
                if not data:
                    os.close(fd)
                    del one["read"][fd]
            took = time.monotonic() - one["begun"]
            if took > hangs_s:
                os.kill(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            for fd, name in one["read"].items():
                while os.get_blocking(fd) and select.select([fd], [], [], 0)[0] and (data := os.read(fd, 1 << 16)):
                    one[name] += data
                os.close(fd)
            del running[pid]
            results[one["at"]] = {
                "status": None if took > hangs_s else os.waitstatus_to_exitcode(status),
                "out": one["stdout"].decode("utf-8", "replace"),
                "err": one["stderr"].decode("utf-8", "replace"),
                "seconds": took,
            }
    for result in results:
        print(json.dumps(result))


if __name__ == "__main__":
    _serve()
