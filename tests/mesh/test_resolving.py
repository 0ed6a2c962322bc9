"""Names of hosts go by the system's resolver, hosts file and all, and nobody but who asks waits for it."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
import trio

from agent_core.mesh import resolving
from agent_core.mesh.dialer import probe
from agent_core.mesh.resolving import Unresolved, resolve
from agent_core.network import DialResult

PEER = "12D3KooWAfmVgxWUSPUMyZ4hy2ZGoYfSCXdVbvLMPh5NwCdcWFvx"


async def test_localhost_is_found_where_the_hosts_file_has_it() -> None:
    assert await resolve(f"/dns4/localhost/tcp/9/p2p/{PEER}") == (f"/ip4/127.0.0.1/tcp/9/p2p/{PEER}",)
    assert f"/ip4/127.0.0.1/udp/9/quic-v1/p2p/{PEER}" in await resolve(f"/dns/localhost/udp/9/quic-v1/p2p/{PEER}")
    plain = f"/ip6/::1/tcp/9/p2p/{PEER}"
    assert await resolve(plain) == (plain,)


async def test_every_kind_asks_for_its_family_and_zones_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def getaddrinfo(host: str, port: int, family: int, kind: int) -> list[Any]:
        asked.append((host, family))
        return [(family, kind, 6, "", (at, port)) for at in ("192.0.2.1", "192.0.2.1", "fe80::1%lo", "2001:db8::1")]

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    for kind in ("dns", "dns4", "dns6"):
        found = await resolve(f"/{kind}/node.example/tcp/9/p2p/{PEER}")
        assert found == (f"/ip4/192.0.2.1/tcp/9/p2p/{PEER}", f"/ip6/2001:db8::1/tcp/9/p2p/{PEER}")
    assert [family for _, family in asked] == [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6]


@pytest.mark.parametrize("raised", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
async def test_a_name_nobody_knows_is_said_in_words(raised: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: Any) -> list[Any]:
        raise raised

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(Unresolved, match=r"the name nowhere\.example can't be resolved"):
        await resolve(f"/dns4/nowhere.example/tcp/9/p2p/{PEER}")
    # Who can't be found hasn't refused: that would be evidence of death.
    assert await probe([f"/dns4/nowhere.example/tcp/9/p2p/{PEER}"]) is DialResult.SILENT


async def test_a_resolver_that_hangs_stops_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    release = trio.Event()

    async def getaddrinfo(*_: Any) -> list[Any]:
        await release.wait()
        return []

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(resolving, "RESOLVE_S", 0.05)
    began = time.monotonic()
    with pytest.raises(Unresolved, match=r"within 0\.05 s"):
        await resolve(f"/dns4/slow.example/tcp/9/p2p/{PEER}")
    assert time.monotonic() - began < 5


async def test_a_name_refuses_only_if_all_that_it_stands_for_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        addresses = ["127.0.0.2", "127.0.0.1"]

        async def getaddrinfo(host: str, port: int, *_: Any) -> list[Any]:
            return [(0, 0, 0, "", (at, port)) for at in addresses]

        monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
        assert await probe([f"/dns4/node.example/tcp/{port}/p2p/{PEER}"]) is DialResult.CONNECTED
        addresses.pop()
        assert await probe([f"/dns4/node.example/tcp/{port}/p2p/{PEER}"]) is DialResult.REFUSED
