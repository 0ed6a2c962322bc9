"""What must hold at every step of the search, whatever happens: the safety of SPEC section 5."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import msgspec

from agent_core.decisions.model import ClosePayload
from agent_core.decisions.tally import Close, electorate, tally
from agent_core.election.acts import ActData, ActKind
from agent_core.election.chain import VOTER_KINDS
from agent_core.election.messages import Vote
from agent_core.grammar import a

if TYPE_CHECKING:
    from agent_core.simulated.search import World
    from agent_core.simulated.search_node import Node


class Violation(AssertionError):
    """An invariant doesn't hold."""


class Checker:
    """Watches a world from outside, with true time.

    Args:
        world: the world.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.leaders: dict[int, str] = {}
        self.votes: dict[tuple[str, int, int], str] = {}
        self.acts: list[str] = []
        self._term = 1  # of the last committed act
        self._closes: dict[str, Close] = {}
        self._results: dict[str, tuple[object, ...]] = {}
        self.last_claim_s = 0.0

    def vote(self, vote: Vote) -> None:
        """A vote went on the wire: one a voter and term, across crashes too. What a restored home forgot binds others, not it."""
        key = (vote.voter, self._world.nodes[vote.voter].epoch, vote.term)
        known = self.votes.setdefault(key, vote.candidate)
        if known != vote.candidate:
            self._fail(f"{vote.voter} voted for {known} and {vote.candidate} in term {vote.term}")

    def asked(self, node: Node, act: ActData) -> None:
        """A leader asks for an act: its term's own is committed before any other, and one change of voters at a time is open."""
        last = node.chain.committed[-1].term
        if act.kind != ActKind.TERM and last != act.term:
            self._fail(
                f"{node.peer_id} asked for {a(act.kind)} act in term {act.term} before that term's own was committed"
            )
        if act.kind in VOTER_KINDS and any(h.changes_voters for h in node.machine.log.suffix):
            self._fail(f"{node.peer_id} asked for a second change of voters at once in term {act.term}")

    def claims(self, node: Node) -> None:
        """One certified leader a term; no two claims at one time."""
        machine = node.machine
        if machine.reign is None:
            node.claim = None
            return
        certificate = machine.reign.certificate
        known = self.leaders.setdefault(certificate.term, node.peer_id)
        if known != node.peer_id:
            self._fail(f"{known} and {node.peer_id} both lead term {certificate.term}")
        until = machine.claim_until
        if until == node.claim or until is None:
            return
        node.claim = until
        if not machine.leading(node.local()):
            return
        self.last_claim_s = self._world.now
        for other in self._world.nodes.values():
            if other is not node and other.alive and other.machine.leading(other.local()):
                self._fail(
                    f"{node.peer_id} (term {machine.term}) and {other.peer_id} (term {other.machine.term}) claim to lead"
                )

    def committed(self, node: Node) -> None:
        """Nobody's committed prefix contradicts another's; every term opens with its own act; results of decisions agree."""
        acts = node.chain.committed
        shared = min(len(acts), len(self.acts))
        # Hash links make the whole prefix equal when its last act is.
        if shared and acts[shared - 1].hash != self.acts[shared - 1]:
            self._fail(f"{node.peer_id} committed another act number {shared - 1}")
        for act in acts[shared:]:
            if act.term > self._term and act.kind != ActKind.TERM:
                self._fail(f"term {act.term} opened with {a(act.kind)} act")
            self._term = max(self._term, act.term)
            if act.kind == ActKind.DECISION_CLOSE:
                payload = msgspec.json.decode(act.payload, type=ClosePayload)
                self._closes.setdefault(payload.decision, Close(act, payload))
            self.acts.append(act.hash)
        self.results(node)

    def results(self, node: Node) -> None:
        """What a closed decision came to is the same on every node that holds what its close names, and stays so."""
        fresh = [c for d, c in self._closes.items() if d not in node.results_seen]
        for close in fresh:
            decision = close.payload.decision
            proposal = node.decisions.proposals.get(decision)
            if close.act.number > node.chain.tip_number or proposal is None or close.missing(node.size):
                continue
            node.results_seen.add(decision)
            roster = electorate(proposal, node.chain)
            if roster is None:
                continue
            counted = tally(node.decisions, proposal, roster, close, 0)
            result = (counted.outcome, sorted((v, b.hash) for v, b in counted.counted.items()))
            known = self._results.setdefault(decision, result)
            if known != result:
                self._fail(f"{node.peer_id} counts {result[0]} for a decision that came to {known[0]}")

    def healed(self) -> None:
        """After healing somebody leads, nothing committed is lost, and all folds are equal."""
        nodes = list(self._world.nodes.values())
        leaders = [n for n in nodes if n.machine.leading(n.local())]
        if len(leaders) != 1:
            self._fail(f"{len(leaders)} leaders after healing")
        leader = leaders[0]
        if leader.chain.committed[-1].term != leader.machine.term:
            self._fail(f"{leader.peer_id} leads term {leader.machine.term} and commits nothing")
        roster = leader.chain.roster
        assert roster is not None
        # Nobody owes a revoked node anything.
        nodes = [n for n in nodes if roster.is_member(n.peer_id)]
        for node in nodes:
            node.results_seen.clear()
            self.results(node)
            if len(node.chain.committed) < len(self.acts):
                self._fail(f"{node.peer_id} lost committed acts: {len(node.chain.committed)} of {len(self.acts)}")
            if node.canonical() != nodes[0].canonical():
                self._fail(f"the folds of {node.peer_id} and {nodes[0].peer_id} differ")

    def _fail(self, what: str) -> NoReturn:
        raise Violation(f"at {self._world.now:.3f} s: {what}")
