"""One address' graph of versions: heads, latest, siblings, the chain of latest, and where a temporal step leads."""

from __future__ import annotations

from collections.abc import Iterable

from agent_core.clock import unpack
from agent_core.ucxl.address import Moment, Temporal
from agent_core.ucxl.model import Put


class Graph:
    """Versions by hash. A version replaces those it names as parents; what nobody replaced is a head (SPEC section 8)."""

    def __init__(self) -> None:
        self.versions: dict[str, Put] = {}
        self._replaced: set[str] = set()
        self._heads: set[str] = set()
        self._latest: Put | None = None  # derived, until the next version comes

    def add(self, version: Put) -> None:
        """Take a version in; its parents may come later."""
        if version.hash in self.versions:
            return
        self.versions[version.hash] = version
        self._latest = None
        self._replaced.update(version.data.parents)
        self._heads.difference_update(version.data.parents)
        if version.hash not in self._replaced:
            self._heads.add(version.hash)

    def heads(self) -> list[Put]:
        """The versions that nobody replaced, greatest (hlc, author) first."""
        return _greatest_first(self.versions[h] for h in self._heads)

    def is_head(self, hash: str) -> bool:
        """Whether nobody replaced this version."""
        return hash in self._heads

    def latest(self) -> Put | None:
        """The greatest head. Versions that name each other in a circle, which no honest writer can make, have no head; then the greatest of all."""
        if self._latest is None and self.versions:
            among = [self.versions[h] for h in self._heads] or self.versions.values()
            self._latest = max(among, key=lambda v: v.order)
        return self._latest

    def history(self) -> list[Put]:
        """All versions, newest first."""
        return _greatest_first(self.versions.values())

    def chain(self, start: Put | None = None) -> list[Put]:
        """From a version (the latest if not given) back to the first: each one's predecessor is the greatest of its parents.

        What arrives late beside the chain is nobody's parent in it, so it shifts nothing.
        """
        chain: list[Put] = []
        seen: set[str] = set()
        version = start or self.latest()
        while version is not None and version.hash not in seen:
            chain.append(version)
            seen.add(version.hash)
            parents = _greatest_first(self.versions[p] for p in version.data.parents if p in self.versions)
            version = parents[0] if parents else None
        return chain

    def as_of(self, at_ms: int) -> Graph:
        """The graph of the versions stamped at or before an instant: the address as it stood then."""
        then = Graph()
        for version in self.versions.values():
            if unpack(version.hlc)[0] <= at_ms:
                then.add(version)
        return then

    def at(self, moment: Temporal, hand: Put | None = None) -> Put | None:
        """Where a temporal step leads; nothing if it leads beyond the graph.

        Args:
            moment: the step.
            hand: the version at hand; without one ``~~N`` starts at the latest and ``^^N`` at the first.
        """
        match moment.moment:
            case Moment.LATEST:
                return self.latest()
            case Moment.AT:
                return self.as_of(moment.value).latest()
            case Moment.FIRST:
                chain = self.chain()
                return chain[-1] if chain else None
            case Moment.BACK:
                return _nth(self.chain(hand), moment.value)
            case Moment.FORWARD:
                forward = self.chain()[::-1]
                start = 0 if hand is None else next((i for i, v in enumerate(forward) if v.hash == hand.hash), None)
                return None if start is None else _nth(forward, start + moment.value)

    def canonical(self) -> tuple[object, ...]:
        """The state in a form that is equal exactly when two graphs hold the same."""
        return (
            tuple(v.hash for v in self.history()),
            tuple(v.hash for v in self.heads()),
            tuple(v.hash for v in self.chain()),
        )


def _greatest_first(versions: Iterable[Put]) -> list[Put]:
    return sorted(versions, key=lambda v: v.order, reverse=True)


def _nth(versions: list[Put], n: int) -> Put | None:
    return versions[n] if n < len(versions) else None
