"""Finding peers and records: mDNS on loopback, and the DHT."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from agent_core.errors import TooLarge, Unavailable
from agent_core.mesh.discovery import TAG, asked, read_properties
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


def test_who_cant_be_asked_is_not_known_and_ends_no_looking() -> None:
    from zeroconf import EventLoopBlocked, NotRunningException

    for why in (EventLoopBlocked(), NotRunningException(), AssertionError(), RuntimeError()):

        def request(zeroconf: object, timeout_ms: float, why: Exception = why) -> bool:
            raise why

        info: Any = SimpleNamespace(name="n", load_from_cache=lambda zeroconf: False, request=request)
        assert not asked(info, SimpleNamespace())


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


@pytest.mark.real
async def test_who_has_something_is_found_by_its_provider_record() -> None:
    async with (
        running(config(1, dht=True, wanted_peers=0)) as (hub,),
        running(config(2, hub.addresses[0], dht=True, wanted_peers=0)) as (owner,),
        running(config(3, hub.addresses[0], dht=True, wanted_peers=0)) as (asker,),
    ):
        await eventually(lambda: connected(hub, owner) and connected(hub, asker))
        what, other = b"w" * 32, b"o" * 32
        with trio.fail_after(20):
            while not await owner.provide(what):  # noqa: ASYNC110 (what is waited for is in libp2p)
                await trio.sleep(0.1)
        assert await asker.connect_provider(other, lambda peer: True) == []
        assert await asker.connect_provider(what, lambda peer: False) == []
        assert await asker.connect_provider(what, lambda peer: True) == [owner.peer_id]
        assert connected(owner, asker)


def test_the_provider_store_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from libp2p.kad_dht.provider_store import ProviderStore

    from agent_core.mesh import dht

    class Host:
        def get_id(self) -> str:
            return "me"

    monkeypatch.setattr(dht, "MAX_PROVIDED", 6)
    monkeypatch.setattr(dht, "MAX_PROVIDED_BY_ONE", 4)
    store = ProviderStore(Host())
    dht._bound(store)
    for n in range(10):
        store.add_provider(b"greedy %d" % n, SimpleNamespace(peer_id="greedy", addrs=[]))
    assert store.size() == 4
    for n in range(10):
        store.add_provider(b"%d" % n, SimpleNamespace(peer_id=f"peer {n}", addrs=[]))
    assert store.size() == 6
    assert b"9" in store.providers
