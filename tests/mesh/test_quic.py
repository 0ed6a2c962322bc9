"""The mesh over QUIC: the suite that every network passes, and what QUIC does otherwise than TCP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agent_core.errors import PortInUse
from agent_core.multiaddrs import is_quic
from agent_core.network import DialResult, Network
from tests.support.meshes import config, connected, process, running
from tests.support.network_conformance import *  # noqa: F403
from tests.support.network_conformance import Watched, eventually

pytestmark = pytest.mark.real

BOTH = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1")


def quic_address(network: Network) -> str:
    """Where a node listens on QUIC."""
    return next(address for address in network.addresses if is_quic(address))


@pytest.fixture
async def trio_of_networks() -> AsyncIterator[list[Network]]:
    """Three nodes that listen on both and dialled each other by QUIC."""
    async with running(*(config(n, listen=BOTH, wanted_peers=0) for n in (1, 2, 3))) as networks:
        first, second, third = networks
        for here, there in ((second, first), (third, first), (third, second)):
            assert await here.dial(quic_address(there)) is DialResult.CONNECTED
        await eventually(lambda: connected(*networks))
        assert all(is_quic_connection(c) for network in networks for c in network._table.all_connections())
        yield list(networks)


def is_quic_connection(connection: object) -> bool:
    """Whether a connection of the peer table is one of QUIC."""
    return type(connection.handle.muxed_conn).__name__ == "QUICConnection"  # type: ignore[attr-defined]


async def test_a_killed_process_is_no_evidence_over_quic_and_its_tcp_port_still_is() -> None:
    """Nothing closes the connection of a killed process; a probe of its TCP port says that its host refuses."""
    async with (
        process(7, ",".join(BOTH)) as child,
        running(config(1, listen=BOTH, ping_interval_s=0.2, ping_timeout_s=1.0)) as (here,),
    ):
        seen = Watched(here)
        assert await here.dial(next(a for a in child.addresses if is_quic(a))) is DialResult.CONNECTED
        here._table.remember(child.peer_id, child.addresses, proven=True)
        child.kill()
        await seen.sees((child.peer_id, False, False), 20)
        assert (child.peer_id, False, True) not in seen.events, "silence isn't a close"
        assert await here.probe(child.peer_id) is DialResult.REFUSED


async def test_a_quic_port_is_nobody_elses() -> None:
    from agent_core.mesh.host import check_bindable

    async with running(config(1, listen=BOTH)) as (here,):
        taken = quic_address(here).rpartition("/p2p/")[0]
        with pytest.raises(PortInUse):
            check_bindable((taken,))
