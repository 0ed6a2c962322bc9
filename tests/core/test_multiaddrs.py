"""Multiaddrs as text, and what is believed of the addresses others claim."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.errors import ConfigError
from agent_core.mesh.hello import MAX_ADDRESSES, Hello, decode_hello, decode_peers, encode, seen_from_here
from agent_core.multiaddrs import canonical, endpoint, multiaddr, parse, parse_peer

PEER = "12D3KooWAfmVgxWUSPUMyZ4hy2ZGoYfSCXdVbvLMPh5NwCdcWFvx"
OTHER = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"


@given(host=st.ip_addresses(), port=st.integers(1, 65535))
def test_what_is_written_is_read(host: object, port: int) -> None:
    if "%" not in str(host):
        assert parse_peer(multiaddr(str(host), port, PEER)) == (str(host), port, PEER)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "9000",
        "/ip4/127.0.0.1",
        "/ip4/300.0.0.1/tcp/1",
        "/ip4/::1/tcp/1",
        "/ip4/127.0.0.1/udp/1",
        "/ip4/127.0.0.1/tcp/70000",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        parse(address)
    with pytest.raises(ConfigError):
        endpoint(address)


@pytest.mark.parametrize(
    "end", ["", "/p2p/", "/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "/p2p/" + PEER[:-1]]
)
def test_a_peer_to_dial_must_be_named(end: str) -> None:
    with pytest.raises(ValueError):
        parse_peer("/ip4/127.0.0.1/tcp/9000" + end)


def test_claimed_addresses_count_for_their_ports_only() -> None:
    claimed = (f"/ip4/10.9.9.9/tcp/22/p2p/{PEER}", f"/ip4/10.0.0.1/tcp/9000/p2p/{OTHER}", "nonsense")
    assert seen_from_here(claimed, PEER, "10.0.0.1") == [f"/ip4/10.0.0.1/tcp/22/p2p/{PEER}"]


def test_hellos_are_read_with_bounds() -> None:
    long = encode(Hello(v=1, network="test", addresses=("x" * 10,) * 50, peers=("y" * 1000, "z")))
    hello = decode_hello(long)
    assert len(hello.addresses) == MAX_ADDRESSES
    assert hello.peers == ("z",)


@given(st.binary(max_size=200))
def test_no_frame_makes_reading_raise_anything_else(frame: bytes) -> None:
    for decode in (decode_hello, decode_peers):
        try:
            decode(frame)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("address", "spelled"),
    [
        (f"/ip4/127.0.0.1/tcp/9000/ipfs/{PEER}", f"/ip4/127.0.0.1/tcp/9000/p2p/{PEER}"),
        (f" /ip6/0:0::1/tcp/09000/p2p/{PEER}\n", f"/ip6/::1/tcp/9000/p2p/{PEER}"),
        (f"/dns/example.org/udp/9/quic-v1/p2p/{PEER}", f"/dns/example.org/udp/9/quic-v1/p2p/{PEER}"),
        (f"/dns4/localhost/tcp/1/p2p/{PEER}", f"/dns4/localhost/tcp/1/p2p/{PEER}"),
    ],
)
def test_a_peers_address_has_one_spelling(address: str, spelled: str) -> None:
    assert canonical(address) == spelled == canonical(spelled)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (f"/ip6/fe80::1%lo/tcp/1/p2p/{PEER}", "zone"),
        (f"/ip6zone/lo/ip6/fe80::1/tcp/1/p2p/{PEER}", "zone"),
        (f"/dnsaddr/example.org/p2p/{PEER}", "TXT"),
        (f"/ip4/127.0.0.1/tcp/1/ws/p2p/{PEER}", "websockets"),
        (f"/ip4/127.0.0.1/udp/1/quic/p2p/{PEER}", "old form"),
        (f"/ip4/127.0.0.1/udp/1/quic-v1/webtransport/p2p/{PEER}", "WebTransport"),
        (f"/ip4/127.0.0.1/tcp/1/p2p/{OTHER}/p2p-circuit/p2p/{PEER}", "relays"),
        ("127.0.0.1:9000", "whose"),
        (f"/dns4/a..b/tcp/1/p2p/{PEER}", "no host"),
        (f"/dns4/-a/tcp/1/p2p/{PEER}", "no host"),
        (f"/dns4/{'a' * 64}/tcp/1/p2p/{PEER}", "no host"),
        (f"/dns4/a b/tcp/1/p2p/{PEER}", "no host"),
        (f"/ip4/127.0.0.1/tcp/0/p2p/{PEER}", "no port"),
        (f"/ip4/127.1/tcp/1/p2p/{PEER}", "127.1"),
        (f"/ip4/127.0.0.1/tcp/\u0661/p2p/{PEER}", "form"),
        (f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}/", "form"),
        (f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}x", "peer id"),
    ],
)
def test_what_cant_be_dialled_is_refused_in_words(address: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        canonical(address)


@given(st.text(max_size=80) | st.text("/ip4ip6dns4tcpudpquic-v1p2p127.0.1:%", max_size=60).map(lambda t: "/" + t))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        assert canonical(canonical(text)) == canonical(text)
    except ValueError:
        return
