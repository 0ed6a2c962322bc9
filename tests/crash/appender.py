"""The process that is killed: a home's feed under the load of many callers. It says on its stdout what was acknowledged.

Lines, each one write: ``A seq hash op`` an append returned; ``P size root`` a signed head left for the peers; ``E sentence``
an append was refused; ``D sentence`` what the disk is said to be up to, empty when it is well; ``O epoch`` opened.
"""

from __future__ import annotations

import os
import random
import uuid
from pathlib import Path

import msgspec
import trio

from agent_core.clock import HybridClock
from agent_core.errors import ChorusError, StoreError
from agent_core.feeds import checkpoint
from agent_core.feeds.heads import FeedHead
from agent_core.feeds.model import Draft
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier

SEED = b"\x07" * 32
CALLERS = 32
STORE, INSTANCE = "store.db", "instance"
#: How long a caller waits after a refusal, seconds.
AGAIN_S = 0.02


class Word(msgspec.Struct, frozen=True):
    """An entry's data."""

    caller: int


def say(*words: object) -> None:
    """One line, in one write, so that a kill leaves none in halves."""
    os.write(1, (" ".join(map(str, words)).replace("\n", " ") + "\n").encode())


async def append(home: Path, repeat: tuple[str, ...], seed: int) -> None:
    """Append until killed.

    Args:
        home: where store and instance file are.
        repeat: operations of the last life that were acknowledged: they are said again with what they give now.
        seed: of the sizes.
    """
    rng, verifier, signer = random.Random(seed), Ed25519Verifier(), Ed25519Signer(SEED)
    store = Store.open(home / STORE)
    clock = HybridClock(last=store.latest_hlc(signer.peer_id))
    feeds = Feeds(store, signer, verifier, clock, instance=home / INSTANCE)

    def published(head: FeedHead) -> None:
        signed = checkpoint.verify(head.checkpoint, head.author, head.epoch, verifier)
        say("P", signed.size, signed.root.hex())

    async def call(caller: int) -> None:
        while True:
            count = rng.choice((1, 1, 1, 5))
            ops = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(count)]
            drafts = [Draft("test.word", Word(caller), body=bytes(rng.randint(0, 400)), op=op) for op in ops]
            while True:
                try:
                    entries = await feeds.append(drafts)
                except StoreError as exc:
                    say("E", exc)
                    await trio.sleep(AGAIN_S)
                    continue
                for entry in entries:
                    say("A", entry.header.seq, entry.hash.hex(), entry.header.op)
                break

    feeds.announce = published
    feeds.disk.changed = lambda: say("D", feeds.disk.trouble)
    say("O", feeds.epoch, feeds.restored)
    for op in repeat:
        made = store.op(op)
        say("A", made.header.seq if made else -1, made.hash.hex() if made else "", op)
    async with trio.open_nursery() as nursery:
        await nursery.start(feeds.run)
        for caller in range(CALLERS):
            nursery.start_soon(call, caller)


def main(home: Path, repeat: tuple[str, ...], seed: int) -> int:
    """Run until killed; a start that fails is said like a refused append."""
    try:
        trio.run(append, home, repeat, seed)
    except ChorusError as exc:
        say("E", exc)
    return 1
