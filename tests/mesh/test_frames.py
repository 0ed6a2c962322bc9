"""The fences below gossip, as pure functions of time: yamux headers, and who is let in."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.mesh.entrance import Entrance, Guest, host_of
from agent_core.mesh.frames import ALL, MAX_GRANT_BYTES, PINGS, WINDOW_BYTES, FrameFence, FrameRefused
from agent_core.network import Offence

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8


def header(kind: int, flags: int = 0, stream: int = 1, length: int = 0, version: int = 0) -> bytes:
    """A yamux header."""
    return struct.pack("!BBHII", version, kind, flags, stream, length)


def passes(fence: FrameFence, frame: bytes, now: float) -> bool:
    """Whether a frame is taken, for a stream that isn't open."""
    try:
        fence.take(frame, None, 0, now)
    except FrameRefused:
        return False
    return True


@pytest.mark.parametrize(
    "frame",
    [
        header(DATA, SYN, 1, 100),
        header(WINDOW, SYN, 3, 0),
        header(DATA, 0, 1, WINDOW_BYTES),
        header(WINDOW, FIN, 1, 0),
        header(WINDOW, RST, 1, 0),
        header(WINDOW, 0, 1, 1 << 20),
        header(PING, SYN, 0, 7),
        header(GO_AWAY, 0, 0, 0),
    ],
)
def test_what_honest_peers_send_passes(frame: bytes) -> None:
    assert FrameFence(False, 0.0).take(frame, WINDOW_BYTES, WINDOW_BYTES, 0.0) == 0.0


@pytest.mark.parametrize(
    ("frame", "offence"),
    [
        (header(DATA, version=1), Offence.FRAME),
        (header(4, stream=0), Offence.FRAME),
        (header(DATA, stream=0), Offence.FRAME),
        (header(PING, SYN, stream=5), Offence.FRAME),
        (header(WINDOW, SYN, stream=2), Offence.FRAME),
        (header(DATA, length=1001), Offence.WINDOW),
        (header(WINDOW, length=MAX_GRANT_BYTES), Offence.WINDOW),
    ],
)
def test_what_nobody_honest_sends_is_refused(frame: bytes, offence: Offence) -> None:
    with pytest.raises(FrameRefused) as refused:
        FrameFence(False, 0.0).take(frame, 1000, 1000, 0.0)
    assert refused.value.offence is offence


def test_who_dialled_decides_whose_stream_numbers_are_whose() -> None:
    FrameFence(True, 0.0).take(header(WINDOW, SYN, 2), None, 0, 0.0)
    with pytest.raises(FrameRefused):
        FrameFence(True, 0.0).take(header(WINDOW, SYN, 1), None, 0, 0.0)


def test_data_for_a_stream_that_has_just_closed_is_borne_but_not_for_ever() -> None:
    fence = FrameFence(False, 0.0)
    for _ in range(4 * WINDOW_BYTES // 60_000):
        fence.take(header(DATA, length=60_000), None, 0, 0.0)
    assert not all(passes(fence, header(DATA, length=60_000), 0.0) for _ in range(70))


@given(st.lists(st.floats(0, 0.2), max_size=400))
def test_no_more_pings_are_answered_than_the_ration(waits: list[float]) -> None:
    fence, now, answered = FrameFence(False, 0.0), 0.0, 0
    for wait in waits:
        now += wait
        answered += passes(fence, header(PING, SYN, 0), now)
    assert answered <= PINGS[1] + PINGS[0] * now + 1


def test_many_frames_of_data_wait_and_are_no_offence() -> None:
    fence = FrameFence(False, 0.0)
    pauses = [fence.take(header(DATA, length=1), 1 << 18, 0, 0.0) for _ in range(int(ALL[1]) + 1)]
    assert not any(pauses[:-1])
    assert 0 < pauses[-1] <= 1 / ALL[0] + 1e-9


def entrance(**bounds: float) -> Entrance:
    """Ten places, four of them for handshakes."""
    return Entrance(**({"most": 10, "of_host": 5, "waiting": 4, "knocks": 100.0} | bounds))  # type: ignore[arg-type]


def test_a_host_that_shakes_hands_for_ever_shows_its_own_oldest_out() -> None:
    door, out = entrance(), []
    for n in range(3):
        door.knock("10.0.0.1", lambda n=n: out.append(n), 0.0)
    other = door.knock("10.0.0.2", lambda: out.append("other"), 0.0)
    assert out == [0]
    assert isinstance(other, Guest)
    assert door.turned_away == 1


def test_who_was_let_in_is_not_shown_out() -> None:
    door, out = entrance(), []
    first = door.knock("10.0.0.1", lambda: out.append("first"), 0.0)
    assert first
    door.seat(first)
    for n in range(3):
        door.knock("10.0.0.1", lambda n=n: out.append(n), 0.0)
    assert out == [0]


def test_places_are_given_back() -> None:
    door = entrance()
    for n in range(50):
        guest = door.knock("10.0.0.1", lambda: None, n * 1.0)
        assert guest
        door.seat(guest)
        door.leave(guest)


def test_one_host_gets_its_share_of_places_and_of_knocks() -> None:
    door = entrance()
    guests = [door.knock("10.0.0.1", lambda: None, 0.0) for _ in range(6)]
    assert [g is not None for g in guests] == [True] * 5 + [False]
    assert door.knock("10.0.0.2", lambda: None, 0.0)
    quick = entrance(knocks=2.0, knocks_per_s=1.0)
    assert [quick.knock("::1", lambda: None, t) is not None for t in (0.0, 0.0, 0.0, 1.0)] == [True, True, False, True]


@given(st.lists(st.integers(0, 2**32 - 1), max_size=3000))
def test_many_hosts_dont_grow_memory(hosts: list[int]) -> None:
    door = entrance()
    for at, host in enumerate(hosts):
        octets = host.to_bytes(4, "big")
        guest = door.knock(".".join(map(str, octets)), lambda: None, float(at))
        if guest:
            door.leave(guest)
    assert len(door._hosts) <= 1025


def test_what_counts_as_one_host() -> None:
    assert host_of("127.0.0.1") == host_of("127.66.1.2") == host_of("::1") == "loopback"
    assert host_of("2001:db8:1:2::5") == host_of("2001:db8:1:2:ffff::") != host_of("2001:db8:1:3::5")
    assert host_of("::ffff:192.0.2.7") == host_of("192.0.2.7") != host_of("192.0.2.8")
