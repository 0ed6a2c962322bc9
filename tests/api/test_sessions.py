from __future__ import annotations

import trio

from agent_core.api.sessions import FIRST_S, GRACE_S, Session, SessionKind, Sessions


def a_session() -> Session:
    return Session(SessionKind.CONSOLE, "test", "ann")


async def ends_after(sessions: Sessions, limit_s: float = 1000) -> float | None:
    """Seconds until the node would end; nothing if it goes on."""
    start = trio.current_time()
    with trio.move_on_after(limit_s) as scope:
        await sessions.abandoned()
    return None if scope.cancelled_caught else trio.current_time() - start


async def test_nobody_came(autojump_clock: trio.testing.MockClock) -> None:
    assert await ends_after(Sessions(owned=True)) == FIRST_S


async def test_a_daemon_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    assert await ends_after(Sessions(owned=False)) is None


async def test_the_last_one_left(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    sessions = Sessions(owned=True)
    first, second = a_session(), a_session()

    @nursery.start_soon
    async def come_and_go() -> None:
        sessions.attach(first)
        await trio.sleep(100)
        sessions.attach(second)
        sessions.detach(first)
        await trio.sleep(50)
        sessions.detach(second)

    assert await ends_after(sessions) == 150 + GRACE_S


async def test_one_that_comes_back_in_time_keeps_it(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    sessions = Sessions(owned=True)
    session = a_session()

    @nursery.start_soon
    async def come_back() -> None:
        sessions.attach(session)
        await trio.sleep(10)
        sessions.detach(session)
        await trio.sleep(GRACE_S - 1)
        sessions.attach(session)

    assert await ends_after(sessions) is None


async def test_a_visit_within_one_instant_counts(autojump_clock: trio.testing.MockClock) -> None:
    sessions = Sessions(owned=True)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def visit() -> None:
            await trio.sleep(1)
            session = a_session()
            sessions.attach(session)
            sessions.detach(session)

        assert await ends_after(sessions) == 1 + GRACE_S


async def test_it_can_be_told_to_go_on(autojump_clock: trio.testing.MockClock) -> None:
    sessions = Sessions(owned=True)
    sessions.keep_running()
    assert sessions.mode == "daemon"
    assert await ends_after(sessions) is None
