"""Judging: each verdict with its reason, in bounded memory."""

from __future__ import annotations

import msgspec
import pytest

from agent_core.network import Verdict
from agent_core.wire import catalogue
from agent_core.wire.envelope import Envelope, encode
from agent_core.wire.judge import Judgement, Limits, MessageJudge, Standing
from tests.support.envelopes import ALICE, NOW_MS, envelope

EXAMPLE = catalogue.get("status_update").example


def judge(standing: Standing = Standing.MEMBER, **limits: float) -> MessageJudge:
    return MessageJudge(lambda peer: standing, Limits(**limits))  # type: ignore[arg-type]


def status(now_ms: int = NOW_MS) -> Envelope:
    return envelope("status_update", EXAMPLE, now_ms=now_ms)


def verdict(result: Judgement) -> tuple[Verdict, str]:
    return result.verdict, result.reason


def test_a_members_message_is_accepted_and_typed() -> None:
    result = judge().judge(encode(status()), NOW_MS)
    assert verdict(result) == (Verdict.ACCEPT, "")
    assert result.data == EXAMPLE


def test_an_unknown_type_is_accepted() -> None:
    result = judge().judge(encode(envelope("later.version", EXAMPLE)), NOW_MS)
    assert result.verdict is Verdict.ACCEPT
    assert result.data is None


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"x" * 262_145, "the limit is 262144"),
        (b"garbage", "isn't an envelope"),
        (encode(msgspec.structs.replace(status(), data=msgspec.Raw(b'{"status":7}'))), "isn't a status_update"),
    ],
    ids=["size", "envelope", "schema"],
)
def test_what_any_honest_relay_would_have_seen_is_rejected(payload: bytes, reason: str) -> None:
    result = judge().judge(payload, NOW_MS)
    assert result.verdict is Verdict.REJECT
    assert reason in result.reason


def test_another_name_than_the_signature_is_rejected() -> None:
    payload = encode(status())
    assert judge().judge(payload, NOW_MS, author=ALICE).verdict is Verdict.ACCEPT
    assert judge().judge(payload, NOW_MS, author="12D3KooWMallory").verdict is Verdict.REJECT


@pytest.mark.parametrize("standing", [Standing.UNKNOWN, Standing.REVOKED])
def test_who_is_no_member_is_ignored_and_only_the_unknown_may_wait(standing: Standing) -> None:
    result = judge(standing).judge(encode(status()), NOW_MS)
    assert verdict(result) == (Verdict.IGNORE, f"the author is {standing}")
    assert result.wait == (standing is Standing.UNKNOWN)


@pytest.mark.parametrize("off_s", [121, -121])
def test_a_clock_more_than_two_minutes_off_is_ignored(off_s: int) -> None:
    result = judge().judge(encode(status(NOW_MS + off_s * 1000)), NOW_MS)
    assert verdict(result) == (Verdict.IGNORE, f"its clock is {off_s:+d} s off")
    assert judge().judge(encode(status(NOW_MS + off_s * 990)), NOW_MS).verdict is Verdict.ACCEPT


def test_the_same_message_twice_is_ignored_but_not_somebody_elses_of_the_same_id() -> None:
    one = judge()
    first = status()
    assert one.judge(encode(first), NOW_MS).verdict is Verdict.ACCEPT
    assert verdict(one.judge(encode(first), NOW_MS)) == (Verdict.IGNORE, "seen before")
    other = msgspec.structs.replace(first, sender="12D3KooWBob")
    assert one.judge(encode(other), NOW_MS).verdict is Verdict.ACCEPT


def test_an_author_over_its_budget_is_ignored_until_it_has_saved_again() -> None:
    one = judge(rate_per_s=1, burst=2)
    results = [one.judge(encode(status()), NOW_MS) for _ in range(3)]
    assert [r.verdict for r in results] == [Verdict.ACCEPT, Verdict.ACCEPT, Verdict.IGNORE]
    assert results[2].reason == "the author is over its budget"
    other = encode(msgspec.structs.replace(status(), sender="12D3KooWBob"))
    assert one.judge(other, NOW_MS).verdict is Verdict.ACCEPT
    assert one.judge(encode(status(NOW_MS + 1000)), NOW_MS + 1000).verdict is Verdict.ACCEPT


def test_a_large_message_costs_more() -> None:
    one = judge(rate_per_s=0.001, burst=10)
    large = envelope("meta_discussion", catalogue.get("meta_discussion").schema(text="x" * 60_000))
    results = [one.judge(encode(msgspec.structs.replace(large, id=status().id)), NOW_MS) for _ in range(3)]
    assert [r.verdict for r in results] == [Verdict.ACCEPT, Verdict.ACCEPT, Verdict.IGNORE]


def test_memory_is_bounded() -> None:
    one = judge(ids=3, authors=2)
    messages = [msgspec.structs.replace(status(), sender=f"12D3{n}") for n in range(50)]
    assert all(one.judge(encode(m), NOW_MS).verdict is Verdict.ACCEPT for m in messages)
    assert len(one._seen) == 3
    assert len(one._budgets) == 2
