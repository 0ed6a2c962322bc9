"""The search over seeds: safety at every step, a leader and equal folds after healing. ``test_mutants`` shows that it notices."""

from __future__ import annotations

import msgspec
import pytest

from agent_core.simulated import search

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
@pytest.mark.timeout(600)
def test_nothing_is_violated_in_a_thousand_seeds() -> None:
    _clean(search.search(base=1, seeds=1000, processes=2))


def test_a_seed_is_replayable() -> None:
    assert search.run_seed(7) == search.run_seed(7)


def test_the_command_reports_and_says_how_to_replay(capsys: pytest.CaptureFixture[str], monkeypatch: Patch) -> None:
    assert search.main(["--seeds", "2", "--base", "5"]) == 0
    assert '"seeds": 2, "nodes": [3, 5, 7], "violations": 0' in capsys.readouterr().out
    bad = msgspec.structs.replace(search.run_seed(5), violation="at 1 s: two leaders")
    monkeypatch.setattr(search, "search", lambda *args: [bad])
    assert search.main(["--seeds", "1", "--base", "5"]) == 1
    assert "agent_core.simulated.search --replay 5" in capsys.readouterr().err
