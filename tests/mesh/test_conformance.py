"""The mesh keeps the Network protocol: the shared suite over three real nodes on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agent_core.network import Network
from tests.support.meshes import config, connected, running
from tests.support.network_conformance import *  # noqa: F403  (the suite)
from tests.support.network_conformance import eventually

pytestmark = pytest.mark.real


@pytest.fixture
async def trio_of_networks() -> AsyncIterator[list[Network]]:
    async with (
        running(config(1)) as (first,),
        running(config(2, first.addresses[0]), config(3, first.addresses[0])) as (second, third),
    ):
        await eventually(lambda: connected(first, second, third))
        yield [first, second, third]
