"""Prometheus metrics: a registry of the node's own, filled at each scrape from the ``statistics()`` of its parts."""

from __future__ import annotations

import gc
import logging
import os
import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import msgspec
import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent_core.shapes import Status
from agent_core.system import open_files, proc

logger = logging.getLogger(__name__)

#: Values a label may have; further ones count as ``other``. Never a peer, a room or an address is one.
MAX_LABEL_VALUES = 32

#: Statistics fields that go up and down; all others count since the start.
GAUGES = frozenset(
    {
        *("peers", "connections", "topics", "rebuilding", "waiting", "streams", "subscriptions", "readers"),
        *(
            "feeds",
            "entries",
            "held",
            "links",
            "forks",
            "rooms",
            "open",
            "addresses",
            "term",
            "voters",
            "services",
            "members",
        ),
        *("behind", "behind_feeds", "catch_up_rate", "catch_up_sources", "catch_up_waiting_bytes"),
        *(
            "degraded",
            "queued",
            "leading",
            "lost_s",
            "patience_s",
            "size",
            "held_bytes",
            "bodies",
            "wanted",
            "dht_records",
        ),
    }
)
_UNITS: Mapping[str, tuple[str, float]] = {
    "_s": ("_seconds", 1.0),
    "_ms": ("_seconds", 1e-3),
    "_bytes": ("_bytes", 1.0),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the node that has statistics.

    Args:
        family: the word behind ``chorus_``: p2p, pubsub, feeds, election, hmmm, decisions, ucxl, shhh, runtime …
        statistics: gives a frozen dataclass or struct of numbers, and of mappings from a few words to numbers.
    """

    family: str
    statistics: Callable[[], object]


class Metrics:
    """The metrics of one node.

    Args:
        status: how the node stands.
        parts: whose statistics become metrics, as they are registered.
    """

    def __init__(self, status: Callable[[], Status], parts: Iterable[Part] = ()) -> None:
        self._parts = list(parts)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Statistics(self._parts))
        self._registry.register(_Node(status))
        self._registry.register(_Runtime())

    def add(self, family: str, statistics: Callable[[], object]) -> None:
        """Register one more part."""
        self._parts.append(Part(family, statistics))

    def text(self) -> bytes:
        """The metrics in the Prometheus text exposition format 0.0.4."""
        return generate_latest(self._registry)


class _Statistics(Collector):
    """Numbers of ``statistics()`` objects: one family a field, its name and unit made from the field's."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        seen: set[str] = set()
        for part in self._parts:
            try:
                values = _fields(part.statistics())
            except Exception:
                logger.exception("statistics of %s could not be read", part.family)
                continue
            for field, value in values:
                metric = _metric(part.family, field, value)
                if metric is not None and metric.name not in seen:
                    seen.add(metric.name)
                    yield metric


class _Node(Collector):
    """What ``status`` says, in numbers."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        try:
            status = self._status()
        except Exception:
            logger.exception("the status could not be read")
            return
        leads = status.leader is not None and status.leader.certain
        yield _gauge("election_current_term", "The election's term.", status.term)
        yield _gauge("election_leader_certain", "1 while a lease confirms a leader.", leads)
        yield _gauge(
            "election_is_leader",
            "1 while this node leads.",
            leads and status.leader is not None and status.leader.peer_id == status.peer_id,
        )
        yield _gauge("election_is_voter", "1 while this node votes.", status.voter)
        yield _gauge("election_voters_enrolled", "Voters of the cluster.", status.voters.total)
        yield _gauge("election_voters_reachable", "Voters that can be reached now.", status.voters.reachable)
        yield _gauge("election_quorum_size", "Voters that are a majority.", status.voters.quorum)
        yield _gauge("p2p_connected_peers", "Peers with an open connection.", status.peers)
        yield _gauge("p2p_listen_addresses", "Addresses this node listens on.", len(status.addresses))
        yield _gauge("feeds_stored_entries", "Entries held, all feeds.", status.entries)
        yield _gauge("runtime_uptime_seconds", "Time since the node started.", status.uptime_s)
        yield _gauge("runtime_attached_sessions", "Faces attached to the control socket.", status.sessions)
        yield _gauge("runtime_clock_skew_seconds", "How far the clock is off the peers' median.", status.clock_skew_s)
        info = GaugeMetricFamily("chorus_runtime_info", "The node's version and mode.", labels=["version", "mode"])
        info.add_metric([status.version, status.mode], 1)
        yield info


class _Runtime(Collector):
    """The process: memory, processor, files, threads, tasks, garbage."""

    def collect(self) -> Iterator[Metric]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield _counter("runtime_cpu_seconds", "Processor time used.", usage.ru_utime + usage.ru_stime)
        yield _counter("runtime_context_switches", "Times the kernel took the processor away.", usage.ru_nivcsw)
        yield _gauge("runtime_resident_memory_bytes", "Memory in use.", _resident_bytes())
        yield _gauge("runtime_peak_memory_bytes", "Most memory ever in use.", usage.ru_maxrss * 1024)
        yield _gauge("runtime_open_files", "Open file descriptors.", open_files().used)
        yield _gauge("runtime_threads", "Threads of the process.", threading.active_count())
        yield _gauge("runtime_scrape_timestamp_seconds", "The wall clock at this scrape.", time.time())
        collections = CounterMetricFamily(
            "chorus_runtime_gc_collections", "Runs of the garbage collector.", labels=["generation"]
        )
        for generation, stats in enumerate(gc.get_stats()):
            collections.add_metric([str(generation)], stats["collections"])
        yield collections
        try:
            loop = trio.lowlevel.current_statistics()
        except RuntimeError:
            return  # asked from outside the node's loop
        yield _gauge("runtime_tasks", "Tasks of the event loop.", loop.tasks_living)
        yield _gauge("runtime_tasks_runnable", "Tasks that wait for the processor.", loop.tasks_runnable)


def _fields(statistics: object) -> list[tuple[str, Any]]:
    if isinstance(statistics, msgspec.Struct):
        return [(name, getattr(statistics, name)) for name in statistics.__struct_fields__]
    if is_dataclass(statistics):
        return [(f.name, getattr(statistics, f.name)) for f in fields(statistics)]
    raise TypeError(f"{type(statistics).__name__} is no dataclass and no struct")


def _metric(family: str, field: str, value: Any) -> Metric | None:
    """The metric of one field; nothing for what isn't a number."""
    base, factor = field.removesuffix("_total"), 1.0
    for suffix, (unit, scale) in _UNITS.items():
        if base.endswith(suffix):
            base, factor = base.removesuffix(suffix) + unit, scale
            break
    is_gauge = isinstance(value, bool) or field in GAUGES
    kind = GaugeMetricFamily if is_gauge else CounterMetricFamily
    help = f"{field.replace('_', ' ').capitalize()} ({family}{'' if is_gauge else ', since the start'})."
    name = f"chorus_{family}_{base}"
    if isinstance(value, int | float):
        metric = kind(name, help)
        metric.add_metric([], value * factor)
        return metric
    if isinstance(value, Mapping) and all(isinstance(v, int | float) for v in value.values()):
        label = field.removeprefix("by_").removesuffix("s")
        metric = kind(name, help, labels=[label])
        rest = 0.0
        for n, (word, number) in enumerate(sorted(value.items())):
            if n < MAX_LABEL_VALUES:
                metric.add_metric([str(word)], number * factor)
            else:
                rest += number * factor
        if rest:
            metric.add_metric(["other"], rest)
        return metric
    return None


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(f"chorus_{name}", help, value=float(value))


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(f"chorus_{name}", help, value=float(value))


def _resident_bytes() -> int:
    pages = (proc("statm") or b"").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else 0
