"""Every attack of the catalogue, on a real node that serves an honest peer all the while."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.hostile.catalogue import Attack, load
from tests.hostile.conftest import MESSAGES_IN_PEACE, Field
from tests.hostile.page import PAGE, written
from tests.support.daemons import status
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(90)]

ALL = load()
SLOW, QUICK = [a for a in ALL if a.slow], [a for a in ALL if not a.slow]
#: Under attack the honest peer's 99th percentile may be twice what it is in between, and a machine's noise may be this, seconds.
NOISE_S = 0.1


def named(attack: Attack) -> str:
    return f"{attack.layer}: {attack.name}"


def percentile(values: list[float], percent: float) -> float:
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def test_there_are_as_many_attacks_as_there_should_be() -> None:
    assert len(ALL) >= 40
    assert len({a.layer for a in ALL}) == 13


def test_those_who_wait_for_patience_to_end(field_of_attack: Field) -> None:
    """All at once, as each takes seconds of doing nothing."""
    costs = field_of_attack.carry_out(*SLOW)
    assert not [f"{named(c.attack)}: {'; '.join(c.broken)}" for c in costs if c.broken]


@pytest.mark.parametrize("attack", QUICK, ids=named)
def test_the_victim_keeps_its_bounds(field_of_attack: Field, attack: Attack) -> None:
    (cost,) = field_of_attack.carry_out(attack)
    assert not cost.broken, "; ".join(cost.broken)


def test_afterwards_the_victim_is_what_it_was(field_of_attack: Field) -> None:
    """Nothing was rebuilt, no memory is kept, nobody is counted who isn't there, and honest words never got lost."""
    place = field_of_attack
    until(lambda: status(place.victim)["peers"] == 1, 20, "only the honest peer is connected")
    said: Any = place.honest.call("hmmm.post", room="honest", text="still here", wait_s=10)
    assert said["delivered"] == 1
    assert place.grown_mib() < 48, "memory grew over all attacks"
    assert not place.talker.lost


def test_the_honest_peer_hardly_noticed(field_of_attack: Field) -> None:
    place = field_of_attack
    place.rest(MESSAGES_IN_PEACE)
    attacked, quiet = place.talker.during(place.attacked), place.talker.during(place.quiet)
    figures = {
        "attacks": len(place.costs),
        "messages": [len(quiet), len(attacked)],
        "p50_ms": [round(1000 * percentile(v, 50)) for v in (quiet, attacked)],
        "p99_ms": [round(1000 * percentile(v, 99)) for v in (quiet, attacked)],
        "grown_mib": round(place.grown_mib(), 1),
    }
    print(json.dumps(figures))
    assert percentile(attacked, 99) <= 2 * percentile(quiet, 99) + NOISE_S, figures


def test_the_page_of_fences_shows_the_catalogue() -> None:
    """``python -m tests.hostile.page`` writes it."""
    page = PAGE.read_text("utf-8")
    assert page == written(page)
