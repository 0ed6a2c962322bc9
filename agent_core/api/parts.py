"""What the facade asks of the rest of the node: one protocol a part, so that it can be tested without any of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from agent_core.caller import Caller
from agent_core.clock import Hlc
from agent_core.decisions.fold import DecisionsFold
from agent_core.feeds.model import Entry, EntryKey, Head
from agent_core.feeds.proofs import Proven
from agent_core.hmmm.fold import RoomsFold
from agent_core.hmmm.machine import Periods
from agent_core.roster.warrants import Verb
from agent_core.shapes import (
    Election,
    Finding,
    Moved,
    PeerInfo,
    Posted,
    PostRequest,
    ProposeRequest,
    PutRequest,
    Staged,
    Status,
    Verification,
    VoteRequest,
)
from agent_core.ucxl.fold import UcxlFold
from agent_core.views import ViewContext
from agent_core.wire.families.cooee import CooeeWaiting

if TYPE_CHECKING:
    from agent_core.api.sessions import Sessions  # imports trio, which commands without a node don't need
    from agent_core.feeds.renewal import Renewed


class Folds(Protocol):
    """The folds that views read; implemented by :class:`agent_core.folds.FoldSet`."""

    @property
    def rooms(self) -> RoomsFold: ...

    @property
    def decisions(self) -> DecisionsFold: ...

    @property
    def ucxl(self) -> UcxlFold: ...


class Entries(Proven, Protocol):
    """What views read of the store; implemented by :class:`agent_core.feeds.store.Store`."""

    @property
    def entry_count(self) -> int:
        """Entries held, all feeds."""
        ...

    def heads(self) -> Sequence[Head]:
        """Every epoch of every feed held."""
        ...

    def latest_hlc(self, author: str) -> Hlc:
        """The greatest stamp among an author's entries."""
        ...

    def tail(self, limit: int, before: Entry | None = None) -> Sequence[Entry]:
        """The newest entries of all feeds, oldest first; of those before an entry where one is given."""
        ...

    def fork_limit(self, author: str, epoch: int) -> int | None:
        """Where a proven fork of an epoch diverges, if there is one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What reading operations need: given live by the node, and from the store on disk by :mod:`agent_core.api.offline`.

    Args:
        status: how the node stands now.
        election: one consistent read of who leads and why.
        peers: the live connections.
        context: the surroundings of a view, taken now.
        folds: the folds in force.
        entries: the store.
        findings: what SHHH finds in a text.
        waiting: who waits for approval.
        periods: how long plans wait for objections.
        check_clock: raises ``ClockAhead`` while what is written now would be held.
    """

    status: Callable[[], Status]
    election: Callable[[], Election]
    peers: Callable[[], Sequence[PeerInfo]]
    context: Callable[[], ViewContext]
    folds: Folds
    entries: Entries
    findings: Callable[[str], Sequence[Finding]]
    waiting: Callable[[], Sequence[CooeeWaiting]] = tuple
    periods: Periods = field(default_factory=Periods)
    check_clock: Callable[[], None] = lambda: None


class ElectionControl(Protocol):
    """What a person may do to an election."""

    async def trigger(self, reason: str) -> None:
        """Call an election now, with trigger ``manual``. Raises ``Refused`` while a new leader is stable."""
        ...

    async def resign(self) -> None:
        """Hand over and stand down. Raises ``NotLeader``."""
        ...

    def successor(self) -> str:
        """The agent id that would take over from this node; empty when it doesn't lead or is alone."""
        ...


class MovingControl(Protocol):
    """Where this home belongs, by its person's word."""

    async def join(self, wanted: str, force: bool = False) -> Moved: ...

    async def recover(self, force_new: bool) -> Moved: ...

    async def share(self, *, op: str = "", via: str = "service", login: str = "") -> Moved: ...


class RosterControl(Protocol):
    """What a person may do to the roster; implemented by :class:`agent_core.roster.asking.Asking`."""

    def invite(self, expires_s: float, role: str, addresses: Sequence[str]) -> tuple[str, int]:
        """A ticket as one word, and when it expires (Unix milliseconds). Raises ``Refused``, ``InvalidInput``."""
        ...

    async def ask(self, verb: Verb, target: str, reason: str) -> int:
        """Have the leader change the roster; the act's number, or 0. Raises ``Refused``, ``NoQuorum``."""
        ...


class RoomsControl(Protocol):
    """Changing operations of HMMM."""

    async def post(self, request: PostRequest, caller: Caller) -> Posted: ...


class DecisionsControl(Protocol):
    """Changing operations of decisions."""

    async def propose(self, request: ProposeRequest, caller: Caller) -> Posted: ...

    async def vote(self, request: VoteRequest, caller: Caller) -> Posted: ...

    async def withdraw(self, id: str, reason: str, op_id: str, caller: Caller) -> Posted: ...


class AddressesControl(Protocol):
    """Changing operations of UCXL."""

    async def put(self, request: PutRequest, caller: Caller) -> Posted: ...

    def stage(self, upload: str, data: str) -> Staged: ...

    async def delete(self, address: str, note: str, op_id: str, caller: Caller, if_match: str = "") -> Posted: ...


class Feeds(Protocol):
    """What is asked of the feeds beside reading entries."""

    def holders(self, key: EntryKey) -> int:
        """How many other members confirmed that they hold an entry."""
        ...

    async def wait_held(self, key: EntryKey, n: int, timeout_s: float) -> int:
        """Wait until so many others hold an entry, at most so long in seconds; how many do then. Doesn't raise."""
        ...

    async def purge(self, key: EntryKey, *, op: str = "", via: str = "service", login: str = "") -> Entry:
        """Append the purge of an entry's body. Raises ``Refused`` to those who may not."""
        ...


class Renew(Protocol):
    """:meth:`agent_core.feeds.service.Feeds.renew`."""

    def __call__(
        self, *, confirmed: bool, op: str = "", via: str = "service", login: str = ""
    ) -> Awaitable[Renewed]: ...


class BlocksControl(Protocol):
    """What is asked of large bodies."""

    async def wait_held(self, key: EntryKey, n: int, timeout_s: float) -> int:
        """Wait until so many others hold an entry with its whole body; how many do then. Doesn't raise."""
        ...

    async def fetch(self, key: EntryKey, timeout_s: float) -> str:
        """Get a body that isn't here; why it still isn't after that time, or nothing. Doesn't raise."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """All the collaborators of the facade.

    Args:
        sources: what reading operations need.
        renew: goes on in a new epoch whose clock starts at the wall.
        verify: checks the whole store anew; off the node's thread.
        sessions: who is attached.
    """

    sources: Sources
    election: ElectionControl
    moving: MovingControl
    roster: RosterControl
    rooms: RoomsControl
    decisions: DecisionsControl
    addresses: AddressesControl
    feeds: Feeds
    blocks: BlocksControl
    verify: Callable[[], Awaitable[Verification]]
    sessions: Sessions
    renew: Renew | None = None
