"""Finding peers and records: mDNS on loopback, and the DHT."""

from __future__ import annotations

import pytest

from agent_core.errors import TooLarge, Unavailable
from agent_core.mesh.discovery import TAG, read_properties
from tests.support.meshes import config, connected, running
from tests.support.network_conformance import eventually

PEER = "12D3KooWAfmVgxWUSPUMyZ4hy2ZGoYfSCXdVbvLMPh5NwCdcWFvx"


@pytest.mark.real
async def test_nodes_of_one_network_find_each_other_by_mdns() -> None:
    mdns = {"mdns_interfaces": ("127.0.0.1",)}
    async with running(config(1, **mdns), config(2, **mdns), config(3, network="other", **mdns)) as (a, b, foreign):
        await eventually(lambda: connected(a, b), 15)
        assert not foreign.peers()
        assert not a.notes
        assert not foreign.notes


@pytest.mark.real
async def test_a_record_put_on_one_node_is_got_on_another() -> None:
    async with running(config(1, dht=True)) as (a,), running(config(2, a.addresses[0], dht=True)) as (b,):
        await eventually(lambda: connected(a, b))
        key = await a.dht_put(b"a record")
        assert await b.dht_get(key) == b"a record"
        assert await b.dht_get(key[:-4] + "0000") is None
        with pytest.raises(TooLarge):
            await a.dht_put(bytes(8193))


@pytest.mark.real
async def test_without_the_setting_there_is_no_dht() -> None:
    async with running(config(1)) as (network,):
        with pytest.raises(Unavailable):
            await network.dht_put(b"a record")


def test_txt_records_of_others_are_read_with_care() -> None:
    good = {b"tag": TAG.encode(), b"network": b"test", b"addr0": f"/ip4/127.0.0.1/tcp/9000/p2p/{PEER}".encode()}
    assert read_properties(good, "test") == (f"/ip4/127.0.0.1/tcp/9000/p2p/{PEER}",)
    assert read_properties(good, "other") == ()
    assert read_properties(good | {b"tag": None}, "test") == ()
    assert read_properties(good | {b"addr0": b"\xff\xfe", b"addr1": b"/ip4/1.2.3.4/tcp/1"}, "test") == ()
