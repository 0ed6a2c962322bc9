"""Who asks for an operation: by which face, as which login, and whether it may change anything."""

from __future__ import annotations

from dataclasses import dataclass

from agent_core.feeds.model import Via


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller of one operation; services write ``via`` and ``login`` into the entries they append (SPEC section 0).

    Args:
        via: the road the call came by.
        login: the operating system's login of a local face; empty for others.
        read_only: whether changing operations are refused to it.
    """

    via: Via = Via.SERVICE
    login: str = ""
    read_only: bool = False
