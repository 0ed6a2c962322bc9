"""What tests ask of daemon processes, and how they bring one back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chorus_hap.tour import TIMINGS, Daemon


def status(daemon: Daemon) -> dict[str, Any]:
    """How the daemon stands."""
    said: Any = daemon.call("status")
    return dict(said)


def voters(daemon: Daemon) -> int:
    """How many voters the daemon knows of."""
    return int(status(daemon)["voters"]["total"])


def agreed(daemons: Sequence[Daemon]) -> tuple[str, int] | None:
    """Leader and term, when all of them say the same with certainty."""
    said = set()
    for daemon in daemons:
        election: Any = daemon.call("election.show")
        leader = election["leader"]
        if leader is None or not leader["certain"]:
            return None
        said.add((leader["peer_id"], leader["term"]))
    return said.pop() if len(said) == 1 else None


def messages(daemon: Daemon, room: str) -> list[Any]:
    """The messages of a room as the daemon shows them; none if it doesn't know the room."""
    rooms: Any = daemon.call("hmmm.rooms")
    if room not in {r["id"] for r in rooms}:
        return []
    shown: Any = daemon.call("hmmm.show", room=room)
    return list(shown["messages"])


def texts(daemon: Daemon, room: str) -> set[str]:
    """What is said in a room."""
    return {m["text"] for m in messages(daemon, room)}


def revived(daemon: Daemon, settings: Sequence[str] = TIMINGS, bootstrap: str = "") -> Daemon:
    """The ended daemon, started again on its home, once it listens."""
    again = Daemon(daemon.home, daemon.name, settings, bootstrap)
    again.wait("addresses")
    return again
