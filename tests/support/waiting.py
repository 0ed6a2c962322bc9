"""The one place where tests let time pass: wait for a condition, with a timeout."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], timeout_s: float, what: str, every_s: float = 0.02) -> T:
    """The condition's first true result.

    Raises:
        AssertionError: it never became true; ``what`` and the last result are in the message.
    """
    end = time.monotonic() + timeout_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s:g} s: {what}; last: {result!r}")
        time.sleep(every_s)
