"""``log verify``: the feeds as :mod:`agent_core.feeds.audit` checks them, and every block held against the manifests that name it."""

from __future__ import annotations

import msgspec

from agent_core.blocks.catalogue import Catalogue
from agent_core.blocks.model import address
from agent_core.blocks.store import BlockStore
from agent_core.errors import ChorusError
from agent_core.feeds.model import Missing
from agent_core.feeds.store import Store
from agent_core.identity.signing import Verifier
from agent_core.shapes import Verification


def verify_home(store: Store, blocks: BlockStore, verifier: Verifier) -> Verification:
    """Check all that a home holds, in bounded memory.

    Args:
        store: its feeds.
        blocks: its blocks.
        verifier: checks checkpoints.

    Returns:
        What was found; ``bad`` names the first entry that doesn't hold, and why.
    """
    found = store.verify(verifier)
    checked, bad = _audit(store, blocks)
    return msgspec.structs.replace(found, blocks=checked, ok=found.ok and not bad, bad=found.bad or bad)


def _audit(store: Store, blocks: BlockStore) -> tuple[int, str]:
    """How many blocks were checked, and the first bad one.

    A manifest that can't be read isn't this home's fault: its author signed for it. A block that has gone meanwhile was purged
    by a node that runs beside.
    """
    bodies = Catalogue(blocks, store)
    for head in store.heads():
        bodies.look(store.entries(head.author, head.epoch, bodies.cursors.get((head.author, head.epoch), 0)))
    checked: set[bytes] = set()
    for key in sorted(bodies.sizes):
        manifest = bodies.manifest(key)
        if isinstance(manifest, Missing):
            continue
        for number, hash in enumerate(manifest):
            if hash in checked or not blocks.has(hash):
                continue
            checked.add(hash)
            try:
                data = blocks.stored(hash)
            except ChorusError as exc:
                return len(checked), f"{key}: block {number} can't be read: {exc.message}"
            if data is not None and address(data) != hash:
                return len(checked), f"{key}: block {number} isn't the one its manifest names"
    return len(checked), ""
