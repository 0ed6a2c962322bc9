from __future__ import annotations

import itertools
import json
import logging
import stat
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from agent_core.shhh.door import Door
from agent_core.shhh.model import builtin_rules, example
from agent_core.telemetry import logs
from agent_core.telemetry.repeats import FIRST_S, MAX_KNOWN, MAX_S


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Logging is the process's own: leave it as it was found."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in logs._QUIETER}
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
        if handler not in before:
            handler.close()
    for handler in before:
        root.addHandler(handler)
    root.setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_both_sorts_of_loggers_write_one_json_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log" / "node.jsonl"
    logs.configure(path)
    structlog.get_logger("feeds").info("appended", entries=3)
    logging.getLogger("agent_core.api").warning("slow by %d ms", 7, extra={"path": "/x"})
    first, second = lines(path)
    assert (first["event"], first["entries"], first["level"], first["logger"]) == ("appended", 3, "info", "feeds")
    assert first["at"].endswith("Z")
    assert (second["event"], second["level"], second["path"]) == ("slow by 7 ms", "warning", "/x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_tracebacks_and_warnings_are_in_it(tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    logs.configure(path)
    try:
        raise ZeroDivisionError("oops")
    except ZeroDivisionError:
        logging.getLogger("x").exception("failed")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("careful", stacklevel=1)
    failed, warned = lines(path)
    assert "ZeroDivisionError: oops" in failed["exception"]
    assert "careful" in warned["event"]


def test_libraries_are_quieter_and_the_level_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where a mesh was made before in this process without a log, it took libp2p's away from everybody.
    monkeypatch.setattr(logging.getLogger("libp2p"), "propagate", True)
    path = tmp_path / "node.jsonl"
    logs.configure(path, level="info")
    logging.getLogger("libp2p.pubsub").info("chatter")
    logging.getLogger("libp2p.pubsub").warning("trouble")
    logging.getLogger("agent_core").debug("detail")
    structlog.get_logger("agent_core").debug("detail")
    assert [line["event"] for line in lines(path)] == ["trouble"]


def test_no_secret_reaches_the_file(tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    # An hour and more between any two: none of these equal errors is only counted.
    logs.configure(path, redact=Door(b"k" * 32).log, clock=itertools.count(0.0, 3 * MAX_S).__next__)
    secrets = [example(rule.match[0]) for rule in builtin_rules()]
    for secret in secrets:
        structlog.get_logger("a").info("got " + secret, detail={"deep": [secret]})
        logging.getLogger("b").error("got %s", secret)
        try:
            raise ValueError(secret)
        except ValueError:
            logging.getLogger("c").exception("failed")
    text = path.read_text()
    assert len(lines(path)) == 3 * len(secrets)
    assert "[REDACTED:" in text
    for secret in secrets:
        assert json.dumps(secret, ensure_ascii=False)[1:-1] not in text


def test_the_daemon_writes_the_same_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "node.jsonl"
    logs.configure(path, stderr=True)
    structlog.get_logger("x").info("hello")
    assert capsys.readouterr().err == path.read_text()


def test_files_rotate_private_and_few(tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    handler = logs.LogFile(path, max_bytes=200, files=3)
    for n in range(50):
        handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "line %d of many", (n,), None))
    handler.close()
    found = sorted(tmp_path.iterdir())
    assert [file.name for file in found] == ["node.jsonl", "node.jsonl.1", "node.jsonl.2"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in found} == {0o600}
    assert path.read_text().endswith("line 49 of many\n")


def test_a_full_disk_costs_lines_and_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = logs.LogFile(tmp_path / "node.jsonl")
    handler.close()
    handler.stream = open("/dev/full", "w")  # noqa: SIM115
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "lost", (), None))
    assert handler.lost == 1
    assert capsys.readouterr().err == ""
    with pytest.raises(OSError, match="space"):
        handler.stream.close()


def test_a_redactor_sees_every_field(tmp_path: Path) -> None:
    seen: list[Mapping[str, Any]] = []

    def note(record: Mapping[str, Any]) -> dict[str, Any]:
        seen.append(dict(record))
        return {"event": "gone"}

    path = tmp_path / "node.jsonl"
    logs.configure(path, redact=note)
    structlog.get_logger("x").info("hello", key="value")
    assert lines(path) == [{"event": "gone"}]
    assert seen[0]["key"] == "value"


def test_a_traceback_is_in_the_file_and_not_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(tmp_path / "node.jsonl", stderr=True)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logging.getLogger("x").exception("it failed")
    said = capsys.readouterr().err
    assert json.loads(said)["event"] == "it failed"
    assert "Traceback" not in said
    assert "Traceback" in lines(tmp_path / "node.jsonl")[0]["exception"]


def flood(name: str, n: int) -> None:
    """One error of each sort that the node's parts and libraries log."""
    try:
        raise OSError(24, "Too many open files")
    except OSError as exc:
        if name == "library":
            logging.getLogger("trio.serve_listeners").error("accept returned %s", "EMFILE", exc_info=True)
        elif name == "group":
            logging.getLogger("g").error("it crashed", exc_info=ExceptionGroup("several", [exc]))
        elif name == "structlog":
            structlog.get_logger("s").exception("a reader failed")
        elif name == "structlog with a number":
            structlog.get_logger("s").error("a reader failed", peer=n)
        elif name == "in its arguments":
            logging.getLogger("a").warning("peer %d is gone: %s", n, exc)
        elif name == "in its text":
            logging.getLogger("f").error(f"peer {n} is gone")
        elif name == "warning":
            logging.getLogger("py.warnings").warning("%s", f"file:{n}: careful")


SORTS = ("library", "group", "structlog", "structlog with a number", "in its arguments", "in its text", "warning")


@pytest.mark.parametrize("sort", SORTS)
def test_no_repeated_error_floods_the_log_and_none_is_uncounted(tmp_path: Path, sort: str) -> None:
    path, now = tmp_path / "node.jsonl", 0.0
    logs.configure(path, clock=lambda: now)
    for n in range(20_000):  # a quarter of an hour
        flood(sort, n)
        now += 0.05
    assert path.stat().st_size < 40_000
    now += 2 * MAX_S
    logging.getLogger("x").info("something else")  # it stopped: what wasn't said is summed up
    said = lines(path)
    counted = sum(line.get("not_said", 0) for line in said)
    counted += sum(int(line["event"].split()[0]) for line in said if "times more since it was said" in line["event"])
    once = [line for line in said[:-1] if "times more since" not in line["event"]]
    assert counted + len(once) == 20_000


def test_errors_of_different_kinds_do_not_hide_one_another(tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    logs.configure(path, clock=lambda: 0.0)
    for _ in range(3):
        for error in (OSError("a"), ValueError("b")):
            logging.getLogger("x").error("it failed", exc_info=error)
        logging.getLogger("x").error("something else failed")
        logging.getLogger("y").error("it failed")
    assert len(lines(path)) == 4


def test_information_is_never_counted_away(tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    logs.configure(path)
    for _ in range(50):
        logging.getLogger("x").info("still here")
    assert len(lines(path)) == 50


def test_what_was_counted_is_said_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    logs.configure(path, clock=lambda: 0.0)
    for _ in range(7):
        logging.getLogger("x").error("it failed")
    for handler in logging.getLogger().handlers:
        handler.close()
    assert lines(path)[-1]["event"] == "6 times more since it was said: it failed"


def test_memory_for_errors_is_bounded(tmp_path: Path) -> None:
    logs.configure(tmp_path / "node.jsonl", clock=lambda: 0.0)
    (sieve,) = [handler for handler in logging.getLogger().handlers if isinstance(handler, logs.Sieve)]
    for n in range(5 * MAX_KNOWN):
        for _ in range(2):
            logging.getLogger(f"l{n}").error("failure %d", n)
    assert len(sieve._last) <= 4 * MAX_KNOWN


def test_a_stderr_that_is_full_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", buffering=1) as full, pytest.raises(OSError, match="space"):  # noqa: PT012
        monkeypatch.setattr("sys.stderr", full)
        logs.configure(tmp_path / "node.jsonl", stderr=True)
        for n in range(3):
            logging.getLogger("x").info("line %d", n)
        assert len(lines(tmp_path / "node.jsonl")) == 3
        full.close()
    assert FIRST_S < MAX_S
