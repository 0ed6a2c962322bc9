"""What is proven to others: which checkpoint, which tiles, and what can't be proven yet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.errors import InvalidInput, NotFound, Unavailable
from agent_core.feeds import proofs
from agent_core.feeds.merkle import Frontier, verify_inclusion
from agent_core.feeds.model import EntryKey, leaf_hash
from agent_core.feeds.ranges import verify_range
from tests.support.feeds import VERIFIER, Node, note


async def test_an_entry_is_proven_as_far_as_its_commit_is_held() -> None:
    author, reader = Node(0, None), Node(1, None)
    await author.open().append([note(n) for n in range(5)])
    reader.open()
    assert author.store is not None
    assert reader.store is not None
    head, path = proofs.inclusion(author.store, author.key(3))
    entry = author.store.entry(author.key(3))
    assert entry is not None
    verify_inclusion(leaf_hash(entry.raw), 3, head.size, path, bytes.fromhex(author.store.head(author.me, 0).root))
    with pytest.raises(NotFound, match="no entry"):
        proofs.inclusion(author.store, author.key(5))
    with pytest.raises(NotFound):
        proofs.signed_head(reader.store, author.me, 0)

    # Three of five entries came so far: their author's signature covers all five, so there is nothing to show yet.
    items = author.store.items(author.me, 0, 0, 3, 1 << 20)
    certificate = author.store.certificate(author.me, 0, 3)
    assert certificate is not None
    frontier = reader.store.frontier(author.me, 0)
    note_, proof = certificate[1:]
    assert reader.store.extend(verify_range(frontier, author.me, 0, items, note_, proof, VERIFIER))
    with pytest.raises(Unavailable, match="still being fetched"):
        proofs.inclusion(reader.store, EntryKey(author.me, 0, 1))


@given(st.integers(0, 1500))
def test_tiles_hold_every_header_and_every_hash_once(size: int) -> None:
    tiles, files = proofs.Tiles(), dict[str, bytes]()
    headers = [b"header %d" % n for n in range(size)]
    for header in headers:
        files.update(tiles.add(header))
    files.update(tiles.rest())
    row = [f"tile/0/00{n}" + ("" if n < size // 256 else f".p/{size % 256}") for n in range(-(-size // 256))]
    assert b"".join(files[path] for path in row) == b"".join(map(leaf_hash, headers))
    bundles = b"".join(files[path.replace("/0/", "/entries/")] for path in row)
    assert bundles == b"".join(len(h).to_bytes(2, "big") + h for h in headers)
    whole = [Frontier() for _ in range(size // 256)]
    for n, header in enumerate(headers[: len(whole) * 256]):
        whole[n // 256].append(leaf_hash(header))
    if whole:
        assert files[f"tile/1/000.p/{len(whole)}"] == b"".join(f.root() for f in whole)
    assert len(files) == 2 * len(row) + bool(whole)


def test_numbers_of_tiles_are_written_as_others_write_them() -> None:
    numbers = {0: "000", 999: "999", 1000: "x001/000", 1_234_067: "x001/x234/067"}
    assert {n: proofs.tile_number(n) for n in numbers} == numbers


def test_only_an_author_with_a_key_has_one_to_check_by() -> None:
    with pytest.raises(InvalidInput, match="peer id"):
        proofs.verifier_key("somebody", 0)
