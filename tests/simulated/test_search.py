"""The search over seeds: safety at every step, a leader and equal folds after healing; and that it would notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agent_core.election import chain, leading, model, voting
from agent_core.election.log import ActLog
from agent_core.simulated import search
from agent_core.simulated.search_node import Node

Patch = pytest.MonkeyPatch


def _clean(results: list[search.Result]) -> None:
    found = [f"seed {r.seed}: {r.violation}" for r in results if r.violation]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("nodes", "seeds"), [(3, 40), (5, 90), (7, 20)])
def test_nothing_is_violated(nodes: int, seeds: int) -> None:
    results = search.search(base=10_000 * nodes, seeds=seeds, count=nodes)
    _clean(results)
    assert sum(r.terms for r in results) > 3 * seeds
    assert sum(r.acts for r in results) > 20 * seeds


@pytest.mark.search
def test_nothing_is_violated_in_a_thousand_seeds() -> None:
    _clean(search.search(base=1, seeds=1000, processes=2))


def test_a_seed_is_replayable() -> None:
    assert search.run_seed(7) == search.run_seed(7)


def _longer_lease(patch: Patch) -> None:
    patch.setattr(model.Timings, "lease_s", property(lambda self: 1.5 * self.timeout_s))


def _forgotten_votes(patch: Patch) -> None:
    patch.setattr(Node, "_save", _saving(lambda s: msgspec.structs.replace(s, voted_for="", term=s.term - 1)))


def _forgotten_acts(patch: Patch) -> None:
    patch.setattr(Node, "_save", _saving(lambda s: msgspec.structs.replace(s, acts=(), proofs=(), tip="")))


def _saving(change: Callable[[model.DurableState], model.DurableState]) -> Callable[[Node, model.DurableState], None]:
    def save(node: Node, state: model.DurableState) -> None:
        node.durable = change(state)

    return save


def _blind_to_logs(patch: Patch) -> None:
    patch.setattr(ActLog, "older_than_mine", lambda self, term, number: False)


def _no_promise(patch: Patch) -> None:
    patch.setattr(voting.Voting, "free", lambda self, now: not self.reigning)


def _small_quorum(patch: Patch) -> None:
    def two(signed: Any, voters: tuple[str, ...]) -> bool:
        return len(set(signed)) >= 2

    patch.setattr(chain, "majority", two)
    patch.setattr(leading, "majority", two)


@pytest.mark.parametrize(
    "planted", [_longer_lease, _forgotten_votes, _forgotten_acts, _blind_to_logs, _no_promise, _small_quorum]
)
def test_a_planted_bug_is_found(planted: Callable[[Patch], None], monkeypatch: Patch) -> None:
    planted(monkeypatch)
    assert any(search.run_seed(seed).violation for seed in range(1, 301))


def test_the_command_reports_and_says_how_to_replay(capsys: pytest.CaptureFixture[str], monkeypatch: Patch) -> None:
    assert search.main(["--seeds", "2", "--base", "5"]) == 0
    assert '"seeds": 2, "nodes": 5, "violations": 0' in capsys.readouterr().out
    bad = msgspec.structs.replace(search.run_seed(5), violation="at 1 s: two leaders")
    monkeypatch.setattr(search, "search", lambda *args: [bad])
    assert search.main(["--seeds", "1", "--base", "5"]) == 1
    assert "--seeds 1 --base 5" in capsys.readouterr().err
