"""Runs the election machine on trio: streams to every member, the disk, timers, and proposals waiting for a majority."""

from __future__ import annotations

import logging
import random
import secrets
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import trio

from agent_core.clock import boottime_s
from agent_core.election import views
from agent_core.election.acts import ACT, ACT_COMMIT, Act, ActData, ActKind
from agent_core.election.chain import ActChain
from agent_core.election.core import Output, Send
from agent_core.election.links import Links
from agent_core.election.machine import ElectionMachine
from agent_core.election.messages import MAX_FRAME_BYTES, PROTOCOL, decode, encode
from agent_core.election.model import (
    AppendAct,
    AppendCommit,
    Committed,
    Dropped,
    DurableState,
    Persist,
    Probe,
    Proposed,
    StateChanged,
    Timings,
)
from agent_core.election.scores import Sightings, reckon
from agent_core.election.views import Snapshot
from agent_core.errors import ChorusError, NoQuorum, NotLeader, Refused, StoreError
from agent_core.feeds.model import Appender, Draft, Durable
from agent_core.identity.signing import Signer, Verifier
from agent_core.network import Network, Offence, Stream, StreamClosed
from agent_core.roster.fold import GenesisPayload
from agent_core.roster.model import Lost, Member, Policy
from agent_core.shapes import Election
from agent_core.views import ViewContext

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("chorus.election")

#: Between tries to write to a disk that refuses (s).
DISK_RETRY_S = 0.5


@dataclass(frozen=True)
class ElectionStatistics:
    """Counters since the start."""

    term: int
    state: str
    leading: bool
    sent: int
    received: int
    refused: int
    elections: int
    committed: int
    patience_s: float  #: waited beyond the timeout before a leader's silence counts, since this node itself runs late


class _Proposal:
    """One caller waiting for its act."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.place: tuple[int, str] | None = None
        self.act: Act | None = None
        self.error: Refused | None = None


class ElectionService:
    """The election of one node. Implements :class:`~agent_core.election.acts.Proposer`.

    Args:
        network: streams and connections.
        appender: where acts are written.
        durable: where votes are kept.
        chain: the chain of acts; whoever applies feed entries to it calls :meth:`chain_changed` afterwards.
        signer: signs as this node.
        verifier: checks the others.
        timings: see :class:`Timings`.
        doubt: the mark of this home's loss of memory, as far as it matters in a chain's cluster (SPEC section 2, Epochs);
            call :meth:`doubt_changed` when there is a new one.
        rng: random delays.
        clock: seconds that go on while the machine sleeps.
        on_trusted: awaited once a restored home was promoted again and may vote.
    """

    def __init__(
        self,
        *,
        network: Network,
        appender: Appender,
        durable: Durable,
        chain: ActChain,
        signer: Signer,
        verifier: Verifier,
        timings: Timings,
        doubt: Callable[[ActChain], str] = lambda chain: "",
        rng: random.Random | None = None,
        clock: Callable[[], float] = boottime_s,
        on_trusted: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._network = network
        self._appender = appender
        self._durable = durable
        self._chain = chain
        self._signer = signer
        self._verifier = verifier
        self._timings = timings
        self._doubt = doubt
        self._rng = rng or random.Random()
        self._clock = clock
        self._on_trusted = on_trusted
        self._nursery: trio.Nursery | None = None
        self._links = Links(network)
        self._observed = Sightings()
        self._disk_in, self._disk_out = trio.open_memory_channel[Callable[[], Awaitable[None]]](float("inf"))
        self._wake = trio.Event()
        self._changed = trio.Event()
        self._proposals: dict[int, _Proposal] = {}
        self._watchers: list[Callable[[], None]] = []
        self._sent = self._received = self._refused = self._elections = 0
        self._machine = self._new_machine()

    def _new_machine(self) -> ElectionMachine:
        self._cluster = self._chain.cluster_id
        doubt = self._doubt(self._chain)
        self._doubted = bool(doubt)
        return ElectionMachine(
            chain=self._chain,
            signer=self._signer,
            verifier=self._verifier,
            rng=self._rng,
            timings=self._timings,
            durable=self._read_state(),
            now=self._clock(),
            doubt=doubt,
        )

    def doubt_changed(self) -> None:
        """This home was found to have forgotten something: its vote ends this instant."""
        if doubt := self._doubt(self._chain):
            self._doubted = True
            self._machine.distrust(doubt, self._clock())
            self._carry_out()

    def _read_state(self) -> DurableState:
        raw = self._durable.read(f"election.{self._cluster}") if self._cluster else None
        return msgspec.msgpack.decode(raw, type=DurableState) if raw else DurableState()

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def leading(self) -> bool:
        """Whether this node holds a current claim to lead, checked now."""
        return self._machine.leading(self._clock())

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call back, synchronously, when state, term or leader change."""
        self._watchers.append(watcher)

    def snapshot(self) -> Snapshot:
        """Everything at one instant."""
        return views.snapshot(self._machine, self._clock())

    def view(self, ctx: ViewContext) -> Election:
        """One consistent read of who leads and why."""
        return views.election(self.snapshot(), ctx)

    @property
    def leader(self) -> str:
        """Peer id of the leader whose lease is alive as far as is known here; else empty."""
        if self._machine.reign is not None:
            return self._machine.me if self.leading else ""
        return self._machine.leader if self._machine.certain(self._clock()) else ""

    @property
    def voters(self) -> tuple[str, ...]:
        """Peer ids of the voters in force, sorted."""
        return self._machine.voters

    def successor(self) -> str:
        """Agent id of whom this node would hand over to; empty if it doesn't lead or is alone."""
        roster, peer = self._chain.roster, self._machine.successor(self._clock())
        return roster.name(peer) if roster and peer else ""

    def statistics(self) -> ElectionStatistics:
        """Counters since the start."""
        now = self._clock()
        return ElectionStatistics(
            term=self._machine.term,
            state=self._machine.state(now).value,
            leading=self._machine.leading(now),
            sent=self._sent,
            received=self._received,
            refused=self._refused,
            elections=self._elections,
            committed=self._chain.tip_number + 1,
            patience_s=self._machine.patience.extra_s(now),
        )

    # --- operations ---------------------------------------------------------------------------------------------------

    async def found(self, network_name: str, member: Member, policy: Policy, lost: Lost | None = None) -> str:
        """Write the genesis of a cluster with this member as its only voter; :meth:`bind` makes this node belong to it.

        Args:
            network_name: separates meshes.
            member: the founder's record.
            policy: how newcomers are admitted.
            lost: the cluster whose place it takes, if it does.

        Returns:
            The cluster id.
        """
        payload = GenesisPayload(random=secrets.token_hex(32), network=network_name, policy=policy, founder=member)
        if lost is not None:
            payload = msgspec.structs.replace(payload, replaces=lost.cluster, last=lost.last, last_hash=lost.last_hash)
        raw = msgspec.Raw(msgspec.json.encode(payload))
        data = ActData(cluster="", term=0, number=0, kind=ActKind.GENESIS, payload=raw)
        (entry,) = await self._appender.append([Draft(ACT, data)])
        return entry.hash.hex()

    async def bind(self, chain: ActChain) -> None:
        """Belong to the chain's cluster from now on; what the old one's machine had under way is written first."""
        if self._nursery is not None:
            written = trio.Event()

            async def mark() -> None:
                written.set()

            self._disk_in.send_nowait(mark)
            await written.wait()
        self._fail_all()
        self._chain = chain
        self._machine = self._new_machine()
        for peer in self._links.peers:
            self._machine.peer_connected(peer, self._clock())
        self._carry_out()

    def chain_changed(self) -> None:
        """Entries were applied to the chain."""
        self._machine.poke(self._clock())
        self._carry_out()

    def mesh_rebuilding(self) -> None:
        """The mesh is about to be rebuilt: a leader drops its claim this instant."""
        self._machine.mesh_rebuilding(self._clock())
        self._carry_out()

    async def propose(self, kind: str, payload: msgspec.Struct) -> Act:
        """Append an act and wait until a majority acknowledged it.

        Raises:
            NotLeader: this node doesn't lead, or lost the term meanwhile (the act may still commit, or be void).
            NoQuorum: no majority acknowledged within the timeout.
            Refused: the act may not be, as it would stand after those before it.
            SecretFound, TooLarge: the act may not be written.
        """
        token = self._machine.propose(kind, msgspec.Raw(msgspec.json.encode(payload)), self._clock())
        if token is None:
            raise NotLeader("Only the admin can do this, and this node isn't it.", "Ask again when a leader is known.")
        proposal = self._proposals[token] = _Proposal()
        self._carry_out()
        try:
            with trio.move_on_after(self._timings.timeout_s):
                await proposal.done.wait()
        finally:
            self._proposals.pop(token, None)
        if proposal.act is not None:
            return proposal.act
        if proposal.error is not None:
            raise proposal.error
        if proposal.done.is_set():
            raise NotLeader(
                "This node lost the term before a majority acknowledged the act; it may still be committed, or be void.",
                "Look again in a moment.",
            )
        raise NoQuorum("No majority of the voters acknowledged in time.", "Try again when more voters are reachable.")

    async def trigger(self, reason: str = "") -> None:
        """A person asks for an election.

        Raises:
            Refused: a new leader is in its first minute, or there is nothing to elect.
        """
        refusal = self._machine.trigger_election(self._clock())
        self._carry_out()
        if refusal:
            raise Refused(refusal, "Try again later.")
        log.info("election asked for: %s", reason or "no reason given")

    async def resign(self) -> None:
        """Hand over, and wait until another leads or the hand-over's time is up.

        Raises:
            NotLeader: there is nothing to resign from.
            Refused: nobody else votes.
        """
        machine = self._machine
        if machine.reign is None:
            raise NotLeader("This node doesn't lead, so it has nothing to resign from.")
        if machine.sole_voter:
            raise Refused("This node is the only voter; nobody could take over.", "Bring a second node first.")
        machine.resign(self._clock())
        self._carry_out()
        with trio.move_on_after(self._timings.handover_s + 2 * self._timings.round_s):
            while not machine.certain(self._clock()) and self._machine is machine:
                await self._changed.wait()

    # --- running ------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part in elections until cancelled."""
        self._network.handle(PROTOCOL, self._serve)
        self._network.watch_peers(self._peer_changed)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for peer in self._network.peers():
                    self._peer_changed(peer.peer_id, True, False)
                nursery.start_soon(self._disk)
                nursery.start_soon(self._timer)
                nursery.start_soon(self._watch_lateness)
                nursery.start_soon(self._observe)
                self.chain_changed()
                task_status.started()
        finally:  # after a crash the next run opens its streams anew
            self._nursery = None
            for peer_id in tuple(self._links.peers):
                self._links.drop(peer_id)

    def _peer_changed(self, peer_id: str, connected: bool, closed_by_remote: bool) -> None:
        if self._nursery is None:
            return
        if connected and peer_id not in self._links.peers:
            self._nursery.start_soon(self._links.keep, self._links.add(peer_id))
            self._observed.up(peer_id, self._clock(), self._machine.members)
            self._machine.peer_connected(peer_id, self._clock())
        elif not connected and peer_id in self._links.peers:
            self._links.drop(peer_id)
            self._observed.down(peer_id, self._clock())
            self._machine.peer_disconnected(peer_id, closed_by_remote, self._clock())
        self._carry_out()

    async def _serve(self, stream: Stream) -> None:
        """Take what a peer sends; nothing in it may do more harm than lose itself."""
        while True:
            try:
                data = await stream.receive()
            except StreamClosed:
                return
            frame = decode(data) if len(data) <= MAX_FRAME_BYTES else None
            if frame is None:
                self._network.offended(stream.peer_id, Offence.QUESTION)
            if frame is None or frame.cluster != self._cluster or not self._cluster:
                self._refused += 1
                continue
            self._received += 1
            try:
                self._machine.message(stream.peer_id, frame.message, self._clock())
            except Exception:
                self._refused += 1
                log.exception("a message of %s was dropped", stream.peer_id)
            self._carry_out()

    async def _timer(self) -> None:
        while True:
            self._wake = trio.Event()
            at = self._machine.wake_at
            with trio.move_on_after(float("inf") if at is None else max(0.0, at - self._clock())) as waiting:
                await self._wake.wait()
            if waiting.cancelled_caught and at is not None:
                self._machine.late(self._clock() - at, self._clock())
                self._machine.tick(self._clock())
                self._carry_out()

    async def _watch_lateness(self) -> None:
        """How late this process gets to run what is due: starved, paused or asleep, it would hear the leader late too."""
        period_s = max(self._timings.heartbeat_s / 5, 0.05)
        while True:
            due = self._clock() + period_s
            await trio.sleep(period_s)
            self._machine.late(max(0.0, self._clock() - due), self._clock())

    async def _disk(self) -> None:
        """One write after the other, in the order asked for; a disk that refuses is asked until it obeys.

        What isn't on disk isn't said, so a voter with a full disk doesn't vote, and does again when there is room.
        """
        async for write in self._disk_out:
            while True:
                try:
                    await write()
                    break
                except StoreError:
                    await trio.sleep(DISK_RETRY_S)

    async def _observe(self) -> None:
        """Reckon now and then how fit each member is to lead."""
        while True:
            rtt = {p.peer_id: p.rtt_ms for p in self._network.peers()}
            # A node's own place in the network is as good as its way to the others, else everybody would find itself the best.
            own_ms = statistics.median([ms for ms in rtt.values() if ms is not None] or [0.0])
            roster, now = self._chain.roster, self._clock()
            led = self._chain.led(20)
            for member in roster.members.values() if roster else ():
                mine = member.peer_id == self._machine.me
                up = 1.0 if mine else self._observed.share(member.peer_id, now)
                self._machine.observe(
                    member.peer_id, reckon(member, up, own_ms if mine else rtt.get(member.peer_id), led)
                )
            await trio.sleep(self._timings.heartbeat_s)

    # --- carrying out -------------------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        for output in self._machine.take():
            self._do(output)
        if self._doubted and not self._machine.doubt:
            self._doubted = False
            if self._on_trusted is not None:
                self._disk_in.send_nowait(self._on_trusted)
        self._wake.set()

    def _do(self, output: Output) -> None:
        machine = self._machine
        match output:
            case Send(to, message):
                self._sent += self._links.put(to, encode(self._cluster, message))
            case Persist(state, token):
                self._disk_in.send_nowait(lambda: self._persist(machine, self._cluster, state, token))
            case AppendAct(data, token):
                self._disk_in.send_nowait(lambda: self._append_act(machine, data, token))
            case AppendCommit(commit):
                self._disk_in.send_nowait(lambda: self._append_commit(commit))
            case Probe(peer_id):
                if self._nursery is not None:
                    self._nursery.start_soon(self._probe, machine, peer_id)
            case Proposed(token, number, hash):
                if token in self._proposals:
                    self._proposals[token].place = (number, hash)
            case Dropped(token, refusal):
                if token in self._proposals:
                    if refusal:
                        self._proposals[token].error = Refused(refusal)
                    self._proposals[token].done.set()
            case Committed(number):
                self._settle(number)
            case StateChanged():
                self._state_changed(output)

    def _settle(self, number: int) -> None:
        for proposal in self._proposals.values():
            if proposal.place is not None and proposal.place[0] <= number and not proposal.done.is_set():
                act = self._chain.committed[proposal.place[0]]
                proposal.act = act if act.hash == proposal.place[1] else None
                proposal.done.set()

    def _state_changed(self, change: StateChanged) -> None:
        if self._machine.reign is None:
            self._fail_all()
        if change.leader:
            self._elections += 1
        self._changed.set()
        self._changed = trio.Event()
        for watcher in self._watchers:
            try:
                watcher()
            except Exception:
                log.exception("a watcher of the election failed")

    def _fail_all(self) -> None:
        for proposal in self._proposals.values():
            proposal.done.set()

    async def _persist(self, machine: ElectionMachine, cluster: str, state: DurableState, token: int) -> None:
        if cluster:
            await self._durable.write(f"election.{cluster}", msgspec.msgpack.encode(state))
        if machine is self._machine:
            machine.persisted(token, self._clock())
            self._carry_out()

    async def _append_act(self, machine: ElectionMachine, data: ActData, token: int) -> None:
        if machine is not self._machine:
            return
        try:
            (entry,) = await self._appender.append([Draft(ACT, data)])
        except Refused as exc:
            log.warning("an act was refused: %s", exc)
            if token in self._proposals:
                self._proposals[token].error = exc
            machine.act_refused(token, self._clock())
        except ChorusError as exc:
            log.warning("an act couldn't be written: %s", exc)
            machine.act_failed(token, self._clock())
        else:
            machine.act_appended(token, entry.raw, self._clock())
        self._carry_out()

    async def _append_commit(self, data: msgspec.Struct) -> None:
        try:
            await self._appender.append([Draft(ACT_COMMIT, data)])
        except ChorusError as exc:
            log.warning("a commit couldn't be written; the next one covers it: %s", exc)

    async def _probe(self, machine: ElectionMachine, peer_id: str) -> None:
        result = await self._network.probe(peer_id)
        if machine is self._machine:
            machine.probe_result(peer_id, result, self._clock())
            self._carry_out()
