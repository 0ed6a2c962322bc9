"""The envelope's form on the wire, its limits, and hostile input."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_core.errors import TooLarge, VerificationFailed
from agent_core.wire import catalogue
from agent_core.wire.envelope import MAX_ENVELOPE_BYTES, Envelope, NewerVersion, Priority, decode, encode, one_line
from tests.support.envelopes import envelope

EXAMPLE = catalogue.get("meta_discussion").example
PLAIN: dict[str, Any] = json.loads(encode(envelope("meta_discussion", EXAMPLE)))


def changed(**fields: Any) -> bytes:
    return json.dumps({**PLAIN, **fields}).encode()


def test_fields_are_named_as_in_the_spec_and_optional_ones_only_appear_when_they_apply() -> None:
    assert set(PLAIN) == {"v", "id", "type", "from", "agent_id", "role", "kind", "hlc", "sent_at", "data"}
    full = envelope(
        "meta_discussion",
        EXAMPLE,
        hop_count=2,
        thread_id="t",
        target_roles=("reviewer",),
        required_expertise=("parsing",),
        priority=Priority.URGENT,
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
    )
    assert decode(encode(full)) == full
    assert json.loads(encode(full))["priority"] == "urgent"


def test_unknown_fields_are_ignored() -> None:
    assert decode(changed(later="field")).type == "meta_discussion"


def test_over_256_kib_neither_leaves_nor_enters() -> None:
    big = msgspec.structs.replace(
        envelope("meta_discussion", EXAMPLE), data=msgspec.Raw(b'{"x":"' + b"a" * 262_144 + b'"}')
    )
    with pytest.raises(TooLarge, match="the limit is 262144"):
        encode(big)
    with pytest.raises(TooLarge):
        decode(b"x" * (MAX_ENVELOPE_BYTES + 1))


def test_a_newer_version_is_told_from_garbage() -> None:
    with pytest.raises(NewerVersion):
        decode(changed(v=2, kind="hive"))


@pytest.mark.parametrize(
    "fields",
    [
        {"v": 0},
        {"id": "not-a-uuid"},
        {"id": "01234567-89ab-4def-8123-456789abcdef"},
        {"type": "Bad Type"},
        {"from": ""},
        {"from": "x" * 65},
        {"agent_id": 7},
        {"kind": "robot"},
        {"hlc": "now"},
        {"sent_at": "yesterday at half past four"},
        {"data": []},
        {"data": "text"},
        {"hop_count": -1},
        {"priority": "extreme"},
        {"traceparent": "00-xyz"},
        {"target_roles": ["r"] * 65},
    ],
    ids=str,
)
def test_what_breaks_the_schema_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(VerificationFailed):
        decode(changed(**fields))


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"\xff\xfe", b"null", b'{"data":' + b"[" * 100_000, changed(data={"t": "x"})[:-3] + b'\xff"}}'],
    ids=["empty", "cut", "not utf-8", "null", "deep", "raw bytes in data"],
)
def test_garbage_is_refused(payload: bytes) -> None:
    with pytest.raises(VerificationFailed):
        decode(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300)
@given(field=st.sampled_from(sorted(Envelope.__struct_encode_fields__)), value=json_values)
def test_any_value_in_any_field_gives_an_envelope_or_a_clean_refusal(field: str, value: Any) -> None:
    try:
        arrived = decode(changed(**{field: value}))
        catalogue.read(arrived)
    except VerificationFailed:
        return
    assert catalogue.summary(arrived) is not None


@given(st.text(max_size=400))
def test_one_line_is_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 200
    assert line.isprintable()
