"""The election machine: every input comes in with the time, every effect goes out as an output. Pure; runs live and in the search."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from agent_core.election.chain import ActChain
from agent_core.election.core import Output
from agent_core.election.leading import Leading
from agent_core.election.messages import (
    Announce,
    AnyMessage,
    Append,
    AppendAck,
    Candidacy,
    CatchUp,
    Challenge,
    DeathReport,
    Farewell,
    Heartbeat,
    HeartbeatAck,
    PreVote,
    PreVoteAsk,
    Resign,
    Vote,
)
from agent_core.election.model import (
    AppendCommit,
    Committed,
    DurableState,
    Score,
    State,
    StateChanged,
    Timings,
    Trigger,
)
from agent_core.identity.signing import Signer, Verifier
from agent_core.network import DialResult
from agent_core.roster.model import Roster


class ElectionMachine(Leading):
    """One node's part in the election and the chain of acts.

    After any input the driver takes :meth:`take`'s outputs in order, and calls :meth:`tick` at :attr:`wake_at`.
    Arguments as for :class:`~agent_core.election.core.Core`.
    """

    def __init__(
        self,
        *,
        chain: ActChain,
        signer: Signer,
        verifier: Verifier,
        rng: random.Random,
        timings: Timings,
        durable: DurableState,
        now: float,
        doubt: str = "",
    ) -> None:
        super().__init__(
            chain=chain,
            signer=signer,
            verifier=verifier,
            rng=rng,
            timings=timings,
            durable=durable,
            now=now,
            doubt=doubt,
        )
        self._init_voting()
        self._resign_owed = durable.term if durable.voted_for == self.me else 0
        self._handlers: dict[type[Any], Callable[[str, Any, float], None]] = {
            DeathReport: lambda sender, m, now: self.on_death_report(m, now),
            PreVoteAsk: self.on_prevote_ask,
            PreVote: self.on_prevote,
            Candidacy: self.on_candidacy,
            Vote: self.on_vote,
            Announce: self.on_announce,
            Heartbeat: self.on_heartbeat,
            HeartbeatAck: self.on_heartbeat_ack,
            Append: self.on_append,
            AppendAck: self.on_append_ack,
            Resign: self.on_resign,
            CatchUp: self.on_catch_up,
            Challenge: self.on_challenge,
            Farewell: self.on_farewell,
        }
        self.chain_moved(now)
        self._write_again()
        self._show(now)

    def _write_again(self) -> None:
        """Put what is proven here and in no feed yet into this node's own: else a node without a vote keeps it to itself for good."""
        _, proofs = self.chain.loose()
        if proofs:
            self.emit(AppendCommit(max(proofs, key=lambda p: p.number)))

    # --- outputs ------------------------------------------------------------------------------------------------------

    def take(self) -> list[Output]:
        """The outputs since the last call, in the order in which they are to be carried out."""
        out, self._out = self._out, []
        return out

    @property
    def wake_at(self) -> float | None:
        """When :meth:`tick` is due (s); nothing while there is nothing to wait for."""
        times = [] if self.campaign_at is None else [self.campaign_at]
        if self.ballot is not None and self.ballot.closes_at is not None:
            times.append(self.ballot.closes_at)
        reign = self.reign
        if reign is not None:
            until = reign.lease.until
            times.append(reign.heartbeat_at)
            times.append(until if until is not None else reign.since + self.timings.timeout_s)
        return min(times, default=None)

    # --- inputs -------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._revision != self.chain.revision:
            self.chain_moved(now)
        ballot, reign = self.ballot, self.reign
        if ballot is not None and ballot.closes_at is not None and now >= ballot.closes_at:
            self._cast(now)
        if reign is not None:
            self._check_claim(reign, now)
            if self.reign is reign and now >= reign.heartbeat_at:
                self._beat(reign, now)
        if self.campaign_at is not None and now >= self.campaign_at:
            self.campaign(now)
        self._show(now)

    def late(self, late_s: float, now: float) -> None:
        """Something of this node's that was due ran so much later (s): see :class:`~agent_core.election.patience.Patience`."""
        self.patience.late(late_s, now)

    def message(self, sender: str, message: AnyMessage, now: float) -> None:
        """A message of an authenticated peer."""
        if self._revision != self.chain.revision:
            self.chain_moved(now)
        self._handlers[type(message)](sender, message, now)
        self._show(now)

    def peer_connected(self, peer_id: str, now: float) -> None:
        """A first connection to the peer opened."""
        alone = not self.reaches_majority
        self.connected.add(peer_id)
        if peer_id in self.members:
            self._greet(peer_id)
        elif self.chain.roster is not None and self.chain.roster.get(peer_id) is not None:
            self.send(peer_id, Farewell(self.chain.tip_number))
        if alone and self.reaches_majority and self.reign is None and self.campaign_at is None and self.may_vote:
            delay = self.rng.random() * self.timings.start_delay_s
            self.campaign_at = max(self.promise_until, self._first_campaign(), now) + delay
        self._show(now)

    def peer_disconnected(self, peer_id: str, closed_by_remote: bool, now: float) -> None:
        """The last connection to the peer closed."""
        self.connected.discard(peer_id)
        if self.reign is not None and not self.reaches_majority:
            self.step_down(now, Trigger.QUORUM_LOST)
        elif peer_id == self.leader and not self.reigning:
            self._leader_left(closed_by_remote)
        self._show(now)

    def mesh_rebuilding(self, now: float) -> None:
        """The mesh is being rebuilt: every connection is about to close from this side."""
        self.step_down(now, Trigger.QUORUM_LOST)
        self.connected.clear()
        self._show(now)

    def distrust(self, doubt: str, now: float) -> None:
        """This home was found to have forgotten something: from now on it neither votes nor acknowledges acts.

        Args:
            doubt: the mark of that loss, which the promotion that ends it names.
            now: see the class.
        """
        self.doubt = doubt
        self.campaign_at = None
        self.ballot = None
        self.step_down(now, Trigger.QUORUM_LOST)
        self._show(now)

    def probe_result(self, peer_id: str, result: DialResult, now: float) -> None:
        """The fresh dial that :class:`Probe` asked for ended."""
        self.on_probe(peer_id, result, now)
        self._show(now)

    def persisted(self, token: int, now: float) -> None:
        """A :class:`Persist` is on disk: what waited for it goes out."""
        then = self._then.pop(token, None)
        if then is not None:
            then(now)
        self._show(now)

    def act_appended(self, token: int, raw: bytes, now: float) -> None:
        """An :class:`AppendAct` is in the feed, as these header bytes."""
        self.on_act_appended(token, raw, now)
        self._show(now)

    def act_failed(self, token: int, now: float) -> None:
        """An :class:`AppendAct` was refused by the feed."""
        self.on_act_failed(token, now)
        self._show(now)

    def act_refused(self, token: int, now: float) -> None:
        """An :class:`AppendAct` holds what may not be written; the feed itself is well."""
        self.on_act_refused(token, now)
        self._show(now)

    def observe(self, peer_id: str, score: Score) -> None:
        """What this node reckons of a peer's, or its own, fitness."""
        self.scores[peer_id] = score

    def trigger_election(self, now: float) -> str:
        """A person asks for an election.

        Returns:
            Why not, in words; empty if it is under way.
        """
        if self.reign is not None:
            left = self.reign.since + self.timings.stability_s - now
            if left > 0:
                return f"The leader is in its first {self.timings.stability_s:.0f} s; in {left:.0f} s it may be challenged."
            if self.sole_voter:
                return "This node is the only voter."
            self.resign(now)
        elif self.certain(now):
            self.send(self.leader, Challenge(self.term))
        elif not self.may_vote:
            return "This node is no voter, and no leader is there to ask."
        elif not self.reaches_majority:
            return "No majority of the voters can be reached."
        else:
            self._reason = Trigger.MANUAL
            self.campaign_at = max(now, self.promise_until)
        self._show(now)
        return ""

    def on_challenge(self, sender: str, challenge: Challenge, now: float) -> None:
        """A member asks the leader to let the voters choose again; refused in its first minute."""
        reign = self.reign
        if reign is None or sender not in self.members or challenge.term != self.term or self.sole_voter:
            return
        if now - reign.since >= self.timings.stability_s:
            self.resign(now)

    def poke(self, now: float) -> None:
        """The chain was applied to from outside."""
        if self._revision != self.chain.revision:
            self.chain_moved(now)
            self._show(now)

    # --- the roster ---------------------------------------------------------------------------------------------------

    def chain_moved(self, now: float) -> None:
        """Take notice of newly committed acts: roster, voters, this node's own vote."""
        if self._revision == self.chain.revision:
            return
        self._revision = self.chain.revision
        self.log.rebase()
        roster, before = self.chain.roster, self.voters
        newcomers: frozenset[str] = frozenset()
        gone: frozenset[str] = frozenset()
        if roster is not None:
            members = frozenset(p for p, m in roster.members.items() if m.active)
            newcomers, gone, self.members = members - self.members, self.members - members, members
        self.voters = self.chain.voters
        self.is_voter = self.me in self.voters
        if self.doubt and self._trusted_again(roster):
            self.doubt = ""
            # As after a restart: whatever this voter promised and forgot has ended by then.
            self.promise_until = max(self.promise_until, now + self.timings.timeout_s)
        if self.chain.tip_number > self._tip:
            self._tip = self.chain.tip_number
            self.emit(Committed(self._tip))
        for peer in sorted(gone & self.connected):
            self.send(peer, Farewell(self.chain.tip_number))
        reign = self.reign
        if reign is not None:
            if self.voters != before:
                reign.lease.change(before)
            self._spread()
            for peer in sorted(newcomers & self.connected):
                self._greet(peer)
            if not self.is_voter or not self.reaches_majority:
                self.step_down(now, Trigger.QUORUM_LOST)
                return
            if self.voters != before:
                self._beat(reign, now)
            self._pump(now)
        elif self.may_vote and self.voters != before:
            self.campaign_at = max(self.promise_until, self._first_campaign(), now)
            if self.sole_voter:
                self.campaign_at = now
            elif self.leader:
                self.campaign_at += self.rng.random() * self.timings.start_delay_s

    def _trusted_again(self, roster: Roster | None) -> bool:
        """Whether the admin knew of this loss of memory when it made this node a voter."""
        member = roster.get(self.me) if roster is not None else None
        return member is not None and member.voter and member.trusted == self.doubt

    def _first_campaign(self) -> float:
        """Until the discovery grace has passed a node that knows no leader looks for one."""
        return self.started_at + self.timings.discovery_s if not self.last_leader else 0.0

    def _greet(self, peer_id: str) -> None:
        """Tell a member that came what it should know of this node's claim: that it has one, or has one no more."""
        if self.reign is not None:
            self.send(peer_id, Announce(self.reign.certificate, self.trigger.value))
            self._replicate(peer_id, self.chain.tip_number)
        elif self._resign_owed and self._resign_owed == self.term:
            # Whatever this node claimed before its restart has ended; saying so spares the voters the timeout.
            self.send(peer_id, Resign(self._resign_owed))

    # --- what is shown ------------------------------------------------------------------------------------------------

    def state(self, now: float) -> State:
        """What this node is doing."""
        if self.chain.roster is None or self.me not in self.members:
            return State.IDLE
        if self.reign is not None:
            return State.LEADER
        if self.certain(now):
            return State.FOLLOWER
        if self.leader == self.me and now < self.stepping_down_until:
            return State.STEPPING_DOWN
        if not self.last_leader and now < self.started_at + self.timings.discovery_s:
            return State.DISCOVERING
        if not self.reaches_majority and self.is_voter:
            return State.NO_QUORUM
        if self.ballot is not None and not self.leader and self.ballot.term == self.term:
            return State.CANDIDATE if self.me in self.ballot.candidacies and not self.voted_for else State.VOTING
        return State.CANDIDATE if self._asking else State.FOLLOWER

    def _show(self, now: float) -> None:
        shown = (self.state(now), self.term, self.leader)
        if shown != self._shown:
            self._shown = shown
            self.emit(StateChanged(*shown))
