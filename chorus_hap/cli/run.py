"""One run of one command: its home, and the node it asks or the store it reads (SPEC section 16).

Reading commands start nothing: without a node they fold the store on disk. Changing ones start an owned node for as long as
they need it, on a home that belongs to a cluster already.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import msgspec

from agent_core.errors import (
    ConfigError,
    InvalidInput,
    NoNode,
    PortInUse,
    Refused,
    StoreError,
    TimedOut,
    TooLarge,
    Unavailable,
)
from agent_core.shapes import Posted, SliceEvent, Status
from chorus_hap.cli.options import Options
from chorus_hap.cli.output import Output, when
from chorus_hap.patience import Patience
from chorus_hap.program import Here

if TYPE_CHECKING:
    import typer

    from chorus_hap.cli.offline import OfflineReader
    from chorus_hap.link import Link

T = TypeVar("T")

_POLL_S = 0.05
#: A wait for delivery that is longer than this is rounded up to whole seconds, and how much later the node may say how it went, seconds.
_WHOLE_S, _GRACE_S = 2.0, 0.5
_SENT_LATER = "It is sent when a node next runs here."
#: How the next step begins when the node only wants to be told that the person means it.
CONFIRM = "If the clock is right, say so with --yes"
_SHORTEN = "Shorten it, or put the long part at UCXL addresses and cite them."


class Reader(Protocol):
    """What answers reading operations: a link, or the store on disk."""

    def ask(self, kind: type[T], method: str, /, **params: Any) -> T:
        """The answer to an operation, as the given type."""
        ...


class Run:
    """What a command is given.

    Args:
        options: the flags that work everywhere.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.out = Output(json=options.json)
        with suppress(ConfigError):  # without a home, what needs one says so
            self.out.here = Here(self.home)
        #: How long everything that this command does may take together, until it watches.
        self.patience = Patience(options.timeout)
        self._link: Link | None = None
        self._reader: Reader | None = None
        self._store: OfflineReader | None = None

    @property
    def home(self) -> Path:
        """The home directory: the flag, ``$CHORUS_HOME``, or the platform's.

        Raises:
            ConfigError: what is named can't be a home.
        """
        from agent_core.home import home_of

        return home_of(self.options.home or None)

    @property
    def attached(self) -> bool:
        """Whether a node answers, and not the store on disk."""
        return self._link is not None

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, kind: type[T], method: str, /, **params: Any) -> T:
        """The answer to a reading operation: the running node's, or the store's."""
        if self._reader is None:
            self._reader = self._live() or self._offline()
        return self._patiently(self._reader, kind, method, params)

    def watch(self, *slices: str) -> Iterator[SliceEvent]:
        """Snapshots and changes of slices, until interrupted.

        Raises:
            NoNode: no node runs: there is nothing to watch.
        """
        link = self._live()
        if link is None:
            raise NoNode(
                f"No node runs on {self.home}, so nothing happens that could be watched.",
                "Start one with `chorus-hap --daemon`, or open the console.",
            )
        self._patiently(link, Status, "status", {})
        return link.subscribe(*slices)

    @property
    def link(self) -> Link:
        """The open link, while watching."""
        assert self._link is not None
        return self._link

    def _live(self) -> Link | None:
        from agent_core.home import Home
        from chorus_hap.link import Link, find
        from chorus_hap.starting import why_silent

        if self._link is None:
            home = Home(self.home)
            try:
                connection = find(home, self.patience)
                if connection is not None:
                    self._link = Link(connection, read_only=self.options.read_only, patience=self.patience)
            except TimedOut as exc:
                why, advice = why_silent(home)
                raise TimedOut(why or exc.message, advice or exc.next) from exc
        return self._link

    def _offline(self) -> Reader:
        from chorus_hap.cli.offline import OfflineReader

        reader = OfflineReader(self.home)
        self._store = reader
        self.out.say("offline" + (f", as of {when(reader.as_of)}" if reader.as_of else ""))
        return reader

    def _patiently(self, reader: Reader, kind: type[T], method: str, params: dict[str, Any]) -> T:
        """Ask, and again while the node is still starting."""
        while True:
            try:
                return reader.ask(kind, method, **params)
            except Unavailable:
                if self.patience.left_s() <= _POLL_S or reader is not self._link or _up(reader.ask(Status, "status")):
                    raise
                time.sleep(_POLL_S)

    # --- changing -----------------------------------------------------------------------------------------------------

    def change(self, kind: type[T], method: str, /, **params: Any) -> T:
        """Do a changing operation on this home's node, which is started if need be.

        Raises:
            NoNode: there is none and none may be started, or the home belongs to no cluster.
            Refused: this command was told to be read-only.
        """
        if self.options.read_only:
            raise Refused("This command would change something, and --read-only forbids it.", "Leave out --read-only.")
        link = self._live() or self._started()
        self._await_member(link)
        return self._patiently(link, kind, method, params)

    def deliver(self, method: str, request: msgspec.Struct) -> Posted:
        """Do an operation that makes an entry, and see it delivered where that was asked for.

        The operation gets an id of its own, so that trying it again does nothing twice. It is *delivered* when one other
        member confirmed it; a node that was started only for this command waits for that.

        Raises:
            TimedOut: it is kept in this home, and nobody confirmed it in time.
        """
        options = self.options
        params: dict[str, Any] = msgspec.to_builtins(request)
        params["op_id"] = options.op_id or new_op_id()
        several = "members" in params
        if options.wait > 1 and not several:
            raise InvalidInput("Only a put waits for several members.", "Write --wait alone.")
        posted = self.change(Posted, method, **params)
        link = self.link
        wanted = max(1, options.wait)
        # Only an answer that was waited for knows who has all of a large content.
        enough = posted.delivered >= wanted and not (several and options.wait)
        if enough or not (options.wait or link.started):
            return posted
        if link.ask(Status, "status").lone:
            self.out.say("You are a cluster of one: nobody else is there to confirm it.")
            return posted
        # The entry is durable from here on; asking again with the same id only waits.
        left_s = self.patience.left_s()
        params["wait_s"] = float(math.ceil(left_s)) if left_s > _WHOLE_S else left_s
        if several:
            params |= {"members": wanted, "data": "", "upload": ""}
        try:
            posted = link.ask(Posted, method, timeout_s=params["wait_s"] + _GRACE_S, **params)
        except TimedOut as exc:
            raise TimedOut(f"{exc.message} It is kept in this home as {posted.id}.", _SENT_LATER) from exc
        if posted.delivered >= wanted:
            return posted
        who = "No other member" if not posted.delivered else f"Only {posted.delivered} of {wanted} members"
        raise TimedOut(
            f"{who} confirmed it within {options.timeout:g} s; it is kept in this home as {posted.id}.",
            _SENT_LATER,
        )

    def _await_member(self, link: Link) -> None:
        """Wait for a node that was started just now to find its cluster."""
        while not link.ask(Status, "status").cluster_id:
            if self.patience.left_s() <= _POLL_S:
                raise NoNode(
                    f"The node of {self.home} belongs to no cluster yet, and a command never founds one.",
                    "Start it with --bootstrap and a peer's address, or with --found to found a cluster.",
                )
            time.sleep(_POLL_S)

    def _started(self) -> Link:
        from chorus_hap.cli.offline import belongs
        from chorus_hap.link import connect

        home = self.home
        if not belongs(home):
            raise NoNode(
                f"The home {home} belongs to no cluster yet, and a command never founds one.",
                "Open the console with `chorus-hap`, or run `chorus-hap --daemon`.",
            )
        if self.options.no_start:
            raise NoNode(f"No node runs on {home}, and --no-start forbids starting one.", "Start one, or leave it out.")
        from agent_core.settings import load

        load(home, self.options.settings())  # a wrong setting is said at once, and as what it is
        self.out.say("starting a node …")
        try:
            self._link = connect(home, start=True, flags=self.options.node_flags(), patience=self.patience)
            self._await_member(self._link)
        except (StoreError, PortInUse) as exc:
            raise NoNode(exc.message, exc.next) from exc  # none can be started: that is exit status 3
        return self._link

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Hang up; a node started for this command ends by itself a little later."""
        if self._link is not None:
            self._link.close()
        if self._store is not None:
            self._store.close()


def ask_first(run: Run, try_it: Callable[[], object]) -> None:
    """Ask a person before something; where nobody can answer, it has to be confirmed by an option.

    Args:
        run: the command's.
        try_it: asks the node for it unconfirmed: it refuses, and says what would be done.

    Raises:
        Refused: it wasn't confirmed, or there is nothing to do.
    """
    try:
        try_it()
    except Refused as exc:
        if run.out.json or not sys.stdin.isatty() or not exc.next.startswith(CONFIRM):
            raise
        sys.stderr.write(f"{exc.message} Go on? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refused("Nothing was changed.") from None


def here(context: typer.Context) -> Run:
    """The run that a command belongs to."""
    return cast(Run, context.obj)


def text_from(words: Sequence[str], limit_bytes: int, what: str) -> str:
    """A text argument; ``-`` alone means standard input.

    Raises:
        InvalidInput: it is empty, or standard input isn't text.
        TooLarge: it is over the limit; no more than that is read.
    """
    if list(words) == ["-"]:
        data = sys.stdin.buffer.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise TooLarge(
                f"The {what} has more than {limit_bytes:,} bytes, and nothing was sent.",
                _SHORTEN,
            )
        try:
            text = data.decode().rstrip("\n")
        except UnicodeDecodeError as exc:
            raise InvalidInput(f"The {what} on standard input is not UTF-8 text.", "Send text, as UTF-8.") from exc
    else:
        text = " ".join(words)
        size = len(text.encode(errors="replace"))
        if size > limit_bytes:
            raise TooLarge(f"The {what} has {size:,} bytes, more than {limit_bytes:,}, and nothing was sent.", _SHORTEN)
    if not text.strip():
        raise InvalidInput(f"The {what} is empty.", "Write it as the last argument, or pipe it in and write `-`.")
    return text


def _up(status: Status) -> bool:
    return status.stage in ("member", "ready", "degraded")


def new_op_id() -> str:
    """An operation id for something that is to be done once."""
    from agent_core.clock import wall_ms
    from agent_core.ids import uuid7

    return uuid7(wall_ms())
