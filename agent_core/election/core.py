"""What both sides of the election machine stand on: identity, roster, log, promise, persistence, and the outputs."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from agent_core.election.acts import CommitData
from agent_core.election.chain import ActChain, parse_act
from agent_core.election.log import ActLog
from agent_core.election.messages import AnyMessage, Certificate
from agent_core.election.model import (
    AppendAct,
    AppendCommit,
    Committed,
    Dropped,
    DurableState,
    Persist,
    Probe,
    Proposed,
    Score,
    State,
    StateChanged,
    Timings,
    Trigger,
)
from agent_core.identity.signing import Signer, Verifier


class Send(msgspec.Struct, frozen=True):
    """Send a message to a connected peer."""

    to: str
    message: AnyMessage


Output: TypeAlias = Send | Persist | Probe | AppendAct | AppendCommit | StateChanged | Proposed | Dropped | Committed


class Core:
    """State shared by :class:`Voting` and :class:`Leading`; times are seconds on the caller's ``CLOCK_BOOTTIME``.

    Args:
        chain: the acts proven here; the caller applies feed entries to it, this machine what the election stream brings.
        signer: signs votes and acknowledgements as this node.
        verifier: checks those of others.
        rng: where delays come from.
        timings: see :class:`Timings`.
        durable: what was last persisted.
        now: the time of the start.
        doubt: the mark of the home's loss of memory, if it had one: it has no vote until a promotion names that mark.
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
        self.me = signer.peer_id
        self.chain = chain
        self.signer = signer
        self.verifier = verifier
        self.rng = rng
        self.timings = timings
        self.started_at = now
        self.term = durable.term
        self.voted_for = durable.voted_for
        self.doubt = doubt
        self.durable_term = durable.term
        chain.learn(filter(None, map(parse_act, durable.acts)), durable.proofs)
        self.log = ActLog(chain, verifier)
        for held in filter(None, map(parse_act, durable.acts)):
            chain.hold(held)
        self.log.restore(durable.tip)

        self.leader = ""  #: of ``term``, proven by ``certificate``
        self.certificate: Certificate | None = None
        self.trigger = Trigger.DISCOVERY_FAILED
        self.last_leader = ""  #: the newest known here, of ``last_term``
        self.last_term = 0
        self.last_heard = now  #: newest heartbeat of a leader
        self.leader_gone = False  #: resigned, or proven dead: this term's leader leads no more
        self.connected: set[str] = set()
        self.scores: dict[str, Score] = {}
        self.members: frozenset[str] = frozenset()
        self.voters: tuple[str, ...] = ()
        self.is_voter = False
        self._revision = -1
        self._tip = chain.tip_number
        self._out: list[Output] = []
        self._tokens = 0
        self._then: dict[int, Callable[[float], None]] = {}
        self._shown: tuple[State, int, str] | None = None
        # A voter that was one before this start may be bound by an acknowledgement it has forgotten.
        bound = self.me in chain.voters or durable.term > 0
        self.promise_until = now + timings.timeout_s if bound else now

    # --- small helpers ------------------------------------------------------------------------------------------------

    @property
    def may_vote(self) -> bool:
        """Whether this node is a voter whose memory of votes can be trusted."""
        return self.is_voter and not self.doubt

    @property
    def sole_voter(self) -> bool:
        return self.voters == (self.me,)

    @property
    def reaches_majority(self) -> bool:
        """Whether this node has open connections to voters enough, itself counted."""
        reached = sum(1 for v in self.voters if v == self.me or v in self.connected)
        return reached > len(self.voters) // 2

    def score(self, peer_id: str) -> Score:
        """How fit the peer is to lead, as this node observed it."""
        return self.scores.get(peer_id) or _NEUTRAL

    def other_voters(self) -> list[str]:
        """The voters this node is connected to."""
        return [v for v in self.voters if v != self.me and v in self.connected]

    def other_members(self) -> list[str]:
        """The members this node is connected to."""
        return [p for p in sorted(self.connected) if p in self.members and p != self.me]

    def send(self, to: str, message: AnyMessage) -> None:
        self._out.append(Send(to, message))

    def emit(self, output: Output) -> None:
        self._out.append(output)

    def new_token(self) -> int:
        self._tokens += 1
        return self._tokens

    def persist(self, then: Callable[[float], None], *extra: CommitData) -> None:
        """Write the state down, and call ``then`` with the time once it is."""
        acts, proofs = self.chain.loose()
        token = self.new_token()
        term = self.term

        def written(now: float) -> None:
            self.durable_term = max(self.durable_term, term)
            then(now)

        self._then[token] = written
        state = DurableState(
            term=term,
            voted_for=self.voted_for,
            tip=self.log.hash,
            acts=acts,
            proofs=(*proofs, *extra),
        )
        self._out.append(Persist(state, token))


_NEUTRAL = Score()
