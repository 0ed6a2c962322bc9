"""A fifth of the gossip is lost, and every durable entry arrives everywhere; ``make loss`` reports how soon, over many seeds."""

from __future__ import annotations

import pytest

from tests.support.loss import simulated


@pytest.mark.parametrize("seed", range(6))
def test_every_entry_arrives_everywhere(seed: int) -> None:
    found = simulated(seed, nodes=5, entries_each=12)
    assert found.entries == 60
    assert found.lost > 0.1 * (found.lost + found.let)
    assert found.entry_worst_s < 30, "two of the exchanges that repair what gossip lost"


def test_nothing_depends_on_gossip_at_all() -> None:
    found = simulated(1, nodes=4, entries_each=5, loss=1.0)
    assert (found.entries, found.let) == (20, 0)
