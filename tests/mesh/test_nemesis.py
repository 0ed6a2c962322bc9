"""Five daemons under a short schedule of faults; ``make nemesis`` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import nemesis
from tests.support.namespaces import needs_namespaces

pytestmark = [pytest.mark.real, needs_namespaces, pytest.mark.timeout(180)]


def test_under_faults_nothing_is_lost_and_nobody_leads_twice(tmp_path: Path) -> None:
    told: list[str] = []
    result = nemesis.run(tmp_path, seed=4, faults=4, tell=told.append)
    assert not result["wrong"], "\n".join([*told, *result["wrong"]])
    assert result["acknowledged"] > 20
    assert result["claims_seen"] > 1
