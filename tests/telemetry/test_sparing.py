"""What goes on failing is said at first and then ever less often."""

from __future__ import annotations

import logging

import pytest

from agent_core.telemetry.sparing import MAX_KNOWN, MAX_S, Sparing


def test_a_day_of_failures_takes_thirty_lines_and_none_is_uncounted(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    sparing = Sparing(logging.getLogger("test"), lambda: now)
    sparing.error("the disk is full")
    sparing.error("another thing")
    assert caplog.messages == ["the disk is full", "another thing"]
    for second in range(1, 24 * 3600):
        now = float(second)
        sparing.error("the disk is full")
    assert len(caplog.messages) < 32
    assert "the disk is full (59 times more since it was last said)" in caplog.messages
    now += 4 * MAX_S  # well for long: it is news again
    caplog.clear()
    for _ in range(3):
        sparing.error("the disk is full")
        now += 61
    assert len(caplog.messages) == 2


def test_what_is_remembered_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    sparing = Sparing(logging.getLogger("test"), lambda: 0.0)
    for n in range(3 * MAX_KNOWN):
        sparing.error(f"failure {n}")
    assert len(sparing._repeats) == MAX_KNOWN
