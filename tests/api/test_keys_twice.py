"""A key twice in one JSON object: calls and bodies are refused, messages ignored, entries kept and void, whatever the depth."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.errors import VerificationFailed
from agent_core.feeds.model import Entry
from agent_core.hmmm.model import MessageData
from agent_core.mesh.hello import decode_hello, decode_peers
from agent_core.network import Verdict
from agent_core.roster import admission
from agent_core.strict_json import KeyTwice, check_keys, has_key_twice
from agent_core.wire import catalogue
from agent_core.wire.envelope import encode
from agent_core.wire.families.cooee import CooeeHello
from agent_core.wire.judge import MessageJudge, Standing
from tests.api.test_control import serving
from tests.api.test_http import site
from tests.support.envelopes import NOW_MS, envelope
from tests.support.writing import Feed


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'[{"x":[{"b":{},"c":1,"b":2}]}]',
        b'{"":1, "":2}',
        b'{"a":{"b":1,"b":1},"c":[]}',
    ],
)
def test_a_key_twice_is_seen_however_deep_and_however_spelled(raw: bytes) -> None:
    assert has_key_twice(raw)
    with pytest.raises(KeyTwice, match="twice"):
        check_keys(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.integers(0, 2))
def test_whatever_an_encoder_writes_has_no_key_twice(value: object, indent: int) -> None:
    raw = msgspec.json.encode(value)
    assert not has_key_twice(msgspec.json.format(raw, indent=indent))


def test_nobody_waits_long_for_an_answer() -> None:
    many = b"{" + b",".join(b'"k%d":0' % n for n in range(50_000)) + b',"k0":1}'
    assert has_key_twice(many)
    assert not has_key_twice(b"[" * 100_000)
    assert not has_key_twice(b'{"a":' + b"1" * 10_000 + b', "b":1}')


async def test_calls_over_the_control_socket(tmp_path: Path) -> None:
    async with serving(tmp_path / "c.sock") as served, served.client() as client:
        for params in (
            b'{"room":"a","room":"b","text":"x"}',
            b'{"room":"a","text":"x","citations":[{"address":"a","address":"b"}]}',
        ):
            await client.raw(b'{"jsonrpc":"2.0","id":7,"method":"hmmm.post","params":' + params + b"}\n")
            answer = await client.answer()
            assert answer["id"] == 7
            assert "twice" in answer["error"]["message"]
        await client.raw(b'{"jsonrpc":"2.0","id":7,"method":"status","method":"hmmm.rooms","params":{}}\n')
        assert "error" in await client.answer()
        assert served.node.calls == []
        assert "result" in await client.call("hmmm.rooms")


async def test_bodies_of_http() -> None:
    async with site() as served, served.client() as client:
        answer = await client.post("/api/v1/op/hmmm.post", content=b'{"room":"a","room":"b","text":"x"}')
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_input"
        assert "twice" in answer.json()["error"]["message"]
        assert served.node.calls == []


def test_messages_are_ignored_and_their_relay_isnt_blamed() -> None:
    plain = encode(envelope("status_update", catalogue.get("status_update").example, now_ms=NOW_MS))
    judge = MessageJudge(lambda peer: Standing.MEMBER)
    for twice in (plain.replace(b'"v":1', b'"v":1,"v":1', 1), plain.replace(b'"data":{', b'"data":{"x":1,"x":2,', 1)):
        assert twice != plain
        result = judge.judge(twice, NOW_MS)
        assert (result.verdict, "twice" in result.reason) == (Verdict.IGNORE, True)
    assert judge.judge(plain, NOW_MS).verdict is Verdict.ACCEPT


def test_entries_are_kept_and_say_nothing() -> None:
    entry = Feed("ann").write("hmmm.message", MessageData(room="r", intent="update"))
    assert entry.data(MessageData) is not None
    for twice in (
        entry.raw.replace(b'"room":"r"', b'"room":"r","room":"s"'),
        entry.raw.replace(b'"v":', b'"v":1,"v":', 1),
    ):
        assert twice != entry.raw
        kept = Entry.parse(twice)  # feeds have no gaps: what an older node relays is stored
        assert kept.key == entry.key
        assert kept.data(MessageData) is None


def test_frames_between_nodes() -> None:
    frame = admission.encode(CooeeHello(network="chorus", agent_id="a"))
    assert admission.decode(frame)
    with pytest.raises(VerificationFailed):
        admission.decode(frame.replace(b'"network":"chorus"', b'"network":"chorus","network":"other"'))
    with pytest.raises(ValueError):
        decode_hello(b'{"v":1,"network":"a","network":"b"}')
    assert decode_peers(b'{"peers":["a"]}') == ("a",)
