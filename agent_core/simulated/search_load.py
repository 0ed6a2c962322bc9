"""What the search's nodes have to do: posts, proposals and votes from everybody, acts from whoever leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent_core.decisions.model import DECISION_PROPOSE, DECISION_VOTE, ClosePayload, ProposeData, VoteData
from agent_core.election.acts import ActKind
from agent_core.feeds.model import Draft, Head
from agent_core.hmmm.model import HMMM_MESSAGE, Intent, MessageData, Stance
from agent_core.roster.fold import PolicyPayload, RevokePayload, VoterPayload
from agent_core.roster.model import Policy
from agent_core.roster.warrants import Verb, Warrant
from agent_core.simulated.search_fakes import EPOCH_MS, warrant

if TYPE_CHECKING:
    from agent_core.simulated.search import World
    from agent_core.simulated.search_node import Node

#: Nothing new is written in the last seconds, so that everything can arrive.
QUIET_FROM_S = 52.0
ROOMS = ("41", "42", "43")


class Load:
    """Writes at random.

    Args:
        world: where.
        revokes: whether a voter is revoked along the way.
    """

    def __init__(self, world: World, revokes: bool = False) -> None:
        self._world = world
        self._revokes = revokes

    def start(self) -> None:
        """Begin."""
        self._world.at(0.5, self._write)
        self._world.at(2.0, self._lead)

    def _write(self) -> None:
        world = self._world
        if world.now > QUIET_FROM_S:
            return
        world.at(world.now + world.rng.expovariate(2.0), self._write)
        node = world.rng.choice(list(world.nodes.values()))
        if node.alive and node.paused_until <= world.now:
            node.append(self._draft(node))

    def _draft(self, node: Node) -> Draft:
        rng = self._world.rng
        kind = rng.random()
        decisions = list(node.decisions.proposals)
        if kind < 0.2:
            data = ProposeData(
                cluster=node.cluster,
                roster_version=node.chain.tip_number,
                project="search",
                task="load",
                deadline_ms=EPOCH_MS + int(self._world.now * 1000) + 10_000,
            )
            return Draft(DECISION_PROPOSE, data)
        if kind < 0.5 and decisions:
            choice = rng.choice(("approve", "reject", "abstain"))
            return Draft(DECISION_VOTE, VoteData(decision=rng.choice(decisions), choice=choice))
        room = rng.choice(ROOMS)
        known = node.rooms.hashes(room)
        if known and rng.random() < 0.5:
            return Draft(
                HMMM_MESSAGE,
                MessageData(room=room, intent=Intent.ANSWER, parent=rng.choice(known), stance=Stance.AGREE),
            )
        return Draft(HMMM_MESSAGE, MessageData(room=room, intent=Intent.UPDATE))

    def _lead(self) -> None:
        world = self._world
        if world.now > QUIET_FROM_S:
            return
        world.at(world.now + world.rng.expovariate(2.0), self._lead)
        for node in world.nodes.values():
            if node.alive and node.paused_until <= world.now and node.machine.leading(node.local()):
                kind, payload = self._act(node)
                node.machine.propose(kind, msgspec.Raw(msgspec.json.encode(payload)), node.local())
                node.after_input()

    def _act(self, node: Node) -> tuple[ActKind, msgspec.Struct]:
        world = self._world
        voters = node.chain.voters
        outside = [n for n in world.nodes if n not in voters]
        decisions = list(node.decisions.proposals)
        roll = world.rng.random()
        doubted = [n for n in world.nodes.values() if n.doubt]
        if doubted and roll < 0.3:
            return ActKind.VOTER_ADD, VoterPayload(peer_id=doubted[0].peer_id, trusts=doubted[0].doubt)
        if outside and roll < 0.5:
            return ActKind.VOTER_ADD, VoterPayload(peer_id=world.rng.choice(outside))
        # One at a time, so that three are left: of two, one whose home is restored would be one too many.
        settled = node.machine.reign is not None and not node.machine.reign.queue and not node.machine.log.suffix
        if self._revokes and len(voters) > 4 and settled:
            self._revokes = False
            victim = max(v for v in voters if v != next(iter(world.nodes)))
            cut = tuple(
                Head(author=a, epoch=e, size=len(f), root="") for (a, e), f in node.store.items() if a == victim
            )
            revoked = RevokePayload(peer_id=victim, heads=cut, warrant=self._asked(node, Verb.REVOKE, victim))
            return ActKind.MEMBER_REVOKE, revoked
        if roll < 0.15 and len(voters) > 3 and settled:
            return ActKind.VOTER_REMOVE, VoterPayload(peer_id=world.rng.choice(voters))
        if roll < 0.4 and decisions:
            cut = tuple(Head(author=a, epoch=e, size=len(f), root="") for (a, e), f in sorted(node.store.items()))
            return ActKind.DECISION_CLOSE, ClosePayload(decision=world.rng.choice(decisions), cut=cut)
        policy = world.rng.choice(list(Policy))
        return ActKind.POLICY, PolicyPayload(policy=policy, warrant=self._asked(node, Verb.POLICY, policy.value))

    def _asked(self, node: Node, verb: Verb, target: str) -> Warrant:
        """The founder, who has authority ``master``, asks for it."""
        at_ms = EPOCH_MS + int(self._world.now * 1000)
        return warrant(next(iter(self._world.nodes)), node.cluster, at_ms, verb, target)
