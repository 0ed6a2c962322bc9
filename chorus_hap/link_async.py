"""The console's control connection on asyncio: calls, slice events, and attaching again for as long as the console lives."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent_core.errors import ChorusError, NoNode, TimedOut, Unavailable
from agent_core.home import Home
from agent_core.shapes import SliceEvent
from agent_core.system import expand
from chorus_hap.jsonrpc import (
    MAX_LINE_BYTES,
    Reply,
    Welcome,
    decode_line,
    encode_call,
    event_of,
    failure_of,
    hello_params,
)
from chorus_hap.link import CALL_TIMEOUT_S
from chorus_hap.patience import Patience
from chorus_hap.starting import START_TIMEOUT_S, Starting, find

T = TypeVar("T")

#: Waits before a lost node is started again, in seconds (SPEC section 16).
BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: So many losses within :data:`CRASH_WINDOW_S` and the console stops trying by itself.
CRASHES = 3
CRASH_WINDOW_S = 60.0
_POLL_S = 0.05

OnEvent = Callable[[SliceEvent], None]
#: Called with the state (``starting``, ``attached``, ``away``, ``failed``, ``stopped``), a reason and what to do.
OnState = Callable[[str, str, str], None]
#: Called with a slice's name and its snapshot (``{rev, value}`` or ``{rev, items, dropped}``), plain data.
OnSnapshot = Callable[[str, dict[str, Any]], None]
_NOBODY = (None, None)


class AsyncLink:
    """One control connection. Made by :func:`connect`; :meth:`closed` returns when it is over.

    Args:
        reader: the connection's reading half.
        writer: its writing half.
        on_event: called in the event loop with every slice event.
        starting: the node this face started, if it did.
    """

    welcome: Welcome

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_event: OnEvent,
        starting: Starting | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_event = on_event
        self._starting = starting
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[asyncio.Future[msgspec.Raw], Callable[[msgspec.Raw], None] | None]] = {}
        self._failure: ChorusError | None = None
        self._reading = asyncio.create_task(self._read(), name="control connection")

    @property
    def started(self) -> bool:
        """Whether the node was started for this link."""
        return self._starting is not None

    async def call(self, method: str, /, *, timeout_s: float = CALL_TIMEOUT_S, **params: Any) -> Any:
        """Call an operation; its answer as plain data. Errors as :meth:`chorus_hap.link.Link.call`."""
        return msgspec.json.decode(await self._call(method, params, timeout_s))

    async def ask(self, kind: type[T], method: str, /, *, timeout_s: float = CALL_TIMEOUT_S, **params: Any) -> T:
        """:meth:`call`, with the answer as the given type."""
        raw = await self._call(method, params, timeout_s)
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.ValidationError as exc:
            raise Unavailable(
                f"The node's answer to {method} can't be read: {exc}.", "Use a console and node of the same version."
            ) from exc

    async def subscribe(self, slices: Sequence[str], on_snapshot: OnSnapshot) -> None:
        """Watch slices from now on. Each one's snapshot is handed over before any later event of it."""

        def hand_over(raw: msgspec.Raw) -> None:
            for name, answer in msgspec.json.decode(raw, type=dict[str, dict[str, Any]]).items():
                on_snapshot(name, answer)

        await self._call("subscribe", {"slices": list(slices)}, CALL_TIMEOUT_S, hand_over)

    async def unsubscribe(self, slices: Sequence[str]) -> None:
        """Stop watching slices."""
        await self.call("unsubscribe", slices=list(slices))

    async def closed(self) -> None:
        """Return when the connection is over, from whichever side."""
        await asyncio.wait([self._reading])

    async def told(self) -> ChorusError | None:
        """Why a node that was started for this link ended, if it could not start and says so."""
        return None if self._starting is None else await asyncio.to_thread(self._starting.told)

    async def aclose(self) -> None:
        """Hang up; never raises."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
        if self._starting is not None:
            self._starting.let_go()

    async def _call(
        self,
        method: str,
        params: dict[str, Any],
        timeout_s: float,
        at_once: Callable[[msgspec.Raw], None] | None = None,
    ) -> msgspec.Raw:
        if self._failure is not None:
            raise self._failure
        number = next(self._numbers)
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        # A waiter resumes only after lines already read were taken; what must come before them is done at once.
        self._waiting[number] = answer, at_once
        try:
            async with asyncio.timeout(timeout_s):
                self._writer.write(encode_call(number, method, params))
                await self._writer.drain()
                return await answer
        except TimeoutError as exc:
            raise TimedOut(f"The node didn't answer {method} within {timeout_s:g} s.", "Try again.") from exc
        except OSError as exc:
            await self.closed()
            raise self._failure or _away() from exc
        finally:
            del self._waiting[number]

    async def _read(self) -> None:
        failure: ChorusError = _away()
        try:
            while line := await self._reader.readline():
                self._take(decode_line(line))
            failure = await self.told() or failure
        except ChorusError as exc:
            failure = exc
        except ValueError:
            failure = Unavailable("The node's answer is too long.", "Ask for less at a time.")
        except OSError:
            failure = await self.told() or failure
        finally:
            self._failure = failure
            for answer, _ in self._waiting.values():
                if not answer.done():
                    answer.set_exception(failure)
            self._writer.close()

    def _take(self, reply: Reply) -> None:
        if reply.method:
            event = event_of(reply)
            if event is not None:
                self._on_event(event)
            return
        answer, at_once = self._waiting.get(reply.id, _NOBODY) if isinstance(reply.id, int) else _NOBODY
        if answer is None or answer.done():
            return
        if reply.error:
            answer.set_exception(failure_of(reply.error))
            return
        if at_once is not None:
            at_once(reply.result)
        answer.set_result(reply.result)


async def connect(
    home: Path | str,
    *,
    start: bool = True,
    flags: Sequence[str] = (),
    kind: str = "console",
    read_only: bool = False,
    on_event: OnEvent = lambda event: None,
    timeout_s: float = START_TIMEOUT_S,
    starting: Starting | None = None,
) -> AsyncLink:
    """Attach to the node of a home, starting an owned one if asked to.

    Args:
        starting: a node that was spawned beforehand (the console does so before it imports Textual).
        on_event: called with every slice event.

    The others, and the errors, are as :func:`chorus_hap.link.connect`.
    """
    place = _place(home)
    connection = await asyncio.to_thread(find, place, Patience(timeout_s))
    if connection is None:
        if starting is None and not start:
            raise NoNode(f"No node runs on {place.root}.", "Start one with `chorus-hap --daemon`.")
        if starting is None:
            starting = await asyncio.to_thread(Starting, place, flags)
        connection = await _answering(starting, timeout_s)
    return await _attach(connection, on_event, kind, read_only, starting)


def _place(home: Path | str) -> Home:
    return Home(expand(home))


async def _answering(starting: Starting, timeout_s: float) -> socket.socket:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = starting.check()
        if found is not None:
            return found
        await asyncio.sleep(_POLL_S)
    raise TimedOut(
        f"The node of {starting.home.root} didn't answer within {timeout_s:g} s.",
        f"It may still be starting; {starting.home.output} holds what it said.",
    )


async def _attach(
    connection: socket.socket, on_event: OnEvent, kind: str, read_only: bool, starting: Starting | None
) -> AsyncLink:
    connection.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_LINE_BYTES)
    link = AsyncLink(reader, writer, on_event, starting)
    try:
        link.welcome = await link.ask(Welcome, "hello", **hello_params("chorus-hap", kind, read_only))
    except BaseException:
        await link.aclose()
        raise
    return link


class Attachment:
    """Keeps the console attached: starts or finds the node, subscribes, and does so again when it is lost.

    Args:
        home: the home directory.
        slices: what to watch from the start.
        on_event: called with every slice event.
        on_snapshot: called with a slice's name and its snapshot, after every attach.
        on_state: called at every change of state; see :data:`OnState`.
        flags: further words for the command line of a node that is started.
        read_only: as :func:`connect`.
        starting: a node that was spawned beforehand.
    """

    def __init__(
        self,
        home: Path | str,
        slices: Sequence[str],
        *,
        on_event: OnEvent,
        on_snapshot: OnSnapshot,
        on_state: OnState,
        flags: Sequence[str] = (),
        read_only: bool = False,
        starting: Starting | None = None,
    ) -> None:
        self._home = expand(home)
        self._slices = list(dict.fromkeys(slices))
        self._on_event = on_event
        self._on_snapshot = on_snapshot
        self._on_state = on_state
        self._flags = flags
        self._read_only = read_only
        self._starting = starting
        self._retry = asyncio.Event()
        self._losses: deque[float] = deque(maxlen=CRASHES)
        self.link: AsyncLink | None = None

    async def run(self) -> None:
        """Stay attached until cancelled; then hang up."""
        attempt = 0
        while True:
            self._on_state("starting", "", "")
            try:
                link = await self._attach()
            except ChorusError as exc:
                # What a node says when it can't start doesn't heal by trying again: a person must act first.
                self._on_state("failed", exc.message, exc.next)
                await self._asked()
                attempt = 0
                continue
            began = time.monotonic()
            try:
                self._on_state("attached", "", "")
                await link.closed()
                told = await link.told()
            finally:
                self.link = None
                await link.aclose()
            if told is not None:
                self._on_state("failed", told.message, told.next)
                await self._asked()
                attempt = 0
                continue
            attempt = 1 if time.monotonic() - began > CRASH_WINDOW_S else attempt + 1
            self._losses.append(time.monotonic())
            if len(self._losses) == CRASHES and self._losses[-1] - self._losses[0] < CRASH_WINDOW_S:
                self._on_state(
                    "stopped",
                    f"The node ended {CRASHES} times in a minute, so it isn't started again by itself.",
                    "These are the last lines it wrote; r tries again once their cause is mended.",
                )
                self._losses.clear()
                await self._asked()
                attempt = 0
                continue
            wait_s = BACKOFF_S[min(attempt, len(BACKOFF_S)) - 1]
            self._on_state("away", f"It is started again in {wait_s:g} s.", "")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked(), wait_s)

    def retry(self) -> None:
        """Try at once: the person pressed the key."""
        self._retry.set()

    async def watch(self, *slices: str) -> None:
        """Subscribe to further slices, or again to ones whose revision has a gap; kept across losses."""
        self._slices = list(dict.fromkeys([*self._slices, *slices]))
        if self.link is not None:
            await self.link.subscribe(slices, self._on_snapshot)

    async def unwatch(self, *slices: str) -> None:
        """Stop watching slices."""
        self._slices = [name for name in self._slices if name not in slices]
        if self.link is not None:
            await self.link.unsubscribe(slices)

    async def call(self, method: str, /, *, timeout_s: float = CALL_TIMEOUT_S, **params: Any) -> Any:
        """Call an operation on the node attached to.

        Raises:
            NoNode: none is attached now.
            ChorusError: as :meth:`AsyncLink.call`.
        """
        if self.link is None:
            raise NoNode("No node answers at the moment.", "Wait until it is back, or press r to try again.")
        return await self.link.call(method, timeout_s=timeout_s, **params)

    async def _attach(self) -> AsyncLink:
        starting, self._starting = self._starting, None
        link = await connect(
            self._home, flags=self._flags, read_only=self._read_only, on_event=self._on_event, starting=starting
        )
        try:
            await link.subscribe(self._slices, self._on_snapshot)
        except BaseException:
            await link.aclose()
            raise
        self.link = link
        return link

    async def _asked(self) -> None:
        await self._retry.wait()
        self._retry.clear()


def _away() -> NoNode:
    return NoNode("The node is gone.", "It is started again by itself.")
