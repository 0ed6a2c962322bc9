"""Nodes with feeds and blocks in a memory mesh."""

from __future__ import annotations

import random
from typing import Any

import trio

from agent_core.blocks.service import Blocks, BlockSettings
from agent_core.blocks.store import BlockStore
from agent_core.feeds.model import EntryKey
from tests.support.feeds import Node, note
from tests.support.streams import MemoryMesh


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that don't repeat."""
    return random.Random(seed).randbytes(size)


class BlockNode(Node):
    """A feed node with blocks; what it holds stays when it stops and starts again."""

    blocks: Blocks

    def __init__(self, n: int, mesh: MemoryMesh, path: Any = ":memory:", blocks_path: Any = ":memory:", **options: Any):
        self.settings = options.pop("settings", BlockSettings())
        self.max_pages: int | None = options.pop("max_pages", None)
        self.providers = options.pop("providers", None)
        self.blocks_path = blocks_path
        super().__init__(n, mesh, path, **options)

    async def begin(self, nursery: trio.Nursery) -> Blocks:
        """Start feeds and blocks."""
        self.block_store = BlockStore.open(self.blocks_path, max_pages=self.max_pages)
        feeds = await self.start(nursery)
        assert self.network is not None
        self.blocks = Blocks(
            self.block_store,
            feeds,
            self.network,
            settings=self.settings,
            providers=self.providers,
            rng=random.Random(self.n),
        )
        self._blocks_scope, self._blocks_ended = trio.CancelScope(), trio.Event()
        await nursery.start(self._run_blocks)
        return self.blocks

    async def _run_blocks(self, task_status: Any) -> None:
        with self._blocks_scope:
            await self.blocks.run(task_status=task_status)
        self._blocks_ended.set()

    async def stop(self) -> None:
        self._blocks_scope.cancel()
        await self._blocks_ended.wait()
        await super().stop()
        self.block_store.close()

    async def put(self, body: bytes) -> EntryKey:
        """Append an entry with a body."""
        (entry,) = await self.feeds.append([note(body=body)])
        return entry.key

    def has(self, key: EntryKey, body: bytes) -> bool:
        """Whether this node shows the body."""
        return self.blocks.bodies.body(key) == body
