"""Members' names in what was told before they were known. Pure.

A node names a peer that is no member by the end of its peer id, as ``…NmaVg6``. What changes is told again once the roster names it;
what streams by (log, traffic) isn't, so whoever shows it puts the name in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from agent_core.shapes import MemberInfo

_SHORT = re.compile(r"…([1-9A-HJ-NP-Za-km-z]{6})(?![0-9A-Za-z])")


class Names:
    """The names of the members there are."""

    def __init__(self) -> None:
        self._members: Sequence[MemberInfo] = ()
        self._by_end: dict[str, str] = {}
        self._by_peer: dict[str, str] = {}
        self.revision = 0  #: changes with the names

    def learn(self, members: Sequence[MemberInfo]) -> None:
        """These are the members now."""
        if members is self._members:
            return
        self._members = members
        before, self._by_peer = self._by_peer, dict(_distinct(members))
        if self._by_peer == before:
            return
        self.revision += 1
        ends = [peer[-6:] for peer in self._by_peer]
        self._by_end = {peer[-6:]: name for peer, name in self._by_peer.items() if ends.count(peer[-6:]) == 1}

    def __call__(self, text: str) -> str:
        """The text with every short id in it replaced by the name of the member whose it is, and a peer id alone by its name."""
        if text in self._by_peer:
            return self._by_peer[text]
        return _SHORT.sub(self._name, text) if "…" in text else text

    def _name(self, found: re.Match[str]) -> str:
        before = found.string[: found.start()]
        name = self._by_end.get(found[1])
        return name if name and not before.endswith("(") else found[0]  # in brackets it stands beside the name


def _distinct(members: Iterable[MemberInfo]) -> Iterable[tuple[str, str]]:
    """Peer ids with names; equal names are told apart as a node does."""
    found = [(m.peer_id, m.agent_id) for m in members]
    names = [name for _, name in found]
    return ((peer, name if names.count(name) == 1 else f"{name}~{peer[-6:]}") for peer, name in found)
