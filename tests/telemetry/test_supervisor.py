from __future__ import annotations

from typing import Any

import pytest
import trio

from agent_core.errors import ConfigError, Unavailable
from agent_core.telemetry.supervisor import WELL_AFTER_S, Supervisor


async def test_a_crash_is_restarted_with_growing_waits(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    starts: list[float] = []
    changes: list[tuple[str, ...]] = []
    supervisor = Supervisor(lambda: changes.append(supervisor.notes()))

    async def crashing(*, task_status: Any) -> None:
        starts.append(trio.current_time())
        task_status.started("up")
        if len(starts) <= 7:
            raise Unavailable("The disk said no.")
        await trio.sleep_forever()

    begun = trio.current_time()
    assert await nursery.start(supervisor.run, "feeds", crashing) == "up"
    await trio.sleep(200)
    waits = [round(b - a) for a, b in zip([begun, *starts[1:]], starts[1:], strict=False)]
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    (state,) = supervisor.states()
    assert (state.running, state.restarts, state.last_error, state.degraded) == (True, 7, "The disk said no.", False)
    assert changes[0] == ("feeds crashed and is being restarted: The disk said no.",)
    assert changes[-1] == ()


async def test_a_restarted_service_is_degraded_until_it_has_run_for_a_while(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    supervisor = Supervisor()
    crash = trio.Event()

    async def once(*, task_status: Any) -> None:
        task_status.started()
        if not crash.is_set():
            await trio.sleep(100)
            crash.set()
            raise ValueError("oops")
        await trio.sleep_forever()

    await nursery.start(supervisor.run, "mesh", once)
    assert not supervisor.notes()
    await trio.sleep(100 + 1 + WELL_AFTER_S - 1)
    assert supervisor.notes() == ("mesh crashed and was restarted: ValueError: oops",)
    assert supervisor.statistics().degraded == 1
    await trio.sleep(2)
    assert not supervisor.notes()
    assert supervisor.statistics().restarts == 1


async def test_who_can_not_start_says_so_at_once() -> None:
    async def broken(*, task_status: Any) -> None:
        async with trio.open_nursery():
            raise ConfigError("The port is wrong.")

    with pytest.raises(ExceptionGroup) as found:
        async with trio.open_nursery() as nursery:
            await nursery.start(Supervisor().run, "http", broken)
    assert [type(error) for error in found.value.exceptions] == [ConfigError]


async def test_cancelling_is_no_crash(autojump_clock: trio.testing.MockClock) -> None:
    supervisor = Supervisor()

    async def service(*, task_status: Any) -> None:
        task_status.started()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run, "wire", service)
        nursery.cancel_scope.cancel()
    (state,) = supervisor.states()
    assert (state.running, state.restarts, state.last_error) == (False, 0, "")


async def test_one_that_returns_is_done(autojump_clock: trio.testing.MockClock) -> None:
    async def service(*, task_status: Any) -> None:
        task_status.started()

    supervisor = Supervisor()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run, "once", service)
    assert supervisor.statistics().restarts == 0
