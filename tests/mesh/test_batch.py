"""Batches: what is packed is unpacked, what isn't a batch is refused, and both are bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.mesh.batch import MAX_BATCH_BYTES, MAX_DATA_BYTES, MAX_MESSAGES, Malformed, fitting, pack, unpack
from agent_core.mesh.config import MAX_GOSSIP_BYTES


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=MAX_MESSAGES))
def test_what_is_packed_is_unpacked(messages: list[bytes]) -> None:
    assert unpack(pack(messages)) == messages


@given(st.binary(max_size=2000))
def test_any_bytes_are_messages_or_malformed(data: bytes) -> None:
    try:
        messages = unpack(data)
    except Malformed:
        assert data[:1] == b"\x00"
    else:
        assert 1 <= len(messages) <= MAX_MESSAGES
        assert pack(messages) == data or len(messages) == 1


def test_a_message_alone_travels_as_it_is_unless_it_could_be_taken_for_a_batch() -> None:
    assert pack([b'{"v":1}']) == b'{"v":1}'
    assert pack([b"\x00zero"]) != b"\x00zero"
    assert unpack(pack([bytes(MAX_GOSSIP_BYTES)])) == [bytes(MAX_GOSSIP_BYTES)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"\x00\x00\x00",
        b"\x00\x00\x00\x00\x02a",
        b"\x00\xff\xff\xff\xff",
        b"\x00" + bytes(4) * (MAX_MESSAGES + 1),
        b"x" * (MAX_DATA_BYTES + 1),
    ],
)
def test_what_is_no_batch_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        unpack(data)


@given(st.lists(st.integers(0, MAX_GOSSIP_BYTES), min_size=1, max_size=2 * MAX_MESSAGES))
def test_a_frame_is_bounded_but_for_one_long_message(sizes: list[int]) -> None:
    count = fitting(sizes)
    assert 1 <= count <= min(len(sizes), MAX_MESSAGES)
    assert count == 1 or sum(sizes[:count]) <= MAX_BATCH_BYTES
