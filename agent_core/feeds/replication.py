"""The repair path: one link per connected peer that compares what both hold and pulls what is missing, verified.

A link asks on a stream of its own and pulls only; pushing is telling the other side what one holds, so that it pulls.
One question is out at a time, so the slower side sets the pace. Nothing a peer sends raises out of here.
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, TypeVar

import trio

from agent_core.errors import ChorusError, StoreError, VerificationFailed
from agent_core.feeds import protocol
from agent_core.feeds.forks import Divergence, ForkProof, make_proof, verify_fork
from agent_core.feeds.heads import MAX_EPOCH, MAX_SIZE
from agent_core.feeds.model import Body, Entry, EntryKey, Head
from agent_core.feeds.protocol import MAX_BODIES, MAX_FORKS, PROTOCOL, Frame
from agent_core.feeds.ranges import Diverges, Extension, verify_range
from agent_core.feeds.store import FeedKey, Store
from agent_core.identity.signing import Verifier
from agent_core.network import Network, Stream, StreamClosed

log = logging.getLogger(__name__)

#: No answer takes longer, or the stream is given up.
ANSWER_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 1.0
#: Streams one peer may hold open towards us.
MAX_SERVED = 4

A = TypeVar("A", bound=Frame)


class Keeper(Protocol):
    """Who stores what replication brings; implemented by the service."""

    store: Store

    def wants(self, author: str) -> bool:
        """Whether an author's feeds are fetched and shown."""
        ...

    async def keep(self, new: Extension) -> bool:
        """Store believed entries; returns whether they were new."""
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
        self._serving: defaultdict[str, int] = defaultdict(int)
        self._peers_changed = trio.Event()
        self.round_done = trio.Event()  #: replaced each time a link ends a round
        self.rounds = self.lies = self.pulled = 0
        network.handle(PROTOCOL, self.serve)
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
        try:
            await self._round(link)
        except (StreamClosed, trio.TooSlowError):
            await self._hang_up(link)
            link.whole = True
            if reused:  # the other side may only have closed an idle stream
                link.wake.set()
                return
        except VerificationFailed as exc:
            self.lies += 1
            log.warning("feeds: %s from %s doesn't hold: %s", PROTOCOL, link.peer_id, exc.message)
            await self._hang_up(link)
        except ChorusError as exc:
            log.error("feeds: replication with %s failed: %s", link.peer_id, exc.message)
            await self._hang_up(link)
        except Exception:
            log.exception("feeds: replication with %s failed", link.peer_id)
            await self._hang_up(link)
        self.rounds += 1
        link.rounds += 1
        done, self.round_done = self.round_done, trio.Event()
        done.set()

    async def _hang_up(self, link: _Link) -> None:
        stream, link.stream = link.stream, None
        if stream is not None:
            with trio.CancelScope(deadline=trio.current_time() + _CLOSE_TIMEOUT_S, shield=True):
                await stream.aclose()

    # --- a round ------------------------------------------------------------------------------------------------------

    async def _round(self, link: _Link) -> None:
        if link.stream is None:
            with trio.fail_after(ANSWER_TIMEOUT_S):
                link.stream = await self._network.open(link.peer_id, PROTOCOL)
        stream = link.stream
        whole, link.whole = link.whole, False
        told, link.tell = link.tell, set()
        store, accepts = self._keeper.store, self._keeper.wants
        grown: set[FeedKey] = set()
        if whole:
            page, pages = 0, 1
            while page < pages:
                ours = protocol.vector(store, accepts, page)
                have = await self._have(stream, ours)
                if page == 0:
                    await self._pull_forks(stream, have.forks)
                    pages = max(ours.pages, have.pages)
                # Each page is fetched before the next is asked for: a peer may claim as many as it likes.
                await self._fetch(stream, have.heads, grown)
                page += 1
                if not ours.heads and not have.heads:
                    break
        else:
            have = await self._have(stream, protocol.heads_of(store, accepts, told))
            await self._fetch(stream, have.heads, grown)
        if grown:
            await self._have(stream, protocol.heads_of(store, accepts, grown))  # so that the other side knows
            for peer_id in self._links:
                for feed in grown:
                    if peer_id != link.peer_id:
                        self.tell(peer_id, feed)

    async def _fetch(self, stream: Stream, heads: Sequence[Head], grown: set[FeedKey]) -> None:
        """Fetch what is missing of the feeds a peer shows; notes those that grew."""
        store, me = self._keeper.store, self._network.peer_id
        # Our own feed first: what we have forgotten of it decides whether we may write at all.
        for head in sorted(heads, key=lambda h: h.author != me):
            if self._keeper.wants(head.author) and 0 <= head.epoch < MAX_EPOCH and 0 < head.size <= MAX_SIZE:
                before = store.size(head.author, head.epoch)
                await self._catch_up(stream, head)
                await self._pull_bodies(stream, head)
                if store.size(head.author, head.epoch) > before:
                    grown.add((head.author, head.epoch))

    async def _have(self, stream: Stream, ours: protocol.Have) -> protocol.Have:
        theirs = await self._ask(stream, ours, protocol.Have)
        self._keeper.heard(stream.peer_id, theirs.heads)
        return theirs

    async def _catch_up(self, stream: Stream, head: Head) -> None:
        store, feed = self._keeper.store, (head.author, head.epoch)
        while (size := store.size(*feed)) < head.size:
            limit = store.fork_limit(*feed)
            if limit is not None and size >= limit:
                return
            want = protocol.Want(author=head.author, epoch=head.epoch, start=size)
            found = await self._ask(stream, want, protocol.Range)
            if not found.items:
                return
            if store.size(*feed) != size:
                continue  # gossip was quicker than this answer
            try:
                new = verify_range(
                    store.frontier(*feed), *feed, found.items, found.checkpoint, found.proof, self._verifier
                )
            except Diverges:
                if store.fork_limit(*feed) is None:
                    await self._hunt(stream, head, size)
                return
            if await self._keeper.keep(new):
                self.pulled += len(new.entries)
            elif store.size(*feed) == size:
                return
        if store.fork_limit(*feed) is None:
            root = store.root_at(*feed, head.size)
            if root is not None and root.hex() != head.root:
                await self._hunt(stream, head, head.size)

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
        known = set(self._keeper.store.forks())
        missing = [id_ for id_ in ids if id_ not in known]
        while missing and len(known) < MAX_FORKS:
            question = protocol.AskForks(ids=tuple(missing))
            proofs = (await self._ask(stream, question, protocol.Forks)).proofs
            got = {proof.id for proof in proofs} & set(missing)
            if not got:
                return
            for proof in proofs:
                if self._keeper.wants(proof.author) and proof.id in got:
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

    # --- serving ------------------------------------------------------------------------------------------------------

    async def serve(self, stream: Stream) -> None:
        """Answer a peer's questions until it hangs up (a :data:`~agent_core.network.StreamHandler`)."""
        peer_id = stream.peer_id
        if self._serving[peer_id] >= MAX_SERVED:
            await stream.aclose()
            return
        self._serving[peer_id] += 1
        try:
            while True:
                frame = protocol.decode(await stream.receive())
                found = protocol.answer(self._keeper.store, self._keeper.wants, frame)
                with trio.fail_after(ANSWER_TIMEOUT_S):
                    await stream.send(protocol.encode(found))
                if isinstance(frame, protocol.Have):
                    self._keeper.heard(peer_id, frame.heads)
                    self._look_at(peer_id, frame.heads)
        except (StreamClosed, trio.TooSlowError):
            pass
        except VerificationFailed as exc:
            self.lies += 1
            log.warning("feeds: a question of %s doesn't hold: %s", peer_id, exc.message)
        except StoreError as exc:
            log.error("feeds: %s can't be answered: %s", peer_id, exc.message)
        finally:
            self._serving[peer_id] -= 1
            if not self._serving[peer_id]:
                del self._serving[peer_id]
            with trio.CancelScope(deadline=trio.current_time() + _CLOSE_TIMEOUT_S, shield=True):
                await stream.aclose()

    def _look_at(self, peer_id: str, heads: Sequence[Head]) -> None:
        """Ask back where a peer holds more of a feed, or something else."""
        store = self._keeper.store
        for head in heads:
            if not self._keeper.wants(head.author):
                continue
            ours = store.head(head.author, head.epoch)
            limit = store.fork_limit(head.author, head.epoch)
            if limit is not None and ours.size >= limit:
                continue
            if head.size > ours.size or (head.size == ours.size and head.root != ours.root):
                self.tell(peer_id, (head.author, head.epoch))
