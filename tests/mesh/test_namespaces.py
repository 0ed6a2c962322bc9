"""The hosts that other tests stand on: lines that hold, that are cut, and that heal; nothing left behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.namespaces import lan, needs_namespaces
from tests.support.waiting import until

pytestmark = [pytest.mark.real, needs_namespaces]

_HEAR_ONE = """
import socket
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.bind(("", 9))
print("listening", flush=True)
print(ear.recv(9).decode())
"""


def listed() -> str:
    """The machine's named namespaces."""
    return subprocess.run(["ip", "netns", "list"], text=True, capture_output=True, check=True).stdout


def test_lines_hold_are_cut_and_heal_and_nothing_is_left() -> None:
    with lan(3) as hosts:
        a, b, c = hosts
        assert a.namespace in listed()
        sleeper = hosts.start(a, "sleep", "1000")
        assert hosts.reaches(a, b)
        assert hosts.reaches(b, c)
        hosts.partition([a], [b, c])
        assert not hosts.reaches(a, b)
        assert hosts.reaches(b, c)
        hosts.heal()
        assert hosts.reaches(a, b)
        hosts.unplug(c)
        assert not hosts.reaches(a, c)
        hosts.plug(c)
        until(lambda: hosts.reaches(a, c), 10, "the plug is in again")
        hosts.loss(a, 100)
        assert not hosts.reaches(a, b)
    assert sleeper.returncode == -9
    assert a.namespace not in listed()


def test_a_line_can_be_cut_one_way() -> None:
    with lan(2) as hosts:
        here, there = hosts
        hosts.cut_one_way(here, there)
        ear = hosts.start(here, sys.executable, "-c", _HEAR_ONE, text=True, stdout=subprocess.PIPE)
        assert ear.stdout is not None
        assert ear.stdout.readline() == "listening\n"
        say = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'heard', ('{here.address}', 9))"
        hosts.run(there, sys.executable, "-c", say)
        assert ear.communicate(timeout=10)[0] == "heard\n"
        assert not hosts.reaches(here, there)
