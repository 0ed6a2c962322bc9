"""The voter's side: promises, pre-votes, candidacies, votes, and following whom a certificate names (SPEC section 5, Voting)."""

from __future__ import annotations

from collections import Counter

from agent_core.election.ballot import Ballot
from agent_core.election.messages import (
    Announce,
    Candidacy,
    CatchUp,
    Certificate,
    Heartbeat,
    HeartbeatAck,
    PreVote,
    PreVoteAsk,
    Resign,
    Vote,
    majority,
    prevote_message,
    vote_message,
)
from agent_core.election.model import Trigger
from agent_core.election.promise import Promised
from agent_core.roster.model import Roster

#: No word of a single voter takes a term further than this, so that there are always later ones.
MAX_TERM_HEARD = 2**52


class Voting(Promised):
    """Everything a voter does; members without a vote use the following part of it."""

    ballot: Ballot | None = None
    #: The successor a resigning leader named, and the term it is named for.
    heir: tuple[int, str] = (0, "")
    #: Consecutive terms this node saw pass without a leader.
    failed = 0

    _asking = 0  # the term pre-votes are collected for
    _heard = 0  # highest term heard of, only to know what to ask for next

    def _init_voting(self) -> None:
        self._init_promise()
        self._prevotes: dict[str, PreVote] = {}
        self._waits: dict[str, float] = {}
        #: Votes for this node in the next term, by voters that heard of the hand-over before it did.
        self._handed: dict[str, Vote] = {}
        self._unanswered: Heartbeat | None = None
        #: A heartbeat that overtook its leader's announcement.
        self._early: tuple[str, Heartbeat | None] = ("", None)

    # --- campaigning --------------------------------------------------------------------------------------------------

    def campaign(self, now: float) -> None:
        """Ask the voters whether they would vote for this node in the next term."""
        self.campaign_at = None
        if not self.may_vote or self.reigning:
            return
        if not self.sole_voter and now < self.suspicious_at(now):
            self.campaign_at = self.suspicious_at(now) + self.rng.random() * self.timings.start_delay_s
            return
        if not self.reaches_majority:
            return  # a new connection sets the time again
        term = max(self.term + 1, self._heard + 1)
        self._heard = 0  # if nobody grants that one, try from what this node knows
        self._start_asking(term, now)
        ask = PreVoteAsk(term, self.log.term, self.log.number, tuple(self._reports.values()))
        for voter in self.other_voters():
            self.send(voter, ask)
        self.campaign_at = now + self._retry_delay()
        self._count_prevotes(now)

    def _start_asking(self, term: int, now: float) -> None:
        self._asking = term
        self._prevotes = {}
        self._waits = {}
        known = term - 1 if self._in_window(term) else self.term
        sig = self.signer.sign(prevote_message(self.chain.cluster_id, term, self.me, known))
        self._prevotes[self.me] = PreVote(self.me, term, self.me, known, True, 0.0, sig)

    def _in_window(self, term: int) -> bool:
        """Whether this is the term at hand and this node hasn't voted in it yet, so that it may still choose or join."""
        return term == self.term and not self.voted_for and not self.leader and self.ballot is not None

    def _under_way_s(self, now: float) -> float:
        """How long the term at hand still has to find its leader: asking for the next one meanwhile would undo it."""
        ballot = self.ballot
        if ballot is None or ballot.term != self.term or self.leader or ballot.hopeless(self.voters, self._reached()):
            return 0.0
        return max(0.0, ballot.until - now)

    def _reached(self) -> tuple[str, ...]:
        return (self.me, *self.other_voters())

    def _retry_delay(self) -> float:
        base = self.timings.round_s
        if self.failed >= 2:
            base = min(self.timings.timeout_s, base * 2.0 ** min(self.failed - 1, 10))
        return base * (0.5 + self.rng.random())

    def on_prevote_ask(self, sender: str, ask: PreVoteAsk, now: float) -> None:
        """Answer, and take in what evidence came along."""
        strangers = not self.is_voter or sender not in self.voters
        if strangers and sender in self.members and ask.last_number > self.chain.tip_number:
            # What made this node or the other one a voter may be among the acts it lacks, and there is no leader to send them.
            self.send(sender, CatchUp(self.chain.tip_number))
        if sender not in self.voters or not self.may_vote:
            return
        for report in ask.reports[: len(self.voters)]:
            self.on_death_report(report, now)
        known = ask.term - 1 if self._in_window(ask.term) else self.term
        pending_s = self._under_way_s(now) if ask.term > self.term else 0.0
        granted = (
            ask.term > known
            and not pending_s
            and not self.log.older_than_mine(ask.last_term, ask.last_number)
            and (self.free(now) or (self.leader == sender and not self.reigning))
        )
        if granted:
            sig = self.signer.sign(prevote_message(self.chain.cluster_id, ask.term, sender, known))
            self.send(sender, PreVote(self.me, ask.term, sender, known, True, 0.0, sig))
        else:
            wait_s = pending_s if self.reigning or self.free(now) else self.promise_until - now
            self.send(sender, PreVote(self.me, ask.term, sender, known, False, wait_s))

    def on_prevote(self, sender: str, prevote: PreVote, now: float) -> None:
        """Collect an answer; a majority of grants makes a candidacy."""
        if prevote.candidate != self.me or prevote.voter != sender or sender not in self.voters or not self.may_vote:
            return
        if self.reigning:
            return
        if prevote.term != self._asking:
            return
        if prevote.granted:
            if prevote.known < prevote.term and self._holds(prevote):
                self._prevotes[sender] = prevote
                self._count_prevotes(now)
            return
        self._hear(prevote.known)
        # Who is in the term asked for, or a later one, takes part in its election: that one comes first.
        under_way_s = self.timings.round_s if prevote.known >= prevote.term else 0.0
        self._waits[sender] = max(prevote.wait_s, under_way_s)
        lacking = len(self.voters) // 2 + 1 - len(self._prevotes)
        waits = sorted(w for v, w in self._waits.items() if v not in self._prevotes)
        if 0 < lacking <= len(waits) and waits[lacking - 1] < self.timings.timeout_s:
            soon = now + waits[lacking - 1] + (0.01 + self.rng.random()) * self.timings.start_delay_s
            self.campaign_at = min(soon, self.campaign_at) if self.campaign_at is not None else soon

    def _hear(self, term: int) -> None:
        """A voter says that it is in a later term: ask for the one after that."""
        if self.term < term < MAX_TERM_HEARD:
            self._heard = max(self._heard, term)

    def _holds(self, prevote: PreVote) -> bool:
        message = prevote_message(self.chain.cluster_id, prevote.term, prevote.candidate, prevote.known)
        return self.verifier.verify(prevote.voter, message, prevote.sig)

    def _count_prevotes(self, now: float) -> None:
        if not majority(self._prevotes, self.voters) or self.chain.roster is None:
            return
        term = self._asking
        if max(p.known for p in self._prevotes.values()) + 1 != term:
            return
        if (term <= self.term and not self._in_window(term)) or not self.free(now):
            return
        candidacy = Candidacy(
            term=term,
            last_term=self.log.term,
            last_number=self.log.number,
            roster=self.chain.roster.version,
            trigger=(self._reason or self._default_reason()).value,
            prevotes=tuple(self._prevotes.values()),
        )
        self._asking = 0
        for voter in self.other_voters():
            self.send(voter, candidacy)
        self._stand(self.me, candidacy, now)

    def _default_reason(self) -> Trigger:
        return Trigger.HEARTBEAT_TIMEOUT if self.last_leader else Trigger.DISCOVERY_FAILED

    # --- candidacies and votes ----------------------------------------------------------------------------------------

    def on_candidacy(self, sender: str, candidacy: Candidacy, now: float) -> None:
        """Hear a candidacy: if a majority's pre-votes carry it, its term is now this voter's."""
        term = candidacy.term
        if sender not in self.voters or not self.may_vote:
            return
        if term < self.term or (term == self.term and (self.leader or self.ballot is None)):
            return
        if not self.free(now) and not (self.leader == sender and not self.reigning):
            return
        if self.ballot is not None and term == self.ballot.term and sender in self.ballot.candidacies:
            return
        roster = self.chain.roster_at(candidacy.roster)
        if roster is None:
            self.send(sender, CatchUp(self.chain.tip_number))
            return
        if not self._in_force(roster):
            return
        carried = [p for p in candidacy.prevotes[:16] if p.term == term and p.candidate == sender and self._holds(p)]
        if not majority((p.voter for p in carried), roster.voters) or max(p.known for p in carried) + 1 != term:
            return
        self._stand(sender, candidacy, now)

    def _stand(self, candidate: str, candidacy: Candidacy, now: float) -> None:
        if candidacy.term > self.term:
            self._enter(candidacy.term, now)
            self._reason = Trigger(candidacy.trigger) if candidacy.trigger in set(Trigger) else None
        ballot = self.ballot
        if ballot is None or ballot.term != candidacy.term:
            return
        first = not ballot.candidacies
        ballot.candidacies[candidate] = candidacy
        if self.voted_for:
            return
        if self.heir == (candidacy.term, candidate) or ballot.attempt >= 3:
            self._cast(now)
        elif first:
            ballot.closes_at = now + self.timings.window_s
            # By two steps, so that the others, whose reckoning differs a little, judge alike: a split vote costs a term.
            better = self.score(self.me).beats(self.score(candidate), steps=2)
            if ballot.attempt == 1 and candidate != self.me and better and not self.heir[1]:
                self._join(candidacy.term, now)
            elif candidate != self.me:
                self._asking = 0  # one candidate less among whom the votes could split

    def _join(self, term: int, now: float) -> None:
        """Stand as well: by this node's own reckoning it would lead better."""
        self._start_asking(term, now)
        for voter in self.other_voters():
            self.send(voter, PreVoteAsk(term, self.log.term, self.log.number, tuple(self._reports.values())))
        self._count_prevotes(now)

    def _enter(self, term: int, now: float) -> None:
        """Move to a new term, which has no leader yet."""
        tally: Counter[str] = Counter()
        if self.ballot is not None and not self.leader:
            self.failed += 1
            if self.ballot.term == term - 1:
                tally = self.ballot.tally
        self.term = term
        self.voted_for = ""
        self.leader = ""
        self.leader_gone = False
        self.certificate = None
        self._reports = {}
        self.ballot = Ballot(term, self.failed + 1, tally, now + self.timings.round_s)
        self.campaign_at = now + self.timings.window_s + self._retry_delay()

    def _cast(self, now: float) -> None:
        """Vote, once a term, on disk before on the wire."""
        ballot = self.ballot
        if ballot is None:
            return
        ballot.closes_at = None
        if self.voted_for or not self.may_vote or self.leader or not self.free(now):
            return
        eligible = [
            c
            for c, said in ballot.candidacies.items()
            if c in self.voters and not self.log.older_than_mine(said.last_term, said.last_number)
        ]
        choice = self.heir[1] if self.heir[0] == ballot.term and self.heir[1] in eligible else None
        choice = choice or ballot.choose(eligible, self.score)
        if choice is None:
            return
        self.voted_for = choice
        number, hash = self.log.number, self.log.hash
        sig = self.signer.sign(vote_message(self.chain.cluster_id, ballot.term, choice, number, hash))
        vote = Vote(self.me, ballot.term, choice, number, hash, sig)

        def written(now: float) -> None:
            if self.term != vote.term:
                return
            handed = self.heir == (vote.term, choice)  # then there is nobody else to count for
            for voter in sorted(self.other_voters(), key=lambda v: v != choice):
                if voter == choice or not handed:
                    self.send(voter, vote)
            self._count(vote, now)

        self.persist(written)

    def on_vote(self, sender: str, vote: Vote, now: float) -> None:
        """Hear a vote."""
        if vote.voter != sender or sender not in self.voters:
            return
        if vote.term == self.term + 1 and vote.candidate == self.me and self.leader:
            self._handed[sender] = vote
            return
        if vote.term != self.term or self.ballot is None or sender in self.ballot.votes:
            return
        message = vote_message(self.chain.cluster_id, vote.term, vote.candidate, vote.number, vote.hash)
        if self.verifier.verify(sender, message, vote.sig):
            self._count(vote, now)

    def _count(self, vote: Vote, now: float) -> None:
        ballot = self.ballot
        if ballot is None or ballot.term != vote.term or self.leader:
            return
        ballot.votes[vote.voter] = vote
        mine = tuple(v for v in ballot.votes.values() if v.candidate == self.me)
        roster = self.chain.roster
        if self.me in ballot.candidacies and roster and majority((v.voter for v in mine), self.voters):
            certificate = Certificate(
                cluster=self.chain.cluster_id, term=self.term, leader=self.me, roster=roster.version, votes=mine
            )
            self._follow(certificate, self._reason or self._default_reason(), now)
            self.take_office(certificate, now)
        elif ballot.hopeless(self.voters, self._reached()):
            soon = now + (0.1 + self.rng.random()) * self.timings.start_delay_s
            if ballot.attempt < 3 and self.may_vote:
                self.campaign_at = min(soon, self.campaign_at) if self.campaign_at is not None else soon

    def take_office(self, certificate: Certificate, now: float) -> None:
        """A majority voted for this node."""
        raise NotImplementedError

    def deposed(self) -> None:
        """A later term has a leader: stop leading, if this node does."""
        raise NotImplementedError

    # --- following ----------------------------------------------------------------------------------------------------

    def on_announce(self, sender: str, announce: Announce, now: float) -> None:
        """Follow whom a valid certificate names; ask for acts first if its roster isn't known here."""
        certificate = announce.certificate
        if certificate.leader != sender or certificate.term < self.term or certificate.cluster != self.chain.cluster_id:
            return
        if certificate.term == self.term and self.leader == sender:
            return
        roster = self.chain.roster_at(certificate.roster)
        if roster is None:
            self.send(sender, CatchUp(self.chain.tip_number))
            return
        if not self._may_lead(certificate, roster) or not certificate.verify(self.verifier, roster):
            return
        if certificate.term == self.term and self.leader:
            self._split(now)
            return
        trigger = Trigger(announce.trigger) if announce.trigger in set(Trigger) else Trigger.MANUAL
        self.deposed()
        self._follow(certificate, trigger, now)
        sender, heartbeat = self._early
        self._unanswered = heartbeat if sender == self.leader and heartbeat and heartbeat.term == self.term else None
        self._early = ("", None)
        # On disk before a heartbeat is acknowledged: after a restart this voter then knows whom it may be bound to.
        self.persist(lambda now: self._answer(certificate))

    def _may_lead(self, certificate: Certificate, roster: Roster) -> bool:
        """Whether the roster a certificate names is one that could elect: an old one proves nothing, however well it is signed.

        Once a term has a committed act, that act names the certificate of the term. Before, no voter was changed in it yet.
        """
        newest = self.chain.held(self.chain.tip_number)
        if certificate.term > newest.term:
            return self._in_force(roster)
        return certificate.term == newest.term and certificate.digest == newest.cert

    def _in_force(self, roster: Roster) -> bool:
        """Whether a roster's voters are those in force, as far as is proven here or but for their newest change."""
        return roster.voters in (self.chain.voters, self.chain.voters_before)

    def _answer(self, certificate: Certificate) -> None:
        heartbeat = self._unanswered
        if heartbeat is not None and self.certificate is certificate and not self.leader_gone:
            self._unanswered = None
            self._acknowledge(heartbeat, ok=True)

    def _split(self, now: float) -> None:
        """Two certificates of one term: some home was copied. Nobody waits."""
        self._reason = Trigger.SPLIT_BRAIN
        self.deposed()
        self._release(now, self.timings.death_delay_s)

    def _follow(self, certificate: Certificate, trigger: Trigger, now: float) -> None:
        if certificate.term > self.term:
            self.term = certificate.term
            self.voted_for = ""
        self.leader = self.last_leader = certificate.leader
        self.last_term = certificate.term
        self.leader_gone = False
        self.certificate = certificate
        self.trigger = trigger
        self.failed = 0
        if self.ballot is not None:
            self.ballot.closes_at = None
            if self.ballot.term != self.term:
                self.ballot = None
        self.heir = (0, "")
        self._handed = {}
        self._asking = 0
        self._reason = None
        self._reports = {}
        self._heard_leader(now)

    def _heard_leader(self, now: float) -> None:
        self.last_heard = now
        self.promise_until = max(self.promise_until, now + self.timings.timeout_s)
        if self.may_vote and not self.reigning:
            self.campaign_at = self.promise_until + self.rng.random() * self.timings.start_delay_s
        else:
            self.campaign_at = None

    def on_heartbeat(self, sender: str, heartbeat: Heartbeat, now: float) -> None:
        """Renew the promise and acknowledge; say so when this node can't."""
        if self.chain.roster is None:
            self.send(sender, CatchUp(-1))
            return
        if sender not in self.members:
            return
        followed = heartbeat.term == self.term and sender == self.leader and not self.leader_gone
        if followed:
            self._heard_leader(now)
            if self.durable_term < self.term:
                self._unanswered = heartbeat
                return
        elif heartbeat.term >= self.term:
            self._early = (sender, heartbeat)
        self._acknowledge(heartbeat, ok=followed, to=sender)

    def _acknowledge(self, heartbeat: Heartbeat, ok: bool, to: str = "") -> None:
        log, commit = self.log, self.chain.tip_number
        self.send(to or self.leader, HeartbeatAck(self.term, heartbeat.n, ok, log.number, log.hash, commit))

    def on_resign(self, sender: str, resign: Resign, now: float) -> None:
        """The leader's claim has ended, by its own word: vote for its successor at once, or elect."""
        if sender != self.leader or resign.term != self.term or self.leader_gone or self.reigning:
            return
        self._reason = Trigger.MANUAL if resign.successor else None
        self._release(now, self.timings.death_delay_s)
        self.hand_over(resign, now)

    def hand_over(self, word: Resign, now: float) -> None:
        """Vote for the successor that the term's leader named, at once: its word takes the place of pre-votes and candidacy.

        The leader says up to where its acts go. A voter that knows of later ones doesn't vote, and a successor that lacks some
        doesn't stand, so here too nobody is elected who lacks an act that one of its voters holds.
        """
        successor, term = word.successor, word.term + 1
        roster = self.chain.roster
        if not self.may_vote or successor not in self.voters or roster is None:
            return
        if self.log.older_than_mine(word.last_term, word.last_number):
            return
        if successor == self.me and (self.log.term, self.log.number) < (word.last_term, word.last_number):
            return
        early, self._handed = self._handed, {}
        self.heir = (term, successor)
        trigger = (self._reason or Trigger.MANUAL).value
        self._stand(successor, Candidacy(term, word.last_term, word.last_number, roster.version, trigger, ()), now)
        if self.ballot is not None and self.ballot.term == term:
            self.ballot.until = now + self.timings.handover_s
            self.campaign_at = now + self.timings.handover_s * (1 + self.rng.random())
        for voter, vote in early.items():
            self.on_vote(voter, vote, now)
