"""Real daemons on bad lines: a fifth of the gossip and of all packets is lost, and every post arrives on every one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.loss import LOSS, real
from tests.support.namespaces import needs_namespaces

pytestmark = [pytest.mark.real, needs_namespaces, pytest.mark.timeout(240)]


def test_every_post_arrives_on_every_daemon(tmp_path: Path) -> None:
    found = real(tmp_path, nodes=3, posts_each=8)
    assert found.entries == 24
    assert found.lost > LOSS / 4 * (found.lost + found.let), "gossip was lost"
