"""What goes wrong in a seed: each fault has a number and randomness of its own, so that any of them can be left out."""

from __future__ import annotations

import random
from collections.abc import Collection
from enum import Enum
from typing import TYPE_CHECKING

from agent_core.election.messages import Vote
from agent_core.network import DialResult

if TYPE_CHECKING:
    from agent_core.simulated.search import World
    from agent_core.simulated.search_node import Node


#: How a network is cut: in two, one way only, into islands, or in two with one node that both sides reach.
SHAPES = ("halves", "halves", "one way", "islands", "bridge")


def _blocked(shape: str, inside: list[str], outside: list[str], rng: random.Random) -> frozenset[tuple[str, str]]:
    """From whom to whom nothing passes."""
    if shape == "islands":
        everybody = [*inside, *outside]
        island = {n: i // 2 for i, n in enumerate(everybody)}
        return frozenset((a, b) for a in everybody for b in everybody if island[a] != island[b])
    if shape == "bridge" and len(outside) > 1:
        outside = outside[1:]
    away = frozenset((a, b) for a in inside for b in outside)
    back = frozenset((b, a) for a, b in away)
    if shape == "one way":
        return rng.choice((away, back))
    return away | back


class Moment(Enum):
    """What a leader, or whoever becomes one, did just before something goes wrong."""

    COMMITTED = "committed"
    APPENDED = "appended"
    BEAT = "beat"
    WON_A_VOTE = "won a vote"  #: a candidate


class Faults:
    """The faults of one seed, scheduled ones (``f1``, ``f2`` …) and ones that wait for the worst moment (``b1``, ``b2`` …).

    Args:
        world: what they happen to.
        seed: decides them.
        without: the ones left out.
        only: if given, all others are left out.
    """

    def __init__(self, world: World, seed: int, without: Collection[str], only: Collection[str] | None) -> None:
        self._world = world
        self._seed = seed
        self._without = frozenset(without)
        self._only = None if only is None else frozenset(only)
        self._scheduled = self._betrayals = 0
        temper = random.Random(f"{seed} temper")
        self._every_s = temper.choice((0.7, 1.5, 3.0))
        #: How soon a connection that broke silently is noticed, at the latest (s).
        self.notice_s = temper.choice((0.5, 3.0, 10.0))
        self._losses = 0
        self._frozen: Node | None = None
        #: The faults that happened, in order.
        self.happened: list[str] = []

    def start(self) -> None:
        """Begin."""
        self._world.at(random.Random(f"{self._seed} start").uniform(1, 6), self._next)

    def _left_out(self, name: str) -> bool:
        return name in self._without or (self._only is not None and name not in self._only)

    def _next(self) -> None:
        world = self._world
        if not world.faulty:
            return
        self._scheduled += 1
        name = f"f{self._scheduled}"
        rng = random.Random(f"{self._seed} {name}")
        world.at(world.now + rng.expovariate(1 / self._every_s), self._next)
        if not self._left_out(name):
            self._strike(name, rng)

    def _strike(self, name: str, rng: random.Random) -> None:
        world, everybody = self._world, list(self._world.nodes.values())
        self.happened.append(name)
        victim = rng.choice(everybody)
        if rng.random() < 0.4:
            leaders = [n for n in everybody if n.alive and n.machine.reign is not None]
            victim = rng.choice(leaders) if leaders else victim
        kind = rng.random()
        if kind < 0.22:
            self.crash(victim, rng.choice((0.02, 0.5, 2.0, 6.0)) * rng.uniform(0.5, 1.5), name)
        elif kind < 0.32:
            for node in rng.sample(everybody, len(everybody) // 2 + 1):
                self.crash(node, rng.choice((0.02, 0.5)) * rng.uniform(0.5, 1.5), name)
        elif kind < 0.42:
            self.pause(victim, rng.choice((0.2, 1.0, 4.0)) * rng.uniform(0.5, 1.5), name)
        elif kind < 0.46:
            self.starve(victim, rng, name)
        elif kind < 0.48:
            self.slow_disk(victim, rng, name)
        elif kind < 0.66:
            self.cut(victim, rng, name)
        elif kind < 0.71:
            self._betray(victim, rng, name)
        elif kind < 0.76:
            self._freeze(victim, rng, name)
        elif kind < 0.84 and victim.alive:
            self._ask_to_resign(victim, name)
        elif kind < 0.92:
            self.restore(victim, rng, name)
        elif victim.alive:
            world.later(victim, world.now, self.rebuild, victim, name)

    def worst_moment(self, node: Node, moment: Moment) -> None:
        """A leader has just done something: now and then that is when it falls silent.

        Args:
            node: the leader.
            moment: what it did.
        """
        self._betrayals += 1
        name = f"b{self._betrayals}"
        if not self._world.faulty or not node.alive or self._left_out(name):
            return
        rng = random.Random(f"{self._seed} {name}")
        self.happened.append(name)
        if moment is Moment.COMMITTED and rng.random() < 0.3:
            self._ask_to_resign(node, name)
        elif moment is Moment.COMMITTED:
            self._betray(node, rng, name)
        elif moment is Moment.APPENDED:
            self._freeze(node, rng, name)
        elif moment is Moment.WON_A_VOTE:
            self._betray(node, rng, name, remembers=True)
        else:
            self._stall(node, rng, name)

    def voted(self, vote: Vote) -> None:
        """A vote went out: what a frozen leader of an earlier term said last arrives now of all times, or the power fails."""
        world, frozen = self._world, self._frozen
        if vote.voter != vote.candidate and world.rng.random() < 0.01:
            world.at(world.now, self.worst_moment, world.nodes[vote.candidate], Moment.WON_A_VOTE)
        if frozen is None or vote.term <= frozen.machine.term or not world.faulty:
            return
        self._frozen = None
        mended = world.now + world.rng.uniform(0.0, 0.02)
        frozen.paused_until = min(frozen.paused_until, mended + world.rng.uniform(0.02, 0.3))
        world.at(mended, world.mend)

    # --- the kinds ----------------------------------------------------------------------------------------------------

    def _ask_to_resign(self, node: Node, why: str) -> None:
        self._world.note(f"{why}: {node.peer_id} is asked to resign")
        self._world.later(node, self._world.now, node.resign)

    def crash(self, node: Node, for_s: float, why: str = "") -> None:
        """End a node's process; it starts again after so many seconds."""
        world = self._world
        if not node.alive:
            return
        world.note(f"{why}: {node.peer_id} crashes for {for_s:.2f} s")
        watchers = [p for p in world.nodes.values() if node.peer_id in p.connected]
        node.crash()
        for peer in watchers:
            if world.reachable(node.peer_id, peer.peer_id):
                world.later(
                    peer, world.now + world.delay(), peer.disconnect, node.peer_id, True, peer.connected[node.peer_id]
                )
            else:
                noticed = world.now + world.rng.random() * self.notice_s
                world.later(peer, noticed, peer.disconnect, node.peer_id, False, peer.connected[node.peer_id])
        world.at(world.now + for_s, self.restart, node)

    def restart(self, node: Node) -> None:
        """Start a node's process again, unless it runs."""
        if not node.alive:
            self._world.note(f"{node.peer_id} starts")
            node.start()
            self._world.join(node)

    def pause(self, node: Node, for_s: float, why: str = "") -> None:
        """Stop a node's process for so long; the kernel goes on answering for it."""
        if node.alive:
            self._world.note(f"{why}: {node.peer_id} is paused for {for_s:.2f} s")
            node.paused_until = max(node.paused_until, self._world.now + for_s)

    def starve(self, node: Node, rng: random.Random, why: str = "") -> None:
        """A node's process gets to run only now and then, for some seconds."""
        world = self._world
        world.note(f"{why}: {node.peer_id} is starved")
        at = world.now
        for _ in range(rng.randint(5, 20)):
            for_s = rng.uniform(0.05, 0.8)
            world.at(at, self.pause, node, for_s, why)
            at += for_s + rng.uniform(0.01, 0.2)

    def slow_disk(self, node: Node, rng: random.Random, why: str = "") -> None:
        """A node's disk takes up to a second for each write, for some seconds."""
        self._world.note(f"{why}: the disk of {node.peer_id} is slow")
        node.disk_slow_until = self._world.now + rng.uniform(2.0, 8.0)

    def cut(
        self,
        first: Node,
        rng: random.Random,
        why: str = "",
        alone: bool = False,
        for_s: float | None = None,
        noticed: bool = True,
    ) -> None:
        """Cut the network in two; connections break when somebody notices."""
        world = self._world
        if world.blocked:
            return
        others = [n for n in world.nodes if n != first.peer_id]
        rng.shuffle(others)
        inside = [first.peer_id, *others[: 0 if alone else rng.randrange(len(others))]]
        shape = "halves" if alone or for_s is not None else rng.choice(SHAPES)
        world.blocked = _blocked(shape, inside, [n for n in others if n not in inside], rng)
        for a in world.nodes.values():
            for b in sorted(a.connected):
                if noticed and not world.reachable(a.peer_id, b):
                    world.later(a, world.now + world.rng.random() * self.notice_s, self._noticed, a, b)
        drawn_s = rng.choice((0.5, 5.0, 8.0)) * rng.uniform(0.5, 1.5)
        length_s = drawn_s if for_s is None else for_s
        world.note(f"{why}: {' '.join(sorted(inside))} cut off from the rest ({shape}) for {length_s:.2f} s")
        world.at(world.now + length_s, world.mend)

    def _noticed(self, node: Node, peer: str) -> None:
        if not self._world.reachable(node.peer_id, peer):
            node.disconnect(peer, False)

    def _betray(self, node: Node, rng: random.Random, why: str, remembers: bool = False) -> None:
        """A node falls silent with what it alone knows, and forgets it or, if it is to remember, the rest crashes."""
        world = self._world
        if not world.faulty or world.blocked:
            return
        self.cut(node, rng, why, alone=True)
        if not remembers and rng.random() < 0.5:
            self.crash(node, rng.uniform(1.0, 6.0), why)
        else:
            for other in world.nodes.values():
                if other is not node:
                    self.crash(other, rng.uniform(0.01, 0.3), why)

    def _freeze(self, node: Node, rng: random.Random, why: str) -> None:
        """A leader says its last word and stops; what it said is under way until the others have another leader."""
        if self._world.blocked or not node.alive:
            return
        for_s = rng.uniform(4.0, 8.0)
        self.cut(node, rng, why, alone=True, for_s=for_s, noticed=False)
        self.pause(node, for_s + rng.uniform(0.1, 1.0), why)
        self._frozen = node

    def _stall(self, node: Node, rng: random.Random, why: str) -> None:
        """A leader stops with acknowledgements on their way to it, and is cut off when it goes on."""
        for_s = rng.uniform(0.3, 2.5)
        self.pause(node, for_s, why)
        self._world.at(self._world.now + for_s - 0.001, self.cut, node, rng, why, True, rng.uniform(3.0, 8.0))

    def rebuild(self, node: Node, why: str = "") -> None:
        """The node's mesh is rebuilt: it drops its claim first, then its connections close and its port refuses a while."""
        world = self._world
        world.note(f"{why}: the mesh of {node.peer_id} is rebuilt")
        node.rebuild_mesh()
        gone, node.connected = node.connected, {}
        for name in sorted(gone):
            peer = world.nodes[name]
            if peer.alive:
                connection = peer.connected.get(node.peer_id)
                if connection is not None:
                    world.later(peer, world.now + world.delay(), peer.disconnect, node.peer_id, True, connection)
                world.later(peer, world.now + world.delay(), peer.probed, node.peer_id, DialResult.REFUSED)
        world.at(world.now + world.rng.uniform(0.5, 1.5), self._rebuilt, node)

    def _rebuilt(self, node: Node) -> None:
        if node.alive:
            self._world.join(node)

    def restore(self, node: Node, rng: random.Random, why: str) -> None:
        """The home comes back as it was copied some time ago, and its node is told so; one at a time, or no majority remembers."""
        world = self._world
        if node.backup is None or any(n.doubt for n in world.nodes.values()):
            return
        self._losses += 1
        self.crash(node, rng.choice((0.02, 0.5)) * rng.uniform(0.5, 1.5), why)
        if not node.alive:
            world.note(
                f"{why}: the home of {node.peer_id} is restored from a copy {world.now - node.backup.at:.2f} s old"
            )
            node.restore(f"loss {self._losses}", self._losses)

    def heal(self) -> None:
        """Nothing is broken any more."""
        world = self._world
        world.note("everything is healed")
        world.faulty = False
        for node in world.nodes.values():
            node.paused_until = min(node.paused_until, world.now)
            self.restart(node)
        world.mend()
        world.at(world.now + 2.0, world.mend)  # what closed late in the trouble
