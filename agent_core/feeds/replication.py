"""The repair path: one link per connected peer that compares what both hold and pulls what is missing, verified.

A link asks on a stream of its own and pulls only; pushing is telling the other side what one holds, so that it pulls.
One question is out at a time, so the slower side sets the pace. Nothing a peer sends raises out of here.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

import trio

from agent_core.errors import ChorusError, VerificationFailed
from agent_core.feeds import protocol
from agent_core.feeds.fetching import Fetcher, Parted, Shelf
from agent_core.feeds.forks import Divergence, ForkProof, make_proof, verify_fork
from agent_core.feeds.heads import MAX_EPOCH, MAX_SIZE
from agent_core.feeds.model import Body, Entry, EntryKey, Head
from agent_core.feeds.protocol import ANSWER_TIMEOUT_S, MAX_BODIES, PROTOCOL, Frame
from agent_core.feeds.serving import Server, close
from agent_core.feeds.store import FeedKey
from agent_core.identity.signing import Verifier
from agent_core.network import Network, Offence, Stream, StreamClosed
from agent_core.telemetry.sparing import Sparing

log = logging.getLogger(__name__)

A = TypeVar("A", bound=Frame)

#: How long a link rests when the store refused what came, seconds.
REFUSED_S = 1.0


class Keeper(Shelf, Protocol):
    """Who stores what replication brings; implemented by the service."""

    def wants(self, author: str) -> bool:
        """Whether an author's feeds are fetched and shown."""
        ...

    def limit(self, author: str, epoch: int) -> int | None:
        """How many entries of an epoch are fetched and shown; nothing for all of them."""
        ...

    async def keep_bodies(self, bodies: Sequence[tuple[EntryKey, Body]]) -> None:
        """Store bodies that match their headers."""
        ...

    async def keep_fork(self, proof: ForkProof) -> None:
        """Store a checked fork proof."""
        ...

    def heard(self, peer_id: str, heads: Sequence[Head]) -> None:
        """A peer said what it holds."""
        ...


class _Lie(VerificationFailed):
    """A peer's answer doesn't hold."""


class _Link:
    """What goes on with one connected peer."""

    def __init__(self, peer_id: str) -> None:
        self.peer_id = peer_id
        self.scope = trio.CancelScope()
        self.wake = trio.Event()
        self.whole = True  #: compare all feeds in the next round, not only those told
        self.tell: set[FeedKey] = set()
        self.stream: Stream | None = None
        self.rounds = 0


class Replicator:
    """All links of a node, and the serving side.

    Args:
        network: where peers and streams come from.
        keeper: stores what is believed.
        verifier: checks checkpoints.
        interval_s: seconds between comparisons with one random peer.
        rng: picks that peer.
    """

    def __init__(
        self, network: Network, keeper: Keeper, verifier: Verifier, *, interval_s: float, rng: random.Random
    ) -> None:
        self._network, self._keeper, self._verifier = network, keeper, verifier
        self._interval_s, self._rng = interval_s, rng
        self._links: dict[str, _Link] = {}
        self.fetcher = Fetcher(keeper, verifier, network.peer_id, self._lied)
        self._server = Server(keeper, self.tell, self._lied)
        self._peers_changed = trio.Event()
        self.round_done = trio.Event()  #: replaced each time a link ends a round
        self.rounds = self.lies = 0
        self._sparing = Sparing(log)
        network.handle(PROTOCOL, self._server.serve)
        network.watch_peers(self._watch)

    # --- telling ------------------------------------------------------------------------------------------------------

    @property
    def linked(self) -> Sequence[str]:
        """Peers with a link."""
        return list(self._links)

    def unasked(self) -> list[str]:
        """Connected peers that weren't asked yet for what they hold."""
        return [
            p.peer_id for p in self._network.peers() if (link := self._links.get(p.peer_id)) is None or not link.rounds
        ]

    def tell(self, peer_id: str, feed: FeedKey) -> None:
        """Say what is held of a feed to a connected peer, soon; learns what it holds, too."""
        link = self._links.get(peer_id)
        if link is not None:
            if len(link.tell) < protocol.PAGE:
                link.tell.add(feed)
            else:
                link.whole = True
            link.wake.set()

    def compare(self, peer_id: str) -> None:
        """Compare everything with a connected peer, soon."""
        link = self._links.get(peer_id)
        if link is not None:
            link.whole = True
            link.wake.set()

    def compare_all(self) -> None:
        """Compare everything with every connected peer, soon."""
        for peer_id in self._links:
            self.compare(peer_id)

    # --- links --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep a link to every connected peer; never ends by itself."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tick)
            nursery.start_soon(self.fetcher.run)
            while True:
                changed = self._peers_changed = trio.Event()
                connected = {peer.peer_id for peer in self._network.peers()}
                for gone in set(self._links) - connected:
                    self._links.pop(gone).scope.cancel()
                for peer_id in connected - set(self._links):
                    self._links[peer_id] = link = _Link(peer_id)
                    link.wake.set()
                    nursery.start_soon(self._run_link, link)
                await changed.wait()

    def _watch(self, peer_id: str, connected: bool, _by_other_side: bool) -> None:
        if not connected and (link := self._links.pop(peer_id, None)):
            link.scope.cancel()
        self._peers_changed.set()

    async def _tick(self) -> None:
        while True:
            await trio.sleep(self._interval_s)
            self._peers_changed.set()
            if self._links:
                self.compare(self._rng.choice(sorted(self._links)))

    async def _run_link(self, link: _Link) -> None:
        with link.scope:
            try:
                while True:
                    await link.wake.wait()
                    link.wake = trio.Event()
                    await self._try_round(link)
            finally:
                await self._hang_up(link)

    async def _try_round(self, link: _Link) -> None:
        reused = link.stream is not None
        at_end = True
        try:
            at_end = await self._round(link)
        except (StreamClosed, trio.TooSlowError):
            await self._hang_up(link)
            link.whole = True
            if reused:  # the other side may only have closed an idle stream
                link.wake.set()
                return
        except VerificationFailed as exc:
            self._lied(link.peer_id, exc)
            await self._hang_up(link)
        except ChorusError as exc:
            self._sparing.error(f"feeds: replication fails: {exc.message}")
            await self._hang_up(link)
            await trio.sleep(REFUSED_S)  # each announcement would begin a round that a full disk ends
        except Exception:
            log.exception("feeds: replication with %s failed", link.peer_id)
            await self._hang_up(link)
        self.rounds += 1
        link.rounds += at_end
        done, self.round_done = self.round_done, trio.Event()
        done.set()

    def _lied(self, peer_id: str, exc: VerificationFailed) -> None:
        """A peer sent what no honest one would."""
        self.lies += 1
        log.warning("feeds: %s from %s doesn't hold: %s", PROTOCOL, peer_id, exc.message)
        self._network.offended(peer_id, Offence.QUESTION)

    async def _hang_up(self, link: _Link) -> None:
        stream, link.stream = link.stream, None
        if stream is not None:
            await close(stream)

    # --- a round ------------------------------------------------------------------------------------------------------

    async def _round(self, link: _Link) -> bool:
        """Compare and fetch; returns whether it came to an end, or goes on in the next round."""
        if link.stream is None:
            link.stream = await self._open(link.peer_id)
        stream = link.stream
        whole, link.whole = link.whole, False
        told, link.tell = link.tell, set()
        keeper = self._keeper
        grown: set[FeedKey] = set()
        if whole:
            page, pages, at_end = 0, 1, True
            while page < pages and at_end:
                ours = protocol.vector(keeper, page)
                have = await self._have(stream, ours)
                if page == 0:
                    pages = max(ours.pages, have.pages)
                await self._pull_forks(stream, have.forks)
                # Each page is fetched before the next is asked for: a peer may claim as many as it likes.
                at_end = await self._fetch(stream, have.heads, grown)
                page += 1
                if not (ours.heads or have.heads or ours.forks or have.forks):
                    break
        else:
            have = await self._have(stream, protocol.heads_of(keeper, told))
            at_end = await self._fetch(stream, have.heads, grown)
        if grown:
            await self._have(stream, protocol.heads_of(keeper, grown))  # so that the other side knows
            for peer_id in self._links:
                for feed in grown:
                    if peer_id != link.peer_id and not self.fetcher.schedule.offers(peer_id, feed):
                        self.tell(peer_id, feed)
        if not at_end:
            self.compare(link.peer_id)
        return at_end

    async def _fetch(self, stream: Stream, heads: Sequence[Head], grown: set[FeedKey]) -> bool:
        """Fetch what is missing of the feeds a peer shows; notes those that grew. Returns whether it came to an end."""
        store = self._keeper.store
        wanted = {
            (head.author, head.epoch): head
            for head in heads
            if self._keeper.wants(head.author) and 0 <= head.epoch < MAX_EPOCH and 0 < head.size <= MAX_SIZE
        }
        before = {feed: store.size(*feed) for feed in wanted}
        try:
            at_end = await self.fetcher.fetch(stream, list(wanted.values()))
        except Parted as parted:
            await self._hunt_apart(stream.peer_id, wanted[parted.feed], parted.differ)
            if store.fork_limit(*parted.feed) is not None:
                self.compare(stream.peer_id)
            raise StreamClosed("questions were still out") from parted
        for feed, head in wanted.items():
            if store.fork_limit(*feed) is None:
                root = store.root_at(*feed, head.size)
                if root is not None and root.hex() != head.root:
                    await self._hunt(stream, head, head.size)
            await self._pull_bodies(stream, head)
        grown |= {feed for feed, size in before.items() if store.size(*feed) > size}
        return at_end

    async def _open(self, peer_id: str) -> Stream:
        with trio.fail_after(ANSWER_TIMEOUT_S):
            return await self._network.open(peer_id, PROTOCOL)

    async def _have(self, stream: Stream, ours: protocol.Have) -> protocol.Have:
        theirs = await self._ask(stream, ours, protocol.Have)
        self._keeper.heard(stream.peer_id, theirs.heads)
        return theirs

    async def _hunt_apart(self, peer_id: str, head: Head, differ: int) -> None:
        """Hunt on a stream of its own: on the other one answers are still to come."""
        stream = await self._open(peer_id)
        try:
            await self._hunt(stream, head, differ)
        finally:
            await close(stream)

    async def _hunt(self, stream: Stream, head: Head, differ: int) -> None:
        """Find where the peer's history of a feed and ours part, and prove it."""
        store, feed = self._keeper.store, (head.author, head.epoch)

        async def compare(sizes: Sequence[int]) -> list[bool]:
            question = protocol.AskRoots(author=head.author, epoch=head.epoch, sizes=tuple(sizes))
            theirs = (await self._ask(stream, question, protocol.Roots)).roots
            if len(theirs) != len(sizes):
                raise _Lie("It answered with another number of roots.")
            return [store.root_at(*feed, size) == root for size, root in zip(sizes, theirs, strict=True)]

        if differ < 1 or all(await compare((differ,))):
            raise _Lie("Its history is ours, yet doesn't lead to the checkpoint it showed.")
        search = Divergence(0, differ)
        while search.seq is None:
            sizes = search.ask()
            search.answer(sizes, await compare(sizes))
        seq = search.seq
        ours = protocol.side(store, *feed, seq)
        question = protocol.AskSide(author=head.author, epoch=head.epoch, seq=seq)
        theirs = (await self._ask(stream, question, protocol.SideIs)).side
        root = store.root_at(*feed, seq)
        if ours is None or root is None:
            return
        if theirs is None:
            raise _Lie("It shows another history and can't prove it.")
        await self._believe_fork(make_proof(*feed, seq, root, ours, theirs))

    async def _pull_forks(self, stream: Stream, ids: Sequence[str]) -> None:
        store = self._keeper.store
        known = set(store.forks())
        missing = [id_ for id_ in ids if id_ not in known]
        while missing:
            question = protocol.AskForks(ids=tuple(missing))
            proofs = (await self._ask(stream, question, protocol.Forks)).proofs
            got = {proof.id for proof in proofs} & set(missing)
            if not got:
                return
            # The earliest first, and nothing is verified that changes nothing: an author may sign for as many forks as it likes.
            for proof in sorted(proofs, key=lambda proof: (proof.author, proof.epoch, proof.seq)):
                if proof.id in got and self._keeper.wants(proof.author) and store.lacks_fork(proof):
                    await self._believe_fork(proof)
            missing = [id_ for id_ in missing if id_ not in got]

    async def _believe_fork(self, proof: ForkProof) -> None:
        verify_fork(proof, self._verifier)
        await self._keeper.keep_fork(proof)

    async def _pull_bodies(self, stream: Stream, head: Head) -> None:
        store = self._keeper.store
        wanted = [seq for seq in store.wanted_bodies(head.author, head.epoch, MAX_BODIES) if seq < head.size]
        if not wanted:
            return
        question = protocol.AskBodies(author=head.author, epoch=head.epoch, seqs=tuple(wanted))
        found: list[tuple[EntryKey, Body]] = []
        for seq, salt, data in (await self._ask(stream, question, protocol.Bodies)).bodies:
            key, body = EntryKey(head.author, head.epoch, seq), Body(salt, data)
            entry: Entry | None = store.entry(key)
            if seq not in wanted or entry is None or entry.header.body is None or not body.matches(entry.header.body):
                raise _Lie("It sent a body that isn't the one its header names.")
            found.append((key, body))
        if found:
            await self._keeper.keep_bodies(found)

    async def _ask(self, stream: Stream, question: Frame, kind: type[A]) -> A:
        with trio.fail_after(ANSWER_TIMEOUT_S):
            await stream.send(protocol.encode(question))
            frame = protocol.decode(await stream.receive())
        if not isinstance(frame, kind):
            raise _Lie("It answered with another frame than was asked for.")
        return frame
