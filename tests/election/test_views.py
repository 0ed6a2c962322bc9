"""What a read of the election says is of one instant: never the leader of one term with the claim of another."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_core.election import views
from agent_core.feeds.model import Missing
from agent_core.shapes import Election
from agent_core.simulated.search import World
from agent_core.simulated.search_check import Checker
from agent_core.simulated.search_node import Node
from agent_core.views import ViewContext


class _NoBodies:
    def body(self, key: object) -> Missing:
        return Missing.NONE


class Reader(Checker):
    """Reads the election of whoever got an input, as a face would, and holds it against who was seen to lead."""

    reads = unsure = 0

    def claims(self, node: Node) -> None:
        super().claims(node)
        snapshot = views.snapshot(node.machine, node.local())
        ctx = ViewContext(me=node.peer_id, chain=node.chain, bodies=_NoBodies(), now_ms=0)
        self.agrees(node, views.election(msgspec.structs.replace(snapshot, timeline=()), ctx))

    def agrees(self, node: Node, said: Election) -> None:
        self.reads += 1
        leader, claim = said.leader, said.claim
        if leader is None:
            assert claim is None
            return
        assert self.leaders[leader.term] == leader.peer_id
        assert leader.term <= said.term
        assert (claim is not None) == leader.certain
        if claim is None:
            self.unsure += 1
            return
        assert (claim.peer_id, claim.term, said.term) == (leader.peer_id, leader.term, leader.term)
        assert claim.own == (node.machine.leading(node.local())) == (claim.peer_id == node.peer_id)
        assert claim.left_s > 0 or not claim.own
        assert abs(claim.read_s + claim.left_s - claim.until_s) < 1e-5
        assert abs(claim.age_s + claim.left_s - node.machine.timings.lease_s) < 1e-5


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 10**6))
def test_a_read_never_mixes_two_terms(seed: int) -> None:
    world = World(seed)
    reader = world.check = Reader(world)
    world.run()
    assert reader.reads > 500
    assert reader.unsure
