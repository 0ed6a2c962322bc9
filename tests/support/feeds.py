"""Feeds in tests: nodes with a store, a key and a place in a memory mesh, and drafts to append."""

from __future__ import annotations

import hashlib
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import trio

from agent_core.clock import HybridClock
from agent_core.feeds import checkpoint
from agent_core.feeds.forks import ForkProof, Side, make_proof
from agent_core.feeds.merkle import consistency_proof, inclusion_proof, node_hash, root_at
from agent_core.feeds.model import Draft, Entry, EntryKey
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier, Signer
from tests.support.streams import MemoryMesh, MemoryNetwork, eventually

VERIFIER = Ed25519Verifier()


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A test entry's data."""

    n: int = 0


def note(n: int = 0, body: bytes | None = b"text", op: str = "", type: str = "test.note") -> Draft:
    return Draft(type, Note(n=n), body=body, op=op)


def signer(n: int) -> Ed25519Signer:
    return Ed25519Signer(bytes([n + 1]) * 32)


def own_fork(author: Signer, epoch: int, seq: int, salt: bytes = b"") -> ForkProof:
    """A valid proof that an author forked one of its epochs, made by the author without writing either history."""
    common = [hashlib.sha256(b"common %d" % n).digest() for n in range(seq)]

    def side(header: bytes) -> Side:
        leaves = [*common, hashlib.sha256(b"\x00" + header).digest()]

        def node(level: int, index: int) -> bytes:
            if not level:
                return leaves[index]
            return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

        size = seq + 1
        note = checkpoint.sign(author, epoch, size, root_at(size, node)).note
        return Side(header, inclusion_proof(seq, size, node), consistency_proof(seq, size, node), note)

    def prefix(level: int, index: int) -> bytes:
        return node_hash(prefix(level - 1, 2 * index), prefix(level - 1, 2 * index + 1)) if level else common[index]

    return make_proof(author.peer_id, epoch, seq, root_at(seq, prefix), side(b"one" + salt), side(b"two" + salt))


class Node:
    """One node: its store stays when it stops and starts again."""

    def __init__(self, n: int, mesh: MemoryMesh | None, path: Path | str = ":memory:", **options: Any) -> None:
        self.n, self.mesh, self.path, self.options = n, mesh, path, options
        self.signer = signer(n)
        self.me = self.signer.peer_id
        self.store: Store | None = None
        self.feeds: Feeds
        self.seen: list[Entry] = []
        self.network: MemoryNetwork | None = None
        self._scope: trio.CancelScope | None = None
        self._stopped = trio.Event()

    def open(self) -> Feeds:
        """Make the service without running it."""
        self.store = Store.open(self.path)
        self.network = self.mesh.node(self.me) if self.mesh else None
        clock = self.options.pop("clock", None) or HybridClock(last=self.store.latest_hlc(self.me))
        settings: dict[str, Any] = {"interval_s": 0.1, "grace_s": 0.5, "nudge_s": 0.02, "rng": random.Random(self.n)}
        self.feeds = Feeds(self.store, self.signer, VERIFIER, clock, network=self.network, **(settings | self.options))
        self.feeds.on_entries(self.seen.extend)
        return self.feeds

    async def start(self, nursery: trio.Nursery) -> Feeds:
        feeds = self.open()
        self._scope, self._stopped = trio.CancelScope(), trio.Event()
        await nursery.start(self._run)
        return feeds

    async def _run(self, task_status: Any) -> None:
        assert self._scope is not None
        with self._scope:
            await self.feeds.run(task_status=task_status)
        self._stopped.set()

    async def stop(self) -> None:
        if self.mesh:
            for other in list(self.mesh.nodes):
                self.mesh.cut(self.me, other)
        if self._scope is not None:
            self._scope.cancel()
            await self._stopped.wait()
        assert self.store is not None
        with suppress(Exception):
            self.store.close()

    def key(self, seq: int, epoch: int = 0) -> EntryKey:
        return EntryKey(self.me, epoch, seq)


async def same(*nodes: Node, timeout_s: float = 5.0) -> None:
    """Wait until all nodes hold the same."""
    await eventually(
        lambda: all(node.feeds.heads() == nodes[0].feeds.heads() for node in nodes), "all hold the same", timeout_s
    )
