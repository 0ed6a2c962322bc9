"""Envelopes for tests: valid ones, and their bytes with anything changed."""

from __future__ import annotations

from typing import Any

import msgspec

from agent_core.clock import pack, rfc3339
from agent_core.ids import uuid7
from agent_core.wire.envelope import Envelope

ALICE = "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2"
NOW_MS = 1_767_225_600_000


def envelope(type: str, data: msgspec.Struct, *, sender: str = ALICE, now_ms: int = NOW_MS, **fields: Any) -> Envelope:
    """A valid envelope; ``fields`` replace what it would hold."""
    return msgspec.structs.replace(
        Envelope(
            v=1,
            id=uuid7(now_ms),
            type=type,
            sender=sender,
            agent_id="alice",
            role="agent",
            kind="agent",
            hlc=pack(now_ms),
            sent_at=rfc3339(now_ms),
            data=msgspec.Raw(msgspec.json.encode(data)),
        ),
        **fields,
    )
