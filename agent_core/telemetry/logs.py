"""The node's log: JSON lines in ``$CHORUS_HOME/log/node.jsonl``, redacted, rotated, with libraries' records in it.

An error that comes again and again is said once, then counted and summed up at growing intervals, whoever logs it (:class:`Sieve`).
"""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import structlog
from structlog.typing import EventDict, WrappedLogger

from agent_core.telemetry.repeats import Repeats

MAX_BYTES = 10 * 1024 * 1024
#: Files kept in all: the one written to and the ones before.
FILES = 5

#: Libraries that say much: their records count only from this level on.
_QUIETER: Mapping[str, int] = {"hypercorn": logging.WARNING, "libp2p": logging.WARNING, "multiaddr": logging.WARNING}

#: SHHH's door for log records: never refuses, never raises.
Redact: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]


class LogFile(logging.handlers.RotatingFileHandler):
    """A rotated file, mode 0600. A full disk costs log lines, counted, and nothing else."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, files: int = FILES) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.lost = 0
        super().__init__(path, maxBytes=max_bytes, backupCount=files - 1, encoding="utf-8")

    def _open(self) -> io.TextIOWrapper:
        fd = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.fchmod(fd, 0o600)
        return os.fdopen(fd, "a", encoding=self.encoding)

    def handleError(self, record: logging.LogRecord) -> None:
        """Count what couldn't be written."""
        self.lost += 1


class Narration(logging.StreamHandler[Any]):
    """JSON lines on stderr, for whoever watches a daemon. A stderr that is closed or full costs nothing but them."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: the file has it."""


#: How many errors from one place in the code are said within an interval, when they differ in what they say.
BURST = 10


class Sieve(logging.Handler):
    """Hands records on, but of equal warnings and errors only the first, then one at growing intervals with their number.

    Equal are those of one logger that say the same with the same kind of exception. Those of one line of code that say something
    different each time (a peer, a number) are counted together once there were :data:`BURST` of them.

    Args:
        handlers: where records go.
        clock: seconds, monotonic.
    """

    def __init__(self, handlers: Sequence[logging.Handler], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._handlers, self._clock = handlers, clock
        self._same, self._place = Repeats(), Repeats(BURST)
        #: The last record of each kind that wasn't said, for the sum.
        self._last: dict[Any, logging.LogRecord] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on, or count it; never raises."""
        try:
            now = self._clock()
            for key, count in (*self._same.overdue(now), *self._place.overdue(now)):
                self._sum_up(key, count)
            if record.levelno < logging.WARNING or record.__dict__.pop("said_sparingly", False):
                self._hand_on(record)
                return
            said, kind = _said(record), _kind(record)
            same = (record.name, said, kind)
            place = (record.name, record.pathname, record.lineno if isinstance(record.msg, str) else said, kind)
            kept = self._same.judge(same, now)
            if kept is None:
                self._keep(same, record)
                return
            beside = self._place.judge(place, now)
            if beside is None:
                self._place.count(place, kept)
                self._keep(place, record)
                return
            self._hand_on(_counted(record, kept + beside) if kept + beside else record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Say what was counted and not said, then close the handlers; idempotent."""
        now = self._clock()
        for key, kept in (*self._same.overdue(now, everything=True), *self._place.overdue(now, everything=True)):
            self._sum_up(key, kept)
        for handler in self._handlers:
            handler.close()
        super().close()

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: a failure to log may not be one more error to log."""

    def _keep(self, key: Any, record: logging.LogRecord) -> None:
        self._last[key] = record
        if len(self._last) > 2 * len(self._same) + 2 * len(self._place):
            del self._last[next(iter(self._last))]

    def _sum_up(self, key: Any, kept: int) -> None:
        last = self._last.pop(key, None)
        if last is None:
            return
        said = _said(last)
        kind = key[-1]
        again = logging.LogRecord(
            last.name, last.levelno, last.pathname, last.lineno,
            "%d times more since it was said: %s", (kept, f"{said} ({kind})" if kind else said), None,
        )  # fmt: skip
        self._hand_on(again)

    def _hand_on(self, record: logging.LogRecord) -> None:
        for handler in self._handlers:
            if record.levelno >= handler.level:
                handler.handle(record)


def _said(record: logging.LogRecord) -> str:
    """What a record of either sort of logger says."""
    return str(record.msg.get("event", "")) if isinstance(record.msg, dict) else record.getMessage()


def _kind(record: logging.LogRecord) -> str:
    """The name of the exception it is about; of a group, of the first one in it."""
    given = record.msg.get("exc_info") if isinstance(record.msg, dict) else record.exc_info
    error = given[1] if isinstance(given, tuple) else given
    if error is True:
        error = sys.exc_info()[1]
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__ if isinstance(error, BaseException) else ""


def _counted(record: logging.LogRecord, kept: int) -> logging.LogRecord:
    """The record, with how many like it were not said."""
    if isinstance(record.msg, dict):
        record.msg["not_said"] = kept
    else:
        record.not_said = kept
    return record


def catch_strays() -> None:
    """Send what Python itself would print to stderr, about threads and what can't be raised, to the log like the rest."""
    log = logging.getLogger("python")

    def unraisable(args: Any) -> None:
        exc = args.exc_value
        log.error("%s", args.err_msg or "an exception that nobody could be told", exc_info=exc if exc else None)

    def in_thread(args: Any) -> None:
        if args.exc_type is not SystemExit:
            log.error("a thread ended with an exception", exc_info=args.exc_value)

    sys.unraisablehook, threading.excepthook = unraisable, in_thread


def configure(
    path: Path,
    *,
    level: str = "info",
    redact: Redact = dict,
    stderr: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> LogFile:
    """Send all logging of this process, structlog's and the standard library's, to the log file.

    Args:
        path: the file.
        level: least level written.
        redact: takes secrets out of a record, wherever they are in it.
        stderr: JSON lines there as well, for ``--daemon``; without tracebacks, which are for the file.
        clock: monotonic seconds, for the intervals of equal errors.

    Returns:
        the file's handler.

    Raises:
        OSError: the file can't be opened.
    """

    def clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return redact(event)

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]

    def lines(*traces: Any) -> logging.Formatter:
        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *traces,
                clean,
                structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
            ],
        )

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    file = LogFile(path)
    file.setFormatter(lines(structlog.processors.StackInfoRenderer(), structlog.processors.format_exc_info))
    handlers: list[logging.Handler] = [file]
    if stderr:
        handlers.append(Narration(sys.stderr))
        handlers[-1].setFormatter(lines(_without_trace))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(Sieve(handlers, clock))
    root.setLevel(level.upper())
    for name, least in _QUIETER.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.captureWarnings(True)
    return file


def _without_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key in ("exc_info", "stack_info"):
        event.pop(key, None)
    return event
