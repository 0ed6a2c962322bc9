"""A node made of stand-ins, for tests of what is in front of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio

from agent_core.api.parts import NodeParts, Sources
from agent_core.api.sessions import Sessions
from agent_core.caller import Caller
from agent_core.decisions.fold import DecisionsFold
from agent_core.errors import ChorusError, NotLeader
from agent_core.feeds.model import Entry, EntryKey, Head, Missing
from agent_core.hmmm.fold import RoomsFold
from agent_core.roster.model import Authority, Member, Roster
from agent_core.roster.warrants import Verb
from agent_core.shapes import Election, Finding, Leader, Moved, Posted, Staged, Status, Verification, Voters
from agent_core.ucxl.fold import UcxlFold
from agent_core.views import ViewContext

ME = "12D3KooWme"
OTHER = "12D3KooWother"
NOW_MS = 1_790_000_000_000


def a_status(**changes: Any) -> Status:
    """A well node's status."""
    status = Status(
        peer_id=ME,
        agent_id="ann",
        role="operator",
        kind="human",
        authority="decision",
        network="chorus",
        cluster_id="c1",
        leader=Leader(peer_id=OTHER, agent_id="bob", term=3, certain=True),
        term=3,
        state="follower",
        stage="ready",
        voters=Voters(total=3, reachable=3, quorum=2),
        peers=2,
        addresses=("/ip4/127.0.0.1/tcp/9000/p2p/" + ME,),
        entries=7,
        uptime_s=1.5,
        version="0.1.0",
        home="/home",
        mode="owned",
    )
    return msgspec.structs.replace(status, **changes)


def an_election(**changes: Any) -> Election:
    """A quiet election."""
    election = Election(
        leader=a_status().leader,
        term=3,
        state="follower",
        heartbeat_s=5.0,
        timeout_s=15.0,
        voters=a_status().voters,
        ballots=(),
        timeline=(),
        last_act=4,
        committed_act=4,
        why="bob leads.",
    )
    return msgspec.structs.replace(election, **changes)


@dataclass
class FakeFolds:
    rooms: RoomsFold = field(default_factory=RoomsFold)
    decisions: DecisionsFold = field(default_factory=DecisionsFold)
    ucxl: UcxlFold = field(default_factory=UcxlFold)


@dataclass
class FakeChain:
    roster: Roster | None
    committed: tuple[Any, ...] = ()

    @property
    def acts(self) -> tuple[Any, ...]:
        return self.committed

    def opening(self, term: int) -> None:
        return None

    def roster_at(self, version: int) -> Roster | None:
        return self.roster

    def roster_of(self, cluster_id: str, version: int) -> Roster | None:
        return self.roster


@dataclass
class FakeEntries:
    stored: list[Entry] = field(default_factory=list)
    limits: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def entry_count(self) -> int:
        return len(self.stored)

    def heads(self) -> Sequence[Head]:
        sizes: dict[tuple[str, int], int] = {}
        for entry in self.stored:
            sizes[entry.key[:2]] = sizes.get(entry.key[:2], 0) + 1
        return [Head(author=a, epoch=e, size=n, root="") for (a, e), n in sizes.items()]

    def latest_hlc(self, author: str) -> str:
        return max((e.header.hlc for e in self.stored if e.key.author == author), default="000000000000.0000")

    def tail(self, limit: int, before: object = None) -> Sequence[Entry]:
        return self.stored[-limit:] if limit else []

    def entry(self, key: EntryKey) -> Entry | None:
        return next((e for e in self.stored if e.key == key), None)

    def fork_limit(self, author: str, epoch: int) -> int | None:
        return self.limits.get((author, epoch))

    def body(self, key: EntryKey) -> bytes | Missing:
        return Missing.NOT_FETCHED

    def part(self, key: EntryKey, start: int, end: int) -> bytes | Missing:
        return Missing.NOT_FETCHED


@dataclass
class FakeNode:
    """The collaborators of a facade; every changing call is noted in ``calls``."""

    owned: bool = True
    now: Status = field(default_factory=a_status)
    calls: list[tuple[str, Any, Caller | None]] = field(default_factory=list)
    entries: FakeEntries = field(default_factory=FakeEntries)
    folds: FakeFolds = field(default_factory=FakeFolds)
    holding: int = 0
    gate: trio.Event = field(default_factory=trio.Event)
    entered: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(0))
    fail: Exception | None = None

    def __post_init__(self) -> None:
        self.gate.set()
        self.sessions = Sessions(owned=self.owned)
        members = {
            peer: Member(peer_id=peer, agent_id=name, voter=True, authority=Authority.DECISION)
            for peer, name in ((ME, "ann"), (OTHER, "bob"))
        }
        self.chain = FakeChain(Roster(cluster_id="c1", network="chorus", version=1, members=members))

    def parts(self) -> NodeParts:
        return NodeParts(
            sources=Sources(
                status=lambda: self.now,
                election=an_election,
                peers=tuple,
                context=lambda: ViewContext(me=ME, chain=self.chain, bodies=self.entries, now_ms=NOW_MS),
                folds=self.folds,
                entries=self.entries,
                findings=lambda text: (
                    [Finding(rule="r", severity="high", line=1, column=1, length=6, message="found")]
                    if "secret" in text
                    else []
                ),
            ),
            election=self,
            moving=self,
            roster=self,
            rooms=self,
            decisions=self,
            addresses=self,
            feeds=self,
            blocks=self,
            verify=self.verify,
            sessions=self.sessions,
        )

    async def _posted(self, name: str, request: Any, caller: Caller) -> Posted:
        self.calls.append((name, request, caller))
        self.entered.release()
        await self.gate.wait()
        if self.fail is not None:
            raise self.fail
        return Posted(id="abcd2345", key=f"{ME}/0/{len(self.calls)}", delivered=0)

    async def post(self, request: Any, caller: Caller) -> Posted:
        return await self._posted("post", request, caller)

    async def propose(self, request: Any, caller: Caller) -> Posted:
        return await self._posted("propose", request, caller)

    async def vote(self, request: Any, caller: Caller) -> Posted:
        return await self._posted("vote", request, caller)

    async def withdraw(self, id: str, reason: str, op_id: str, caller: Caller) -> Posted:
        return await self._posted("withdraw", (id, reason), caller)

    async def put(self, request: Any, caller: Caller) -> Posted:
        return await self._posted("put", request, caller)

    def stage(self, upload: str, data: str) -> Staged:
        self.calls.append(("stage", (upload, data), None))
        return Staged(upload=upload, size=len(data))

    async def fetch(self, key: EntryKey, timeout_s: float) -> str:
        return ""

    async def delete(self, address: str, note: str, op_id: str, caller: Caller) -> Posted:
        return await self._posted("delete", address, caller)

    async def join(self, wanted: str, force: bool = False) -> Moved:
        self.calls.append(("join", wanted, force))
        return Moved(cluster_id="c2", left="c1", text="moved")

    async def recover(self, force_new: bool) -> Moved:
        self.calls.append(("recover", force_new, None))
        return Moved(cluster_id="c2", left="c1", text="recovered")

    async def share(self, **said: str) -> Moved:
        self.calls.append(("share", said, None))
        return Moved(cluster_id="c1", left="", text="shared")

    async def trigger(self, reason: str) -> None:
        self.calls.append(("trigger", reason, None))

    async def resign(self) -> None:
        raise NotLeader("This node doesn't lead.", "Ask bob.")

    def successor(self) -> str:
        return "bob"

    def invite(self, expires_s: float, role: str, addresses: Sequence[str]) -> tuple[str, int]:
        self.calls.append(("invite", (expires_s, role, tuple(addresses)), None))
        return "chorus-ticket-abc", NOW_MS

    async def ask(self, verb: Verb, target: str, reason: str) -> int:
        self.calls.append((verb.value, (target, reason), None))
        return 7

    def holders(self, key: EntryKey) -> int:
        return self.holding

    async def wait_held(self, key: EntryKey, n: int, timeout_s: float) -> int:
        self.calls.append(("wait_held", (key, n, timeout_s), None))
        return self.holding + n

    async def purge(self, key: EntryKey, *, op: str = "", via: str = "service", login: str = "") -> Entry:
        raise ChorusError("not in this test")

    async def verify(self) -> Verification:
        return Verification(ok=True, feeds=1, entries=len(self.entries.stored), bodies=0)
