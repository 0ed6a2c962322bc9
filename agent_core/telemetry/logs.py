"""The node's log: JSON lines in ``$CHORUS_HOME/log/node.jsonl``, redacted, rotated, with libraries' records in it."""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import structlog
from structlog.typing import EventDict, WrappedLogger

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


def configure(path: Path, *, level: str = "info", redact: Redact = dict, stderr: bool = False) -> LogFile:
    """Send all logging of this process, structlog's and the standard library's, to the log file.

    Args:
        path: the file.
        level: least level written.
        redact: takes secrets out of a record, wherever they are in it.
        stderr: JSON lines there as well, for ``--daemon``; without tracebacks, which are for the file.

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
        handlers.append(logging.StreamHandler(sys.stderr))
        handlers[-1].setFormatter(lines(_without_trace))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in _QUIETER.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.captureWarnings(True)
    return file


def _without_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key in ("exc_info", "stack_info"):
        event.pop(key, None)
    return event
