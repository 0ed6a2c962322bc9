"""A voter's promise to its leader, and the evidence of death that ends it early (SPEC section 5, Lease and Evidence of death)."""

from __future__ import annotations

from agent_core.election.core import Core
from agent_core.election.messages import DeathReport, death_message, majority
from agent_core.election.model import Probe, Trigger
from agent_core.election.patience import Patience
from agent_core.network import DialResult


class Promised(Core):
    """Whom this voter is bound to, and until when."""

    #: When to ask for pre-votes next; nothing while there is no reason to.
    campaign_at: float | None = None
    reigning = False

    _reason: Trigger | None = None  # of the election to come

    def _init_promise(self) -> None:
        self.patience = Patience(self.timings.timeout_s)
        self._reports: dict[str, DeathReport] = {}

    # --- promise ------------------------------------------------------------------------------------------------------

    def free(self, now: float) -> bool:
        """Whether no promise binds this voter to a leader: then it may vote and pre-vote."""
        if self.reigning:
            return False
        return self.sole_voter or now >= self.promise_until

    def suspicious_at(self, now: float) -> float:
        """When a leader's silence counts against it (s): a timeout after the newest heartbeat, later if this node itself is late."""
        silent = self.leader and not self.leader_gone and self._reason is not Trigger.MANUAL
        return self.promise_until + (self.patience.extra_s(now) if silent else 0.0)

    def certain(self, now: float) -> bool:
        """Whether the leader of the term is still within the promise that its newest heartbeat got."""
        return bool(self.leader) and not self.leader_gone and now < self.last_heard + self.timings.lease_s

    def _release(self, now: float, delay_s: float) -> None:
        """This term's leader leads no more: the promise ends, an election is due."""
        self.leader_gone = True
        self.promise_until = now
        if self.may_vote:
            self.campaign_at = now + self.rng.random() * delay_s

    # --- evidence of death --------------------------------------------------------------------------------------------

    def _leader_left(self, closed_by_remote: bool) -> None:
        if closed_by_remote and self.may_vote and not self.leader_gone:
            self.emit(Probe(self.leader))

    def on_probe(self, peer_id: str, result: DialResult, now: float) -> None:
        """A fresh dial ended: refusal, after a close from the other side, is worth a signed report."""
        if result is not DialResult.REFUSED or peer_id != self.leader or peer_id in self.connected:
            return
        if not self.may_vote or self.leader_gone or self.reigning:
            return
        sig = self.signer.sign(death_message(self.chain.cluster_id, self.term, peer_id))
        report = DeathReport(self.me, self.term, peer_id, sig)
        for voter in self.other_voters():
            self.send(voter, report)
        self.on_death_report(report, now, trusted=True)

    def on_death_report(self, report: DeathReport, now: float, trusted: bool = False) -> None:
        """Count a voter's report; a majority of them ends the promise."""
        if report.term != self.term or report.leader != self.leader or not self.leader or self.leader_gone:
            return
        if report.reporter not in self.voters or report.reporter in self._reports or self.reigning:
            return
        message = death_message(self.chain.cluster_id, report.term, report.leader)
        if not trusted and not self.verifier.verify(report.reporter, message, report.sig):
            return
        self._reports[report.reporter] = report
        if majority(self._reports, self.voters):
            self._reason = Trigger.HEARTBEAT_TIMEOUT
            self._release(now, self.timings.death_delay_s)
