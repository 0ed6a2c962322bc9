from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from agent_core.telemetry.metrics import MAX_LABEL_VALUES, Metrics
from tests.support.parts import OTHER, a_status


@dataclass(frozen=True)
class Some:
    peers: int = 3
    published: int = 10
    rebuilding: bool = True
    delay_ms: int = 250
    verdicts: Any = field(default_factory=lambda: MappingProxyType({"accept": 5, "reject": 1}))
    name: str = "not a number"


class ByStruct(msgspec.Struct, frozen=True):
    by_rule: dict[str, int]


def scrape(metrics: Metrics) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}


def test_statistics_become_families() -> None:
    metrics = Metrics(a_status)
    metrics.add("pubsub", Some)
    found = scrape(metrics)
    assert found["chorus_pubsub_peers"].type == "gauge"
    assert found["chorus_pubsub_published"].type == "counter"
    assert found["chorus_pubsub_published"].samples[0].name == "chorus_pubsub_published_total"
    assert found["chorus_pubsub_published"].samples[0].value == 10
    assert found["chorus_pubsub_rebuilding"].samples[0].value == 1
    assert found["chorus_pubsub_delay_seconds"].samples[0].value == 0.25
    verdicts = {s.labels["verdict"]: s.value for s in found["chorus_pubsub_verdicts"].samples}
    assert verdicts == {"accept": 5, "reject": 1}
    assert "chorus_pubsub_name" not in found


def test_the_node_and_its_process_are_there() -> None:
    found = scrape(Metrics(a_status))
    assert found["chorus_election_current_term"].samples[0].value == 3
    assert found["chorus_election_is_leader"].samples[0].value == 0
    assert found["chorus_p2p_connected_peers"].samples[0].value == 2
    assert found["chorus_runtime_resident_memory_bytes"].samples[0].value > 1e6
    assert found["chorus_runtime_cpu_seconds"].type == "counter"


def test_the_leader_says_so() -> None:
    found = scrape(Metrics(lambda: a_status(peer_id=OTHER)))
    assert found["chorus_election_is_leader"].samples[0].value == 1


def test_labels_are_bounded() -> None:
    metrics = Metrics(a_status)
    metrics.add("shhh", lambda: ByStruct({f"rule-{n:03}": 1 for n in range(100)}))
    samples = scrape(metrics)["chorus_shhh_by_rule"].samples
    assert len(samples) == MAX_LABEL_VALUES + 1
    assert sum(s.value for s in samples) == 100
    assert samples[-1].labels == {"rule": "other"}


def test_nothing_that_names_somebody_is_a_label() -> None:
    metrics = Metrics(a_status)
    metrics.add("pubsub", Some)
    labels = {name for family in scrape(metrics).values() for s in family.samples for name in s.labels}
    assert labels == {"verdict", "version", "mode", "generation"}


def test_names_are_well_formed_and_every_family_has_help() -> None:
    metrics = Metrics(a_status)
    metrics.add("pubsub", Some)
    for name, family in scrape(metrics).items():
        assert re.fullmatch(r"chorus_[a-z0-9]+_[a-z0-9_]*[a-z0-9]", name)
        assert family.documentation.endswith(".")


def test_a_part_that_fails_costs_only_its_own(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> object:
        raise ZeroDivisionError

    metrics = Metrics(a_status)
    metrics.add("feeds", broken)
    metrics.add("tasks", lambda: "no statistics")
    metrics.add("pubsub", Some)
    assert "chorus_pubsub_peers" in scrape(metrics)
    assert "feeds" in caplog.text
