"""Health: active checks, critical or not. Degraded isn't dead (SPEC section 15)."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import trio

from agent_core.clock import MAX_AHEAD_MS
from agent_core.errors import ChorusError, Unavailable
from agent_core.grammar import are, plural
from agent_core.shapes import Health, Status

logger = logging.getLogger(__name__)

#: A check that takes longer has failed, seconds.
CHECK_TIMEOUT_S = 2.0
#: A report is good for so long, so that nobody can make a node busy by asking, seconds.
REPORT_AGE_S = 1.0
#: With less free disk the store may not be able to append, bytes.
LEAST_FREE_BYTES = 64 * 1024 * 1024

OK, DEGRADED, DOWN = "ok", "degraded", "down"

#: Stages in which the node hasn't come up yet.
STARTING = frozenset({"starting", "store", "identity", "listening"})


class Durable(Protocol):
    """Small values on disk."""

    def read(self, key: str) -> bytes | None: ...

    async def write(self, key: str, value: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Args:
        name: short, stable.
        critical: whether the node can't do its work when it fails.
        run: returns what was found, in a few words; raises :class:`ChorusError` when it fails.
    """

    name: str
    critical: bool
    run: Callable[[], Awaitable[str]]


class HealthMonitor:
    """Runs the checks and answers the four endpoints.

    Args:
        checks: in the order they are shown.
        stage: the start-up stage now.
    """

    def __init__(self, checks: Sequence[Check], stage: Callable[[], str]) -> None:
        self._checks = checks
        self._stage = stage
        self._report: Health | None = None
        self._at = 0.0
        self._checking = trio.Lock()

    async def health(self) -> Health:
        """Everything, with reasons: ``down`` when a critical check fails, ``degraded`` when another one does."""
        async with self._checking:
            if self._report is None or trio.current_time() - self._at >= REPORT_AGE_S:
                self._report = await self._run()
                self._at = trio.current_time()
            return self._report

    async def ready(self) -> Health:
        """Whether the node has started and no critical check fails."""
        started = await self.startup()
        return started if started.status == DOWN else await self.health()

    async def startup(self) -> Health:
        """Whether the node has come up."""
        stage = self._stage()
        return Health(status=DOWN if stage in STARTING else OK, checks={"stage": {"status": stage}})

    async def _run(self) -> Health:
        found: dict[str, dict[str, object]] = {}
        async with trio.open_nursery() as nursery:
            for check in self._checks:
                found[check.name] = {}
                nursery.start_soon(self._one, check, found[check.name])
        failed = [check for check in self._checks if found[check.name]["status"] != OK]
        status = DOWN if any(check.critical for check in failed) else DEGRADED if failed else OK
        return Health(status=status, checks=found)

    async def _one(self, check: Check, into: dict[str, object]) -> None:
        into.update(status=DOWN, critical=check.critical, reason=f"no answer within {CHECK_TIMEOUT_S:g} s")
        with trio.move_on_after(CHECK_TIMEOUT_S):
            try:
                into.update(reason=await check.run(), status=OK)
            except ChorusError as exc:
                into.update(reason=exc.message)
            except Exception as exc:
                logger.exception("health check %s failed", check.name)
                into.update(reason=f"the check itself failed: {type(exc).__name__}")


def node_checks(
    home: Path, durable: Durable, blocks: Callable[[], Awaitable[bool]], status: Callable[[], Status]
) -> tuple[Check, ...]:
    """The checks of a node: store, blocks, disk, mesh (critical), clock, quorum and services (not).

    Args:
        home: whose disk needs room.
        durable: writes small values and reads them back.
        blocks: puts a block and gets it; whether it came back as it was.
        status: how the node stands.
    """

    async def store() -> str:
        token = os.urandom(8)
        await durable.write("health.probe", token)
        if durable.read("health.probe") != token:
            raise Unavailable("The store gave back something else than was written.")
        return "written and read back"

    async def block() -> str:
        if not await blocks():
            raise Unavailable("A block came back other than it was put, or not at all.")
        return "put and got"

    async def disk() -> str:
        try:
            free = shutil.disk_usage(home).free
        except OSError as exc:
            raise Unavailable(f"The home's disk can't be asked: {exc.strerror or exc}.") from exc
        if free < LEAST_FREE_BYTES:
            raise Unavailable(
                f"{free // 2**20} MiB {are(free // 2**20)} free; {LEAST_FREE_BYTES // 2**20} MiB are needed."
            )
        return f"{free // 2**20} MiB free"

    async def mesh() -> str:
        now = status()
        if not now.addresses:
            raise Unavailable("The node doesn't listen for peers.")
        return f"listening, {plural(now.peers, 'peer')}"

    async def clock() -> str:
        now = status()
        if now.ahead is not None:
            raise Unavailable(now.ahead.text)
        skew_s = now.clock_skew_s
        if abs(skew_s) * 1000 > MAX_AHEAD_MS:
            raise Unavailable(f"The clock is {skew_s:+.0f} s off the median of the peers.")
        return f"{skew_s:+.1f} s off the median of the peers"

    async def quorum() -> str:
        voters = status().voters
        if not voters.total:
            raise Unavailable("This node belongs to no cluster yet.")
        if voters.spare < 0:
            raise Unavailable(
                f"{voters.reachable} of {voters.total} voters can be reached, {voters.quorum} {are(voters.quorum)} needed."
            )
        return f"{voters.reachable} of {voters.total} voters reachable"

    async def services() -> str:
        now = status()
        told = (*now.notes, *(doing.text for doing in now.underway))
        if told:
            raise Unavailable(" ".join(told))
        return "all well"

    return (
        Check("store", True, store),
        Check("blocks", True, block),
        Check("disk", True, disk),
        Check("mesh", True, mesh),
        Check("clock", False, clock),
        Check("quorum", False, quorum),
        Check("services", False, services),
    )
