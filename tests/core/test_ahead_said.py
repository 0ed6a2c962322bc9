"""A log that is ahead of its clock is said in one sentence, the same wherever a person looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_core.api.attention import attention
from agent_core.api.views import clock_state
from agent_core.clock import MAX_AHEAD_MS, ahead_of, pack
from agent_core.telemetry.health import HealthMonitor, node_checks
from chorus_hap.store import Store
from chorus_hap.themes import Glyphs
from chorus_hap.widgets.lines import plain, width_of
from chorus_hap.words import status_line
from tests.support.parts import NOW_MS, FakeNode, a_status

AHEAD = ahead_of(pack(NOW_MS + 3_600_000), NOW_MS)
assert AHEAD is not None
SENTENCE = AHEAD.sentence
STATUS = a_status(ahead=clock_state(AHEAD), notes=(SENTENCE,))


class Disk:
    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def read(self, key: str) -> bytes | None:
        return self.values.get(key)

    async def write(self, key: str, value: bytes) -> None:
        self.values[key] = value


def test_the_bound_is_two_minutes_and_the_words_stay_the_same_as_time_passes() -> None:
    last = pack(NOW_MS + 3_600_000)
    assert ahead_of(pack(NOW_MS + MAX_AHEAD_MS), NOW_MS) is None
    later = ahead_of(last, NOW_MS + 60_000)
    assert later is not None
    assert later.sentence == SENTENCE
    assert ahead_of(last, AHEAD.until_ms) is None


async def test_health_says_it(tmp_path: Path) -> None:
    async def probe() -> bool:
        return True

    health = await HealthMonitor(node_checks(tmp_path, Disk(), probe, lambda: STATUS), lambda: "ready").health()
    assert health.status == "degraded"
    assert SENTENCE in str(health.checks["clock"]["reason"])


def test_attention_says_it() -> None:
    node = FakeNode()
    node.now = STATUS
    assert SENTENCE in [item.text for item in attention(node.parts().sources)]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 160])
def test_the_status_line_says_it(width: int) -> None:
    store = Store()
    store.put("status", STATUS, 1)
    line = status_line(store, width, Glyphs())
    assert width_of(line) <= width
    assert SENTENCE[: min(len(SENTENCE), width - 8)] in plain(line)
