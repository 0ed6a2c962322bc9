"""The supervisor: runs each service, restarts one that crashes, and says which are degraded."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import trio

from agent_core.errors import ChorusError

logger = logging.getLogger(__name__)

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
#: A service that has run so long since its last crash is well again, seconds.
WELL_AFTER_S = 60.0

#: A service's ``run``: takes ``task_status``, says when it has started, and goes on until cancelled.
Run: TypeAlias = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service as its supervisor sees it."""

    name: str
    running: bool
    restarts: int
    last_error: str  #: the last crash in a sentence; empty if it never crashed
    degraded: bool  #: crashed, and not well again yet


@dataclass(frozen=True, slots=True)
class SupervisorStatistics:
    """How many services there are, are degraded, and how often one was restarted."""

    services: int
    degraded: int
    restarts: int


@dataclass(slots=True)
class _Service:
    running: bool = False
    restarts: int = 0
    last_error: str = ""
    degraded: bool = False


class Supervisor:
    """Keeps services running.

    Args:
        changed: called when a service crashes and when it is well again.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._services: dict[str, _Service] = {}

    async def run(self, name: str, service: Run, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Run a service for ever: ``await nursery.start(supervisor.run, name, service)`` returns once it has started.

        One that fails before it has ever started raises, for a node that can't start says so. One that fails later is
        restarted after 1, 2, 4 … 30 s and is degraded until it has run for a minute. One that returns is done.
        """
        state = self._services[name] = _Service()
        wait_s = FIRST_WAIT_S
        while True:
            status = _FirstStart(state, task_status)
            begun = trio.current_time()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._recover, state)
                    await service(task_status=status)
                    nursery.cancel_scope.cancel()
                return
            except Exception as exc:
                ever_ran, state.running = state.running or state.restarts > 0, False
                if not ever_ran:
                    raise _single(exc) from None
                self._crashed(name, state, _single(exc))
            finally:
                state.running = False
            if trio.current_time() - begun > WELL_AFTER_S:
                wait_s = FIRST_WAIT_S
            await trio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            state.restarts += 1

    def states(self) -> tuple[ServiceState, ...]:
        """Every service, by name."""
        return tuple(
            ServiceState(name, s.running, s.restarts, s.last_error, s.degraded)
            for name, s in sorted(self._services.items())
        )

    def notes(self) -> tuple[str, ...]:
        """A sentence for each degraded service, for ``status``."""
        return tuple(
            f"{s.name} crashed and {'was restarted' if s.running else 'is being restarted'}: {s.last_error}"
            for s in self.states()
            if s.degraded
        )

    def statistics(self) -> SupervisorStatistics:
        """Counters since the start."""
        states = self._services.values()
        return SupervisorStatistics(
            services=len(states),
            degraded=sum(s.degraded for s in states),
            restarts=sum(s.restarts for s in states),
        )

    def _crashed(self, name: str, state: _Service, error: BaseException) -> None:
        state.degraded = True
        state.last_error = error.message if isinstance(error, ChorusError) else f"{type(error).__name__}: {error}"[:300]
        logger.error("service %s crashed: %s", name, state.last_error, exc_info=error)
        self._changed()

    async def _recover(self, state: _Service) -> None:
        """Declare a restarted service well after a while."""
        if state.degraded:
            await trio.sleep(WELL_AFTER_S)
            state.degraded = False
            self._changed()


class _FirstStart:
    """Passes a service's ``started`` on to whoever waits for the first one."""

    def __init__(self, state: _Service, outer: Any) -> None:
        self._state = state
        self._outer = outer

    def started(self, value: Any = None) -> None:
        """The service runs."""
        self._state.running = True
        if not self._state.restarts:
            self._outer.started(value)


def _single(error: BaseException) -> BaseException:
    """The exception inside groups of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
