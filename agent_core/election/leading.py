"""The leader's side: heartbeats and the claim, replication and commit of acts, hand-over (SPEC section 5, Lease and Admin acts)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from agent_core.election.acts import Ack, ActData, ActKind, CommitData, ack_message
from agent_core.election.chain import VOTER_KINDS, HeldAct, parse_act
from agent_core.election.lease import Lease
from agent_core.election.messages import (
    Announce,
    Append,
    AppendAck,
    CatchUp,
    Certificate,
    Farewell,
    Heartbeat,
    HeartbeatAck,
    Resign,
    TermPayload,
    majority,
)
from agent_core.election.model import AppendAct, AppendCommit, Dropped, Proposed, Trigger
from agent_core.election.voting import Voting
from agent_core.roster.judging import objection

#: Most acts in one message, unless the next provable step is longer.
BATCH = 64
#: Proposals that wait for a majority; more are refused.
MAX_QUEUE = 256


class Reign:
    """What a leader keeps for its term.

    Args:
        certificate: by which it leads.
        lease: its claim.
        since: when it took office (s).
    """

    def __init__(self, certificate: Certificate, lease: Lease, since: float) -> None:
        self.certificate = certificate
        self.digest = certificate.digest
        self.lease = lease
        self.since = since
        self.heartbeat_at = since
        self.queue: deque[tuple[int, str, msgspec.Raw]] = deque()
        #: The act that is being appended to the own feed: token and what it was built on.
        self.appending: int | None = None
        self.opened = False  # the term act was asked for
        self.acks: dict[int, dict[str, bytes]] = {}
        self.committing = -1
        self.commit_of: dict[str, int] = {}
        self.ahead: dict[str, float] = {}  # voters in a later term, and since when


class Leading(Voting):
    """Everything a leader does."""

    reign: Reign | None = None
    stepping_down_until: float = 0.0
    #: The end of this node's newest claim that was given up (s).
    claimed_until: float = float("-inf")
    #: Up to which act there is proof to be had that this node is no member any more.
    _parted_at = -1

    # --- the claim ----------------------------------------------------------------------------------------------------

    @property
    def claim_until(self) -> float | None:
        """When this node's claim to lead ends (s); nothing while it has none."""
        return self.reign.lease.until if self.reign is not None else None

    def leading(self, now: float) -> bool:
        """Whether this node holds a current claim. Checked at use, never remembered."""
        until = self.claim_until
        return until is not None and now < until

    def take_office(self, certificate: Certificate, now: float) -> None:
        """Announce, beat, and open the term with its own act."""
        self.reigning = True
        self.campaign_at = None
        reign = self.reign = Reign(certificate, Lease(self.me, self.timings.lease_s), now)
        announce = Announce(certificate, self.trigger.value)
        for member in self.other_members():
            self.send(member, announce)
        self._beat(reign, now)
        self._pump(now)

    def deposed(self) -> None:
        """Give up the term: the claim, and what was not committed under it."""
        reign, self.reign = self.reign, None
        self.reigning = False
        if reign is not None:
            self.claimed_until = reign.lease.until or self.claimed_until
            for token, _, _ in reign.queue:
                self.emit(Dropped(token))

    def step_down(self, now: float, trigger: Trigger, successor: str = "") -> None:
        """End the claim and tell everybody: it lives in memory only, so nothing on disk could bring it back."""
        if self.reign is None:
            return
        self.deposed()
        self.leader_gone = True
        self.promise_until = now
        self._reason = trigger
        self.stepping_down_until = now + self.timings.handover_s
        if self.may_vote:
            self.campaign_at = now + self.timings.death_delay_s * (1 + self.rng.random())
        word = Resign(self.term, successor, self.log.term, self.log.number)
        for member in self.other_members():
            self.send(member, word)
        if successor:
            self.hand_over(word, now)

    def resign(self, now: float, trigger: Trigger = Trigger.MANUAL) -> str:
        """Hand over to the best connected voter that holds this node's last act.

        Returns:
            The successor's peer id; empty if there is none (then the voters elect).
        """
        if self.reign is None:
            return ""
        successor = self.successor(now)
        self.step_down(now, trigger, successor)
        return successor

    def successor(self, now: float) -> str:
        """Whom this node would hand over to; empty if it doesn't lead or nobody holds its last act."""
        if self.reign is None:
            return ""
        last = self.log.number
        acked = self.reign.acks.get(last, {})
        settled = last <= self.chain.tip_number
        holders = [
            v for v in self.other_voters() if v in acked or (settled and self.reign.commit_of.get(v, -1) >= last)
        ]
        fresh = [v for v in holders if (self.reign.lease.acknowledged_at(v) or 0.0) >= now - self.timings.timeout_s]
        return max(fresh or holders, key=lambda v: (round(self.score(v).total, 1), v), default="")

    def _beat(self, reign: Reign, now: float) -> None:
        heartbeat = Heartbeat(self.term, reign.lease.send(now), self.chain.tip_number)
        reign.heartbeat_at = now + self.timings.heartbeat_s
        for member in self.other_members():
            self.send(member, heartbeat)
        reign.lease.count(self.voters)

    def _check_claim(self, reign: Reign, now: float) -> None:
        until = reign.lease.until
        if now >= (until if until is not None else reign.since + self.timings.timeout_s):
            self.step_down(now, Trigger.QUORUM_LOST)
            return
        if any(now - since > self.timings.timeout_s for since in reign.ahead.values()):
            self._start_over(now)

    def _start_over(self, now: float) -> None:
        """Voters were carried into a later term that came to nothing; only a new term takes them along again."""
        self.step_down(now, Trigger.SPLIT_BRAIN)
        self.campaign_at = now

    def on_heartbeat_ack(self, sender: str, ack: HeartbeatAck, now: float) -> None:
        """Extend the claim, and send what the member lacks."""
        reign = self.reign
        if reign is None or sender not in self.members:
            return
        reign.commit_of[sender] = ack.commit
        if ack.term > self.term:
            if sender in self.voters:
                reign.ahead.setdefault(sender, now)
                self._hear(ack.term)
                if len(reign.ahead) > (len(self.voters) - 1) // 2:
                    self._start_over(now)  # those left are no majority
            return
        reign.ahead.pop(sender, None)
        if not ack.ok or ack.term < self.term:
            self.send(sender, Announce(reign.certificate, self.trigger.value))
        elif sender in self.voters:
            reign.lease.acknowledge(sender, ack.n)
            reign.lease.count(self.voters)
        last = self.log.number
        unsigned = sender in self.voters and last > self.chain.tip_number and sender not in reign.acks.get(last, {})
        if unsigned or ack.commit < self.chain.tip_number:
            self._replicate(sender, ack.commit)

    # --- acts ---------------------------------------------------------------------------------------------------------

    def propose(self, kind: str, payload: msgspec.Raw, now: float) -> int | None:
        """Put an act in the queue.

        Returns:
            Its token; nothing if this node doesn't lead now or too many wait.
        """
        reign = self.reign
        if reign is None or not self.leading(now) or len(reign.queue) >= MAX_QUEUE:
            return None
        token = self.new_token()
        reign.queue.append((token, kind, payload))
        self._pump(now)
        return token

    def _pump(self, now: float) -> None:
        """Ask for the next entry: one at a time, since each names the hash of the one before."""
        reign = self.reign
        if reign is None or reign.appending is not None:
            return
        if not reign.opened:
            reign.opened = True
            payload = TermPayload(certificate=reign.certificate, trigger=self.trigger.value)
            self._append(reign, self.new_token(), ActKind.TERM, msgspec.Raw(msgspec.json.encode(payload)))
            return
        if not reign.queue or not self.chain.committed or self.chain.committed[-1].term != self.term:
            return
        while reign.queue:
            token, kind, payload_raw = reign.queue[0]
            if kind in VOTER_KINDS and self.log.voter_change_pending:
                return
            reign.queue.popleft()
            refusal = objection(self.log.roster, kind, payload_raw, None, self.verifier)
            if not refusal:
                self._append(reign, token, kind, payload_raw)
                return
            self.emit(Dropped(token, refusal))

    def _append(self, reign: Reign, token: int, kind: str, payload: msgspec.Raw) -> None:
        reign.appending = token
        data = ActData(
            cluster=self.chain.cluster_id,
            term=self.term,
            number=self.log.number + 1,
            prev=self.log.hash,
            cert=reign.digest,
            kind=kind,
            payload=payload,
        )
        self.emit(AppendAct(data, token))

    def on_act_appended(self, token: int, raw: bytes, now: float) -> None:
        """The entry is in the own feed: it joins the log and goes to everybody, unless the term is over."""
        held, reign = parse_act(raw), self.reign
        if held is None or reign is None or reign.appending != token or held.term != self.term:
            self.emit(Dropped(token))
            return
        reign.appending = None
        if not self.log.extend([held]):
            self.emit(Dropped(token))
            return
        self.emit(Proposed(token, held.number, held.hash))
        self.persist(lambda now: self._own_ack(held, now))
        for member in self.other_members():
            self._replicate(member, reign.commit_of.get(member, self.chain.tip_number))
        self._pump(now)

    def on_act_failed(self, token: int, now: float) -> None:
        """The own feed refused the entry. A leader that can't write doesn't lead."""
        if self.reign is not None and self.reign.appending == token:
            self.step_down(now, Trigger.QUORUM_LOST)
        self.emit(Dropped(token))

    def on_act_refused(self, token: int, now: float) -> None:
        """The door refused what the act says, which may be somebody else's words: that costs the act, not the term."""
        reign = self.reign
        if reign is None or reign.appending != token or self.log.term != self.term:
            self.on_act_failed(token, now)  # the term's own act: without it nothing can be committed
            return
        reign.appending = None
        self.emit(Dropped(token))
        self._pump(now)

    def _own_ack(self, held: HeldAct, now: float) -> None:
        reign = self.reign
        if reign is None or held.term != self.term or not self.is_voter:
            return
        message = ack_message(self.chain.cluster_id, held.term, held.number, held.hash)
        reign.acks.setdefault(held.number, {})[self.me] = self.signer.sign(message)
        self._try_commit(reign)

    def on_append_ack(self, sender: str, ack: AppendAck, now: float) -> None:
        """Count acknowledgements; send more to one that lags."""
        reign = self.reign
        if reign is None or sender not in self.members or ack.term != self.term:
            return
        reign.commit_of[sender] = ack.commit
        if sender in self.voters:
            for number, sig in ack.sigs[: 2 * BATCH]:
                held = self.log.get(number)
                acks = reign.acks.setdefault(number, {}) if held and held.term == self.term else None
                if held is None or acks is None or number <= self.chain.tip_number or sender in acks:
                    continue
                message = ack_message(self.chain.cluster_id, held.term, number, held.hash)
                if self.verifier.verify(sender, message, sig):
                    acks[sender] = sig
            self._try_commit(reign)
        # What a voter objects to is not sent again at once, but with the next heartbeat: it won't change its mind soon.
        lacks = ack.number < self.log.number and ack.number == ack.commit
        if not ack.objection and (not ack.ok or lacks):
            self._replicate(sender, ack.commit)

    def _try_commit(self, reign: Reign) -> None:
        """Commit the newest act of this term that a majority holds: its proof on disk first, then known."""
        tip = max(self.chain.tip_number, reign.committing)
        for number in range(self.log.number, tip, -1):
            held, acks = self.log.get(number), reign.acks.get(number, {})
            if held is None or held.term != self.term or not majority(acks, self.voters):
                continue
            signed = tuple(Ack(voter, acks[voter]) for voter in sorted(acks))
            commit = CommitData(
                cluster=self.chain.cluster_id, term=held.term, number=number, hash=held.hash, acks=signed
            )
            reign.committing = number
            self._commit(commit)
            return

    def _commit(self, commit: CommitData) -> None:
        def written(now: float) -> None:
            self.chain.learn((), (commit,))
            self.emit(AppendCommit(commit))
            self.chain_moved(now)

        self.persist(written, commit)

    def chain_moved(self, now: float) -> None:
        """The committed prefix grew: take notice of rosters and tell the members."""
        raise NotImplementedError

    def _spread(self) -> None:
        """Send every member what is newly committed."""
        reign = self.reign
        if reign is None:
            return
        for number in [n for n in reign.acks if n <= self.chain.tip_number]:
            del reign.acks[number]
        for member in self.other_members():
            self._replicate(member, reign.commit_of.get(member, -1))

    def _replicate(self, to: str, commit: int) -> None:
        """Send a member the acts after what it has proven, with the commits among them."""
        base = min(commit, self.chain.tip_number)
        if base < -1:
            return
        proofs = self.chain.proofs_after(base)
        end = self.log.number
        if end - base > BATCH:
            end = max(base + BATCH, proofs[0].number if proofs else 0)
        acts = tuple(h.raw for n in range(base + 1, end + 1) if (h := self.log.get(n)) is not None)
        held = self.log.get(base)
        covered = tuple(p for p in proofs if p.number <= end)
        self.send(to, Append(self.term, base, held.hash if held else "", acts, covered))
        if self.reign is not None:
            # Until it answers, assume that it arrives: nothing is sent twice in the usual case.
            self.reign.commit_of[to] = max(base, covered[-1].number if covered else base)

    def on_catch_up(self, sender: str, ask: CatchUp, now: float) -> None:
        """Send acts and, when leading, the certificate again."""
        if self.chain.roster is None or ask.commit < -1:
            return
        if self.chain.roster.get(sender) is None:
            return
        # Who is no member any more learns by this how that came.
        self._replicate(sender, ask.commit)
        if self.reign is not None:
            self.send(sender, Announce(self.reign.certificate, self.trigger.value))

    def on_farewell(self, sender: str, farewell: Farewell, now: float) -> None:
        """A member says that this node is none any more: ask for the acts that say so, since nobody's bare word does."""
        if sender in self.members and farewell.act > self.chain.tip_number:
            self._parted_at = farewell.act
            self.send(sender, CatchUp(self.chain.tip_number))

    def on_append(self, sender: str, append: Append, now: float) -> None:
        """Learn what is proven from anybody; from the leader take its suffix too, and acknowledge once it is on disk."""
        acts = [h for raw in append.acts[: 16 * BATCH] if (h := parse_act(raw)) is not None]
        if len(acts) != len(append.acts):
            return
        followed = append.term == self.term and sender == self.leader and not self.leader_gone
        before = self.chain.tip_number
        self.chain.learn(acts, append.proofs[: 4 * BATCH])
        self.log.rebase()
        if not followed or self.reigning:
            if before < self.chain.tip_number < self._parted_at:
                self.send(sender, CatchUp(self.chain.tip_number))
            self.chain_moved(now)
            return
        own = all(h.act.author == sender for h in acts if h.term == self.term)  # a leader writes in nobody else's name
        links = own and self.log.holds(append.prev_number, append.prev_hash)
        ok = links and self.log.extend(acts)
        why = self.log.objection if links and not ok else ""
        last = acts[-1] if ok and acts else None
        mine = [h for h in acts if ok and h.term == self.term]
        self.chain_moved(now)

        def written(now: float) -> None:
            if self.term != append.term or self.leader != sender or self.leader_gone:
                return
            sigs = tuple(self._signed(mine)) if self.may_vote else ()
            number, hash = (last.number, last.hash) if last else (append.prev_number, append.prev_hash)
            self.send(sender, AppendAck(append.term, ok, number, hash, self.chain.tip_number, sigs, why))

        self._answer_when_durable(mine, written, now)

    def _answer_when_durable(self, mine: list[HeldAct], written: Callable[[float], None], now: float) -> None:
        if mine:
            self.persist(written)
        else:
            written(now)

    def _signed(self, acts: list[HeldAct]) -> list[tuple[int, bytes]]:
        cluster = self.chain.cluster_id
        return [
            (h.number, self.signer.sign(ack_message(cluster, h.term, h.number, h.hash)))
            for h in acts
            if self.log.holds(h.number, h.hash)
        ]
