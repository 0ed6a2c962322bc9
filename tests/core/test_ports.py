"""Which port is taken: asked for or an error; else the default, another one that is remembered, and a word about it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from agent_core.errors import ConfigError, PortInUse
from agent_core.ports import choose, is_free

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as other:
        yield other.getsockname()[1]


def test_a_port_asked_for_is_used_or_an_error(taken: int) -> None:
    with pytest.raises(PortInUse) as caught:
        choose("api.port", HOST, taken, asked=True)
    assert str(taken) in caught.value.message
    assert "--set api.port=" in caught.value.next
    with socket.create_server((HOST, 0)) as other:
        free = other.getsockname()[1]
    assert choose("api.port", HOST, free, asked=True, remembered=taken).port == free


def test_a_default_that_is_taken_is_replaced_said_and_tried_first_next_time(taken: int) -> None:
    first = choose("p2p.port", HOST, taken, asked=False)
    assert first.port != taken
    assert is_free(HOST, first.port)
    assert str(taken) in first.note
    assert str(first.port) in first.note
    again = choose("p2p.port", HOST, taken, asked=False, remembered=first.port)
    assert again.port == first.port
    assert str(first.port) in again.note


def test_any_free_port_is_any_free_port(taken: int) -> None:
    assert choose("p2p.port", HOST, 0, asked=True) == choose("p2p.port", HOST, 0, asked=True, remembered=taken)


@pytest.mark.parametrize("host", ["nonsense.invalid", "192.0.2.1"])
def test_an_address_of_nobody_here_names_its_setting(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose("metrics.port", host, 9090, asked=False)
    assert host in caught.value.message
    assert "http.host" in caught.value.next
