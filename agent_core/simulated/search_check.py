"""What must hold at every step of the search, whatever happens: the safety of SPEC section 5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_core.election.messages import Vote

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
        self.votes: dict[tuple[str, int], str] = {}
        self.acts: list[str] = []
        self.last_claim_s = 0.0

    def vote(self, vote: Vote) -> None:
        """A vote went on the wire: one a voter and term, across crashes too."""
        known = self.votes.setdefault((vote.voter, vote.term), vote.candidate)
        if known != vote.candidate:
            self._fail(f"{vote.voter} voted for {known} and {vote.candidate} in term {vote.term}")

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
        """Nobody's committed prefix contradicts another's."""
        acts = node.chain.committed
        shared = min(len(acts), len(self.acts))
        # Hash links make the whole prefix equal when its last act is.
        if shared and acts[shared - 1].hash != self.acts[shared - 1]:
            self._fail(f"{node.peer_id} committed another act number {shared - 1}")
        self.acts.extend(a.hash for a in acts[shared:])

    def healed(self) -> None:
        """After healing somebody leads, nothing committed is lost, and all folds are equal."""
        nodes = list(self._world.nodes.values())
        leaders = [n for n in nodes if n.machine.leading(n.local())]
        if len(leaders) != 1:
            self._fail(f"{len(leaders)} leaders after healing")
        for node in nodes:
            if len(node.chain.committed) < len(self.acts):
                self._fail(f"{node.peer_id} lost committed acts: {len(node.chain.committed)} of {len(self.acts)}")
            if node.canonical() != nodes[0].canonical():
                self._fail(f"the folds of {node.peer_id} and {nodes[0].peer_id} differ")

    def _fail(self, what: str) -> None:
        raise Violation(f"at {self._world.now:.3f} s: {what}")
