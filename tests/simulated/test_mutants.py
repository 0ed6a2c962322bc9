"""The test of the test: the seed that noticed each broken safety rule notices it still, and says nothing about the rules in force."""

from __future__ import annotations

import json

import pytest

from agent_core.simulated import search
from tests.simulated.mutants import CAUGHT, MUTANTS, broken, violation

SEEDS: dict[str, int] = json.loads(CAUGHT.read_text())


def test_every_mutant_was_noticed() -> None:
    assert set(SEEDS) == set(MUTANTS)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_noticed(name: str) -> None:
    assert violation(name, SEEDS[name]), f"`make mutants` finds seeds that notice {name} anew"


def test_the_seeds_say_nothing_about_the_rules_in_force() -> None:
    assert not [seed for seed in sorted(set(SEEDS.values())) if search.run_seed(seed).violation]


def test_a_failing_seed_shrinks_to_fewer_faults_that_still_fail(capsys: pytest.CaptureFixture[str]) -> None:
    name = "lease_longer_than_the_promise"
    with broken(name):
        whole = search.run_seed(SEEDS[name])
        small = search.shrink(SEEDS[name])
        assert small.violation
        assert len(small.faults) < len(whole.faults)
        only = ",".join(small.faults)
        assert search.main(["--replay", str(SEEDS[name]), "--only", only]) == 1
        assert small.violation in capsys.readouterr().out
        assert search.main(["--shrink", str(SEEDS[name])]) == 1
        assert f"--only '{only}'" in capsys.readouterr().out
    assert search.main(["--shrink", str(SEEDS[name])]) == 0


def test_a_history_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    assert search.main(["--replay", "7"]) == 0
    told = capsys.readouterr().out
    assert "is leader in term" in told
    assert "f1: " in told
    assert "to p" in told
    assert told.splitlines()[-1].startswith("nothing is violated")
