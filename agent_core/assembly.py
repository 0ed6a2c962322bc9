"""The rooms of one node, built in order and connected: who tells whom what, and what the facade sees of them."""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

import trio

from agent_core.api import http, live
from agent_core.api.operations import Facade
from agent_core.api.parts import NodeParts, Sources
from agent_core.api.sessions import SessionKind
from agent_core.blocks.service import Blocks, BlockSettings
from agent_core.blocks.store import BlockStore
from agent_core.clock import HybridClock, wall_ms
from agent_core.decisions.closer import Closer
from agent_core.decisions.service import DecisionsService
from agent_core.election.model import Timings
from agent_core.election.service import ElectionService
from agent_core.errors import ChorusError
from agent_core.feeds.heads import FEED_EPOCH, FeedHead
from agent_core.feeds.model import Entry
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.folding import Folding
from agent_core.folds import FoldSet
from agent_core.hmmm.service import RoomsService
from agent_core.identity import keys
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier
from agent_core.instance import Instance, read_instance
from agent_core.lost import IDENTITY_FILES, another_identity, database_lost, identity_lost, used, where_is_not_known
from agent_core.mesh.config import MeshConfig
from agent_core.mesh.known import KnownPeers, known_addresses
from agent_core.mesh.service import LibP2PNetwork
from agent_core.multiaddrs import parse_peer
from agent_core.ports import Ports
from agent_core.roster.model import Kind, Policy, VoterUse
from agent_core.roster.moving import Moving
from agent_core.roster.roles import load as load_roles
from agent_core.roster.service import CLUSTER_KEY, RosterService
from agent_core.roster.settings import Applicant, RosterSettings, host_facts, ticket_of
from agent_core.scrub import Scrub
from agent_core.settings import default_agent_id
from agent_core.shapes import KEYED_SLICES, STATE_SLICES
from agent_core.shhh.door import Door
from agent_core.shhh.engine import builtin
from agent_core.snapshot import open_snapshots
from agent_core.surroundings import Surroundings
from agent_core.telemetry.health import HealthMonitor, node_checks
from agent_core.telemetry.metrics import Metrics
from agent_core.telemetry.supervisor import Run
from agent_core.timekeeping import Timekeeping
from agent_core.ucxl.service import UcxlService
from agent_core.wire import topics
from agent_core.wire.service import Received, Speaker, Wire

if TYPE_CHECKING:
    from trio_typing import TaskStatus

    from agent_core.node import Node

log = logging.getLogger("chorus.node")

_HEADS_WAITING = 256


class Assembly:
    """Everything behind the facade of one node.

    Args:
        node: the node's life: settings, notes, sessions, slices.
        store: the open store.
        blocks: the open store of blocks.
        door: SHHH.

    Raises:
        StoreError: the identity can't be used.
        PortInUse: a port that was asked for is taken.
        ConfigError: settings that don't go together.
    """

    def __init__(self, node: Node, store: Store, blocks: BlockStore, door: Door) -> None:
        self._node, self._store = node, store
        self.identity = _identity(node, store)
        signer, self._verifier = Ed25519Signer(self.identity.seed), Ed25519Verifier()
        self._me = self.identity.peer_id
        self._clock = HybridClock(wall_ms, store.latest_hlc(self._me))
        values = node.settings.values

        self._ports = Ports(node.settings, store, node.ports, node.note)
        self.network = LibP2PNetwork(self._mesh_config(), node.note, node.settled)
        self.feeds = Feeds(
            store,
            signer,
            self._verifier,
            self._clock,
            door=door.draft,
            network=self.network,
            instance=node.home.instance,
            interval_s=values.feeds.exchange_s,
        )
        self.blocks = Blocks(
            blocks,
            self.feeds,
            self.network,
            settings=BlockSettings(
                max_bytes=values.blocks.max_mib << 20,
                eager_bytes=values.blocks.eager_mib << 20,
                room_bytes=values.blocks.room_mib << 20,
            ),
            providers=self.network if values.dht.enabled else None,
        )
        here = self.here = Surroundings(self, node, store, self._verifier)
        self.known_peers = KnownPeers(self.network, self.feeds)
        bound = self._bound()
        self._snapshots = open_snapshots(node.home.snapshot)
        self.folds = self._fold(bound)
        self.folding = Folding(lambda: self.folds, self._snapshots, self._folded)
        known = self.folds.roster.get(self._me) if self.folds.roster else None
        # Who was enrolled under a name keeps it until another one is asked for.
        self.agent_id = values.agent.id or (known.agent_id if known else default_agent_id(self.identity.kind.value))
        self.role = values.agent.role or (known.role if known else default_role(self.identity.kind))
        self.election = ElectionService(
            network=self.network,
            appender=self.feeds,
            durable=self.feeds,
            chain=self.folds.chain,
            signer=signer,
            verifier=self._verifier,
            rng=random.Random(),
            timings=Timings(
                heartbeat_s=values.election.heartbeat_s,
                timeout_s=values.election.timeout_s,
                discovery_s=values.cluster.discovery_s,
                stability_s=values.election.stability_s,
            ),
            doubt=here.doubt,
            on_trusted=self._trusted,
        )
        if bound:
            self._note_enrolment(bound)  # homes of before that was kept outside the database learn it here
        self.roster = self._roster(signer)
        self.wire = Wire(
            self.network,
            Speaker(self.agent_id, self.role, "human" if self.identity.kind is Kind.HUMAN else "agent"),
            self._clock,
            here.standing,
            door=door.text,
            name=here.name,
        )
        self.hmmm = RoomsService(
            self.feeds,
            lambda: here.rooms,
            here.context,
            store.heads,
            lambda address: self.ucxl.latest(address),  # made below
            here.periods,
        )
        self.decisions = DecisionsService(self.feeds, lambda: here.decisions, here.context)
        self.ucxl = UcxlService(self.feeds, lambda: here.ucxl, here.context, max_bytes=values.blocks.max_mib << 20)
        self.closer = Closer(
            lambda: here.decisions, here.context, self.election, lambda: self.folds.heads(), self.ucxl.record
        )
        sources = Sources(
            status=here.status,
            election=here.election,
            peers=here.peers,
            context=here.context,
            folds=here,
            waiting=self.roster.waiting,
            entries=store,
            findings=builtin().find,
            periods=here.periods,
            check_clock=self.feeds.renewal.check,
        )
        self.facade = Facade(
            NodeParts(
                sources=sources,
                election=self.election,
                moving=self._moving(),
                roster=self.roster.asking,
                rooms=self.hmmm,
                decisions=self.decisions,
                addresses=self.ucxl,
                blocks=self.blocks,
                feeds=self.feeds,
                renew=self.feeds.renew,
                verify=here.verify,
                sessions=node.sessions,
            )
        )
        self.live = live.Live(node.hub, self.facade, sources)
        self.monitor = HealthMonitor(
            node_checks(node.home.root, self.feeds, self.blocks.probe, here.status), lambda: here.status().stage
        )
        self.metrics = Metrics(here.status)
        self._judged_by = self.folds.roster
        self._lost = ""  #: what is said while the others' copies of a lost database are awaited
        self._heads_in, self._heads_out = trio.open_memory_channel[FeedHead](_HEADS_WAITING)
        self._connect(door)
        self._say_memory_lost()

    def _mesh_config(self) -> MeshConfig:
        values = self._node.settings.values
        host = values.p2p.host
        family = f"ip{ip_address(host).version}"
        port = self._ports.take("p2p", host, values.p2p.port)
        return MeshConfig(
            seed=self.identity.seed,
            listen=(
                f"/{family}/{host}/tcp/{port}",
                *((f"/{family}/{host}/udp/{port}/quic-v1",) if values.p2p.quic else ()),
            ),
            bootstrap=values.bootstrap.peers,
            known=known_addresses(self._store),
            network=values.cluster.network,
            mdns_interfaces=values.mdns.interfaces,
            dht=values.dht.enabled,
            max_connections=values.p2p.max_connections,
            redial_min_s=values.p2p.redial_min_s,
            redial_max_s=values.p2p.redial_max_s,
        )

    async def keep_port(self) -> None:
        """Listen on the same port after a restart, free choice or not: it is where the others look for this node."""
        if self.network.addresses:
            await self._ports.keep("p2p", parse_peer(self.network.addresses[0])[1], self.feeds.write)

    def _roster(self, signer: Ed25519Signer) -> RosterService:
        node = self._node
        values = node.settings.values
        return RosterService(
            network=self.network,
            signer=signer,
            verifier=self._verifier,
            me=Applicant(
                self.agent_id,
                self.role,
                self.identity.kind,
                self.identity.age_recipient,
                values.agent.capabilities,
                host=host_facts(),
                ticket=ticket_of(node.settings),
            ),
            voter_use=self._voter_use(),
            settings=RosterSettings(
                network=values.cluster.network,
                policy=Policy(values.cluster.policy),
                found=values.cluster.found,
                nobody_to_look_for=not values.bootstrap.peers and not values.mdns.interfaces,
                beyond_loopback=not ip_address(values.p2p.host).is_loopback,
                force_open=values.cluster.force_open,
                discovery_s=values.cluster.discovery_s,
                demote_s=values.election.demote_s,
                evict_s=values.cluster.evict_after_s,
                may_found=not self.feeds.forgotten,
            ),
            durable=self.feeds,
            appender=self.feeds,
            chain=lambda: self.folds.chain,
            proposer=self.election,
            leader=lambda: self.election.leader,
            found=lambda member, policy, lost: self.election.found(values.cluster.network, member, policy, lost),
            on_bound=self._bind,
            caught_up=self.here.caught_up,
            heads=self.here.act_heads,
            heads_of=lambda author: [h for h in self._store.heads() if h.author == author],
            moved_out=lambda: self.folds.moved_out,
            hand_over=self.election.resign,
            roles=load_roles(node.home.roles),
            doubt=lambda: self.here.doubt(self.folds.chain),
            enrolled=self._note_enrolment,
        )

    def _bound(self) -> str:
        """The cluster of this home. Whose database was lost still belongs where it was enrolled, and founds no other."""
        bound = (self.feeds.read(CLUSTER_KEY) or b"").decode("ascii", "replace")
        known = self.feeds.instance
        if not bound and known.cluster:
            bound = known.cluster
            self._store.write(CLUSTER_KEY, bound.encode())
        return bound

    def _note_enrolment(self, cluster: str) -> None:
        self.feeds.enrolled(cluster, self.agent_id, self.identity.kind.value)

    def _moving(self) -> Moving:
        def last() -> tuple[int, str]:
            number = self.folds.chain.proven_by_feeds()
            return number, self.folds.chain.held(number).hash

        return Moving(
            self.roster,
            self.feeds,
            self.network.dial,
            self.election.resign,
            lambda: frozenset(p.peer_id for p in self.network.peers()) | {self._me},
            last,
        )

    def _connect(self, door: Door) -> None:
        """Who is told of what."""
        self.feeds.accepts = self.roster.accepts
        self.feeds.limit = self.roster.limit
        self.feeds.may_purge = self.here.may_purge
        self.feeds.clock_off_s = lambda: self.roster.clock_off_s
        self.feeds.announce = self._announce
        self.feeds.on_entries(self._entries_stored)
        self.feeds.on_fork(self._forked)
        self.feeds.on_put_back(self._put_back)
        self.feeds.renewal.leave = lambda epoch: self.folds.leave(self._me, epoch)
        self.feeds.renewal.counts = lambda entry: self.folds.counts_here(entry)
        self.feeds.on_doubt(self._memory_doubted)
        self.blocks.changed = lambda: self._node.hub.mark("ucxl")
        self.feeds.disk.changed = self.live.node_changed
        self.wire.subscribe("feed.head", self._head_heard)
        self.wire.tap(self.live.traffic)
        self.election.watch(self._election_changed)
        self.network.watch_peers(lambda peer, connected, by_remote: self.live.peers_changed())
        for family, part in (
            ("p2p", self.network),
            ("pubsub", self.wire),
            ("feeds", self.feeds),
            ("blocks", self.blocks),
            ("election", self.election),
            ("hmmm", self.hmmm),
            ("decisions", self.closer),
            ("shhh", door),
            ("runtime", self._node.supervisor),
            ("runtime", self._node.control),
            ("runtime", self._node.hub),
        ):
            self.metrics.add(family, part.statistics)

    def services(self) -> Iterator[tuple[str, Run]]:
        """The services in the order in which they start; the mesh last, so that nothing arrives before its handler."""
        yield "feeds", self.feeds.run
        yield "blocks", self.blocks.run
        yield "folding", self.folding.run
        yield "wire", self.wire.run
        yield "election", self.election.run
        yield "roster", self.roster.run
        yield "hmmm", self.hmmm.run
        yield "decisions", self.closer.run
        yield "clock", Timekeeping(self.feeds, self.election, self.live.node_changed).run
        yield "heads", self._gossip_heads
        yield from self._web()
        yield "known peers", self.known_peers.run
        yield "scrub", Scrub((self._node.home.store, self._node.home.blocks, self._node.home.snapshot)).run
        yield "mesh", self.network.run

    def _web(self) -> Iterator[tuple[str, Run]]:
        node = self._node
        values = node.settings.values
        if node.sessions.owned and not values.http.enabled:
            return
        parts = http.HttpParts(
            dispatcher=node.dispatcher,
            hub=node.hub,
            health=self.monitor.health,
            ready=self.monitor.ready,
            startup=self.monitor.startup,
            metrics=self.metrics.text,
            token=http.token_of(node.home.token),
        )
        web = http.Http(parts)
        for section, wanted, application in (
            ("api", values.api.port, web.api),
            ("health", values.health.port, web.health),
            ("metrics", values.metrics.port, web.metrics),
        ):
            if wanted != "off":
                listener = http.bind(self._ports.take(section, values.http.host, wanted), values.http.host)
                self._ports.now[section] = listener.getsockname()[1]
                yield section, functools.partial(http.serve, application(), listener)

    # --- what happens -------------------------------------------------------------------------------------------------

    async def _bind(self, cluster: str) -> None:
        """This node belongs to another cluster now: fold its acts and its members' entries."""
        self._snapshots.clear()
        self.folds = self._fold(cluster)
        await self.election.bind(self.folds.chain)
        self._node.hub.mark(*STATE_SLICES, *KEYED_SLICES)

    def _fold(self, cluster: str) -> FoldSet:
        return FoldSet(cluster, self._verifier, self._store, self.feeds.held, self._snapshots, in_steps=True)

    def _folded(self) -> None:
        """History was folded to its end."""
        self._node.hub.mark(*STATE_SLICES, *KEYED_SLICES)
        self.closer.wake()
        self.hmmm.wake()

    async def close(self) -> None:
        """Put away what was folded, at the very end."""
        try:
            await self.folding.put_away()
        except ChorusError as exc:
            log.warning("the folds couldn't be put away: %s", exc)
        self._snapshots.close()

    def _entries_stored(self, entries: Sequence[Entry]) -> None:
        self.folds.apply(entries)
        if any(entry.header.type == FEED_EPOCH for entry in entries):
            self._node.hub.mark(*STATE_SLICES, *KEYED_SLICES)  # what was withdrawn is gone from all of them
        self.election.chain_changed()
        self._roster_may_have_changed()
        self.closer.wake()
        self.hmmm.wake()
        self.live.entries_stored(entries)

    def _put_back(self) -> None:
        """The wall was put back: what its authors stamped ahead of it waits for its time again."""
        self.folds.put_back()
        self.folding.wake()
        self._node.hub.mark(*STATE_SLICES, *KEYED_SLICES)

    def _forked(self, author: str, epoch: int) -> None:
        self.folds.forked(author, epoch)
        self.live.node_changed()

    def _say_memory_lost(self) -> None:
        if self.feeds.forgotten and not self.roster.bound:
            self._node.note(where_is_not_known(self._node.home))
        if self.roster.bound and not self._store.entry_count and not self._lost:
            self._lost = database_lost(self._node.home, self.feeds.instance)
            self._node.note(self._lost)
            return
        if self.feeds.restored:
            self._node.note(
                f"This home forgot something: {self.feeds.restored}. It goes on in a new epoch of its feed."
            )

    def _memory_doubted(self) -> None:
        self._say_memory_lost()
        self.election.doubt_changed()
        self.roster.doubt_changed()
        self.live.node_changed()

    async def _trusted(self) -> None:
        """The admin promoted this node knowing of its loss of memory: it votes again."""
        await self.feeds.trust()
        self.roster.doubt_changed()
        self.live.node_changed()

    def _announce(self, head: FeedHead) -> None:
        """Gossip a head; one that finds the queue full is repaired by replication."""
        with suppress(trio.WouldBlock):
            self._heads_in.send_nowait(head)

    async def _gossip_heads(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async for head in self._heads_out:
            try:
                await self.wire.publish(topics.FEEDS, "feed.head", head)
            except ChorusError as exc:
                log.warning("a feed head was not announced: %s", exc)

    def _head_heard(self, message: Received) -> None:
        self.feeds.receive_head(message.peer, message.data)

    def _roster_may_have_changed(self) -> None:
        """The chain grew, from the feeds or from the election's streams."""
        refreshed = self.folds.refresh()
        self.folding.wake()
        if refreshed or self._judged_by is not self.folds.roster:
            self._judged_by = self.folds.roster
            self.wire.roster_changed()
            self.feeds.roster_changed()
        self.roster.changed()
        if self._lost and self.roster.member is not None:
            self._node.settled(self._lost)
            self._lost = ""

    def _election_changed(self) -> None:
        self._roster_may_have_changed()
        self.closer.wake()
        self.live.election_changed()

    def reload_roles(self) -> None:
        """Read the home's roles again (SPEC section 4).

        Raises:
            ConfigError: the file can't be used; the roles in force stay.
        """
        self.roster.use_roles(load_roles(self._node.home.roles))

    def sessions_changed(self) -> None:
        """A face came or went: what this node may be made a voter as depends on them."""
        self.roster.set_voter_use(self._voter_use())

    def _voter_use(self) -> VoterUse:
        sessions = self._node.sessions
        if not sessions.owned or self._node.settings.values.election.voter:
            return VoterUse.FULL
        return VoterUse.SPARE if sessions.kinds[SessionKind.CONSOLE] else VoterUse.NEVER

    async def part(self, hand_over_s: float, leave_s: float) -> None:
        """Hand the lead over and take leave as a voter, before a clean end."""
        with trio.move_on_after(hand_over_s):
            if self.election.successor():
                await self.election.resign()
        await self.roster.take_leave(leave_s)


def _identity(node: Node, store: Store) -> keys.Identity:
    """The keys of a home: made for a new one only, and those it was known by.

    Raises:
        StoreError: they are lost, damaged, or somebody else's.
    """
    home = node.home
    noted = read_instance(home.instance)
    known = noted or Instance("")
    if (used(home, noted) or store.heads()) and not any((home.identity / name).exists() for name in IDENTITY_FILES):
        raise identity_lost(home, known)
    kind = Kind(known.kind) if known.kind in tuple(Kind) else node.kind
    found = keys.load_or_create(home.identity, kind, whole=bool(known.id))
    if known.peer_id and found.peer_id != known.peer_id:
        raise another_identity(home, known, found.peer_id)
    return found


def default_role(kind: Kind) -> str:
    """The role of an identity that names none (SPEC section 4)."""
    return "operator" if kind is Kind.HUMAN else "agent"
