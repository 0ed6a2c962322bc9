"""The pure parts: bodies cut and put together again, and plans that end whatever the peers do."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.blocks.machine import MAX_ASKED, Plan
from agent_core.blocks.model import BLOCK_BYTES, MAX_CONTENT_BYTES, address, cut, parse
from agent_core.blocks.store import BlockStore
from agent_core.errors import VerificationFailed
from agent_core.feeds.model import MAX_BODY_BYTES, EntryKey

SIZES = st.one_of(st.integers(1, 3 * BLOCK_BYTES), st.sampled_from([BLOCK_BYTES, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 1]))


@given(SIZES, st.integers(0, 4 * BLOCK_BYTES), st.integers(0, 4 * BLOCK_BYTES))
def test_a_body_is_cut_and_read_back(size: int, start: int, length: int) -> None:
    body = random.Random(size).randbytes(size)
    raw, blocks = cut(body)
    manifest = parse(raw, size)
    assert [address(blocks[hash]) for hash in manifest] == list(manifest)
    assert manifest.sizes() == {hash: len(data) for hash, data in blocks.items()}
    store = BlockStore.open(":memory:")
    store.add(blocks)
    assert store.read(manifest, start, start + length) == body[start : start + length]
    store.close()


def test_the_largest_manifest_is_a_body() -> None:
    blocks = MAX_CONTENT_BYTES // BLOCK_BYTES
    raw, _ = cut(bytes(3 * BLOCK_BYTES))
    per_block = 32
    assert len(raw) + (blocks - 3) * per_block + 8 <= MAX_BODY_BYTES


@pytest.mark.parametrize("size", [0, -1, 1, BLOCK_BYTES, 10 * BLOCK_BYTES, MAX_CONTENT_BYTES + 1])
def test_a_manifest_must_fit_its_header(size: int) -> None:
    raw, _ = cut(bytes(range(256)) * 1024)
    with pytest.raises(VerificationFailed):
        parse(raw, size)


@pytest.mark.parametrize("raw", [b"", b"\xc0", b"\x83\xa1v\x01\xa4size\x05\xa6blocks\xc4\x01x", b"\xff" * 200])
def test_nonsense_is_no_manifest(raw: bytes) -> None:
    with pytest.raises(VerificationFailed):
        parse(raw, 5)


@given(st.integers(1, 8), st.integers(1, 4), st.randoms(use_true_random=False))
def test_a_plan_ends_and_gets_what_an_honest_peer_has(blocks: int, peers: int, rng: random.Random) -> None:
    """Peers answer in any order, lack blocks, or break off; one holds everything and answers."""
    wanted = [bytes([n]) for n in range(blocks)]
    plan = Plan(wanted)
    names = [f"peer {n}" for n in range(peers)] + ["honest"]
    asked: list[tuple[str, bytes]] = []
    got: set[bytes] = set()
    for _ in range(100 * blocks * (peers + 1)):
        if not plan.left:
            break
        for name in names:
            busy = any(peer == name for peer, _ in asked)
            if not busy and plan.useful(name) and (block := plan.next(name)) is not None:
                asked.append((name, block))
        assert max((sum(b == block for _, b in asked) for block in wanted), default=0) <= MAX_ASKED
        assert asked, "while blocks are left, somebody is asked"
        name, block = asked.pop(rng.randrange(len(asked)))
        match "got" if name == "honest" else rng.choice(["got", "lacks", "drop"]):
            case "got":
                assert plan.got(block) == (block not in got)
                got.add(block)
            case "lacks":
                plan.lacks(name, block)
            case "drop":
                plan.drop(name)
                assert plan.next(name) is None
    assert got == set(wanted)
    assert plan.left == 0


def test_what_two_bodies_share_stays_until_both_are_gone() -> None:
    store = BlockStore.open(":memory:")
    shared, mine = bytes(BLOCK_BYTES), b"mine"
    _, blocks = cut(shared + mine)
    store.add(blocks)
    store.note({EntryKey("a", 0, 0): BLOCK_BYTES + 4, EntryKey("a", 0, 1): BLOCK_BYTES}, {("a", 0): 2})
    assert store.forget([EntryKey("a", 0, 0)], keep={address(shared)}) == 1
    assert (store.has(address(shared)), store.has(address(mine))) == (True, False)
    assert store.bodies() == {EntryKey("a", 0, 1): BLOCK_BYTES}
    assert store.cursors() == {("a", 0): 2}
    assert store.forget([EntryKey("a", 0, 1)], keep=()) == 1
    assert (store.count, store.octets) == (0, 0)
    store.close()


def test_a_block_that_the_disk_changed_is_missing() -> None:
    store = BlockStore.open(":memory:")
    raw, blocks = cut(b"x" * 100)
    store.add(blocks)
    store._writer.execute("UPDATE blocks SET data = x'00'")
    manifest = parse(raw, 100)
    assert store.read(manifest, 0, 100) is None
    assert store.missing(manifest) == list(manifest)
    store.add(blocks)
    assert store.read(manifest, 0, 100) == b"x" * 100
    store.close()
