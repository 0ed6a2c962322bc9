"""Two hosts, each a network namespace with a daemon of its own, find each other and work as one cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chorus_hap.tour import TIMINGS, Daemon
from tests.support.daemons import agreed, texts
from tests.support.namespaces import Host, lan, needs_namespaces
from tests.support.waiting import until

pytestmark = [pytest.mark.real, needs_namespaces]


@contextmanager
def daemon(root: Path, host: Host, bootstrap: str | None, *settings: str) -> Iterator[Daemon]:
    """A daemon on a host, listening on the host's own address."""
    name = f"agent-{host.index}"
    own = (f"p2p.host={host.address}", "cluster.force_open=true", *settings)
    one = Daemon(root / name, name, (*TIMINGS, *own), bootstrap, host.prefix)
    try:
        one.wait("addresses")
        yield one
    finally:
        one.end()


def work_together(first: Daemon, second: Daemon) -> None:
    """Both name one leader, and what either says arrives at the other."""
    until(lambda: agreed([first, second]), 30, "both name the same leader")
    first.call("hmmm.post", room="planning", text="from one host")
    until(lambda: "from one host" in texts(second, "planning"), 15, "the post arrives")
    second.call("hmmm.post", room="planning", text="from the other")
    until(lambda: "from the other" in texts(first, "planning"), 15, "the answer arrives")


def test_two_hosts_find_each_other_by_an_address(tmp_path: Path) -> None:
    with lan(2) as (here, there), daemon(tmp_path, here, "") as first:
        (address, *_) = first.wait("addresses")["addresses"]  # type: ignore[misc]
        assert here.address in address
        with daemon(tmp_path, there, address) as second:
            work_together(first, second)


def test_two_hosts_find_each_other_by_mdns(tmp_path: Path) -> None:
    with (
        lan(2) as (here, there),
        daemon(tmp_path, here, "", f"mdns.interfaces={here.address}") as first,
        daemon(tmp_path, there, None, f"mdns.interfaces={there.address}", "cluster.discovery_s=20") as second,
    ):
        work_together(first, second)
