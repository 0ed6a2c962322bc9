from __future__ import annotations

from pathlib import Path

import pytest
import trio

from agent_core.blocks.store import BlockStore
from agent_core.errors import StoreError, Unavailable
from agent_core.shapes import Status, Voters
from agent_core.telemetry.health import CHECK_TIMEOUT_S, REPORT_AGE_S, Check, HealthMonitor, node_checks
from tests.support.parts import a_status


class Disk:
    """Durable values, as broken as a test wants."""

    def __init__(self, full: bool = False, lies: bool = False) -> None:
        self.values: dict[str, bytes] = {}
        self.full, self.lies = full, lies

    def read(self, key: str) -> bytes | None:
        return b"something else" if self.lies else self.values.get(key)

    async def write(self, key: str, value: bytes) -> None:
        if self.full:
            raise StoreError("The disk is full.", "Free space.")
        self.values[key] = value


def monitor(
    home: Path, disk: Disk | None = None, status: Status | None = None, blocks: BlockStore | None = None
) -> HealthMonitor:
    now = status or a_status()

    async def probe() -> bool:
        return blocks is None or blocks.probe()

    return HealthMonitor(node_checks(home, disk or Disk(), probe, lambda: now), lambda: now.stage)


async def test_a_block_is_put_and_got_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BlockStore.open(tmp_path / "blocks.db")
    assert (await monitor(tmp_path, blocks=blocks).health()).status == "ok"
    assert blocks.count == 0
    monkeypatch.setattr(blocks, "stored", lambda hash: b"something else")
    health = await monitor(tmp_path, blocks=blocks).health()
    assert health.status == "down"
    assert "block" in str(health.checks["blocks"]["reason"])
    blocks.close()


async def test_a_well_node(tmp_path: Path) -> None:
    health = await monitor(tmp_path).health()
    assert health.status == "ok"
    assert set(health.checks) == {"store", "blocks", "disk", "mesh", "clock", "quorum", "services"}
    assert all(check["status"] == "ok" and check["reason"] for check in health.checks.values())


@pytest.mark.parametrize(
    ("status", "failing"),
    [
        (a_status(voters=Voters(total=3, reachable=1, quorum=2)), "quorum"),
        (a_status(voters=Voters(), cluster_id=""), "quorum"),
        (a_status(clock_skew_s=-300.0), "clock"),
        (a_status(notes=("feeds crashed.",)), "services"),
    ],
)
async def test_degraded_is_not_dead(tmp_path: Path, status: Status, failing: str) -> None:
    found = monitor(tmp_path, status=status)
    health = await found.health()
    assert health.status == "degraded"
    assert [name for name, check in health.checks.items() if check["status"] != "ok"] == [failing]
    assert (await found.ready()).status == "degraded"


@pytest.mark.parametrize("disk", [Disk(full=True), Disk(lies=True)])
async def test_a_store_that_does_not_keep_is_down(tmp_path: Path, disk: Disk) -> None:
    health = await monitor(tmp_path, disk).health()
    assert health.status == "down"
    assert health.checks["store"]["critical"]
    assert health.checks["store"]["reason"]


async def test_a_node_that_does_not_listen_is_down(tmp_path: Path) -> None:
    health = await monitor(tmp_path, status=a_status(addresses=())).health()
    assert (health.status, health.checks["mesh"]["status"]) == ("down", "down")


async def test_a_starting_node_is_neither_started_nor_ready(tmp_path: Path) -> None:
    starting = monitor(tmp_path, status=a_status(stage="store"))
    assert (await starting.startup()).status == "down"
    assert (await starting.ready()).status == "down"
    looking = monitor(tmp_path, status=a_status(stage="looking for peers 7 s"))
    assert (await looking.startup()).status == "ok"


async def test_a_check_that_hangs_fails_and_holds_nobody(autojump_clock: trio.testing.MockClock) -> None:
    async def hang() -> str:
        await trio.sleep_forever()
        return ""

    async def broken() -> str:
        raise ZeroDivisionError

    async def refuse() -> str:
        raise Unavailable("No.")

    checks = [Check("hang", False, hang), Check("broken", False, broken), Check("refuse", False, refuse)]
    begun = trio.current_time()
    health = await HealthMonitor(checks, lambda: "ready").health()
    assert trio.current_time() - begun == CHECK_TIMEOUT_S
    assert health.status == "degraded"
    assert "2 s" in health.checks["hang"]["reason"]
    assert "ZeroDivisionError" in health.checks["broken"]["reason"]
    assert health.checks["refuse"]["reason"] == "No."


async def test_asking_often_costs_one_check(autojump_clock: trio.testing.MockClock) -> None:
    ran = 0

    async def count() -> str:
        nonlocal ran
        ran += 1
        return "counted"

    found = HealthMonitor([Check("count", True, count)], lambda: "ready")
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(found.health)
    assert ran == 1
    await trio.sleep(REPORT_AGE_S)
    await found.health()
    assert ran == 2
