"""The grammar: one canonical spelling that reads back, errors that say where, patterns that cover."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.errors import InvalidAddress
from agent_core.ucxl.address import (
    LATEST,
    SCHEME,
    Address,
    Moment,
    Temporal,
    component_of,
    parse,
    parse_pattern,
    parse_place,
    parse_temporal,
)

NAMES = st.text("abcXYZ019-_.", min_size=1, max_size=12).filter(lambda s: s != "any" and s.strip("."))
SEGMENTS = NAMES | st.just("any")
TEMPORALS = st.one_of(
    st.just(LATEST),
    st.just(Temporal(Moment.FIRST)),
    st.builds(Temporal, st.sampled_from([Moment.BACK, Moment.FORWARD]), st.integers(0, 10**9 - 1)),
    st.builds(Temporal, st.just(Moment.AT), st.integers(0, 253_402_300_799_999)),
)
PRINTABLE = [chr(c) for c in range(0x21, 0x7F)]


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    path = "/".join(draw(st.lists(SEGMENTS | st.just("*"), max_size=4)))
    fragment = draw(st.text(PRINTABLE, max_size=10))
    return Address(
        *(draw(NAMES | st.just("*")) for _ in range(4)),
        path=path,
        temporal=draw(TEMPORALS),
        query=draw(st.text([c for c in PRINTABLE if c != "#"], max_size=10)),
        fragment=fragment if path else fragment.lstrip("/"),
    )


@given(addresses())
def test_what_is_written_reads_back(address: Address) -> None:
    assert parse(str(address)) == address


@given(st.text(max_size=80) | st.text([*"ucxl:/@#*^~?ab1.", " "], max_size=60).map(lambda t: SCHEME + t))
def test_any_text_is_an_address_or_refused_in_one_sentence(text: str) -> None:
    refused, address = None, None
    try:
        address = parse(text)
    except InvalidAddress as error:
        refused = error
    if address is not None:
        assert parse(str(address)) == address
    else:
        assert refused is not None
        assert "at position" in refused.message
        assert refused.next


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("ucxl://a:b@c:d", "ucxl://a:b@c:d/"),
        ("ucxl://a:b@c:d/#/docs/x.md", "ucxl://a:b@c:d/docs/x.md"),
        ("ucxl://a:b@c:d/#/~~2/docs", "ucxl://a:b@c:d/~~2/docs"),
        ("ucxl://a:b@c:d/*^/docs/", "ucxl://a:b@c:d/docs"),
        ("UCXL://any:b@c:any/x", "ucxl://*:b@c:*/x"),
        ("ucxl://a:b@c:d/@2026-01-31T12:00:00+02:00/x?q=1#f", "ucxl://a:b@c:d/@2026-01-31T10:00:00.000Z/x?q=1#f"),
        ("ucxl://a:b@c:d/~~007/x", "ucxl://a:b@c:d/~~7/x"),
        ("ucxl://a:b@c:d/x#/y", "ucxl://a:b@c:d/x#/y"),
    ],
)
def test_other_spellings_become_the_canonical_one(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("http://x", 1, "'ucxl://'"),
        ("ucxl://", 8, "an agent"),
        ("ucxl://a", 9, "':' and a role"),
        ("ucxl://a:b@c:d/x y", 17, "'/' or the end of the path"),
        ("ucxl://a:b@c:d/x/../y", 18, "a path segment"),
        ("ucxl://a:b@c:d/x//y", 18, "a path segment"),
        ("ucxl://a:b@c:dé/x", 15, "'/'"),
        ("ucxl://a:b@c:d/~~/x", 18, "a number of versions"),
        ("ucxl://a:b@c:d/^^99999999999/x", 18, "a number of versions"),
        ("ucxl://a:b@c:d/@yesterday/x", 17, "an RFC 3339 time"),
        ("ucxl://a:b@c:d/@1969-12-31T23:59:59Z/x", 17, "an RFC 3339 time"),
        ("ucxl://a:b@c:d/x?q=ä", 20, "printable ASCII"),
        (f"ucxl://{'a' * 65}:b@c:d/x", 8, "an agent of at most 64"),
    ],
)
def test_errors_say_where_and_what(text: str, position: int, expected: str) -> None:
    with pytest.raises(InvalidAddress) as refused:
        parse(text)
    assert f"expected {expected}" in refused.value.message
    assert f"position {position}," in refused.value.message
    assert refused.value.ucxl_code == "UCXL-400-INVALID_ADDRESS"


def test_a_huge_text_is_refused_without_repeating_it() -> None:
    with pytest.raises(InvalidAddress) as refused:
        parse("ucxl://" + "a" * 10_000_000)
    assert len(refused.value.message) < 200


def test_places_have_no_wildcards_and_drop_the_version() -> None:
    assert str(parse_place("ucxl://a:b@c:d/~~1/x?q#f")) == "ucxl://a:b@c:d/x"
    for pattern in ("ucxl://any:b@c:d/x", "ucxl://a:b@c:*/x", "ucxl://a:b@c:d/*/x"):
        with pytest.raises(InvalidAddress, match="wildcard"):
            parse_place(pattern)


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("", True),
        ("*", True),
        ("ucxl://any:any@c:d/", True),
        ("ucxl://a:b@c:d/docs", True),
        ("ucxl://a:b@c:d/docs/x.md", True),
        ("ucxl://a:*@*:d/*/x.md", True),
        ("ucxl://a:b@c:d/docs/x.md/more", False),
        ("ucxl://a:b@c:d/doc", False),
        ("ucxl://z:b@c:d/docs", False),
    ],
)
def test_patterns_cover_what_matches_and_what_lies_below(pattern: str, covered: bool) -> None:
    assert parse_pattern(pattern).covers(parse("ucxl://a:b@c:d/docs/x.md")) is covered


def test_temporal_segments_alone() -> None:
    assert parse_temporal("~~3") == Temporal(Moment.BACK, 3)
    assert parse_temporal("deadbeef") is None
    with pytest.raises(InvalidAddress):
        parse_temporal("~~3x")


@given(st.text(max_size=80))
def test_any_name_can_be_made_a_component(name: str) -> None:
    made = component_of(name)
    assert parse(f"ucxl://{made}:b@c:d/{made}").agent == made
    assert not parse(f"ucxl://{made}:b@c:d/{made}").is_pattern
