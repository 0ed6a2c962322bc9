"""Reading without a node: the store on disk, folded read-only by the same code that answers live."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent_core.api.offline import Offline
from agent_core.errors import NoNode, NotFound
from agent_core.home import Home
from agent_core.instance import read_instance
from agent_core.lost import nothing_to_read
from agent_core.shapes import Status

T = TypeVar("T")


class OfflineReader:
    """Answers reading operations from a home's store.

    Args:
        home: the home directory.

    Raises:
        NoNode: the home has no store: no node ever ran on it.
        StoreError: the store can't be read.
    """

    def __init__(self, home: Path) -> None:
        try:
            self._offline = Offline(Home(home))
        except (NotFound, FileNotFoundError) as exc:
            known = read_instance(home / "instance")
            if known is not None:
                raise nothing_to_read(Home(home), known) from exc
            raise NoNode(
                f"No node ever ran on {home}, so there is nothing to read.",
                "Open the console with `chorus-hap`, or run `chorus-hap --daemon`.",
            ) from exc

    @property
    def as_of(self) -> str:
        """RFC 3339 time of the newest entry."""
        return self._offline.as_of

    def ask(self, kind: type[T], method: str, /, **params: Any) -> T:
        """The answer to an operation, as the given type."""
        answer = self._offline.call(method, **params)
        return msgspec.convert(answer, kind, from_attributes=True)

    def close(self) -> None:
        """Close the store; never raises."""
        self._offline.__exit__(None, None, None)


def belongs(home: Path) -> bool:
    """Whether the home belongs to a cluster, by its store.

    Raises:
        StoreError: the store can't be read.
    """
    try:
        reader = OfflineReader(home)
    except NoNode:
        return False
    try:
        return bool(reader.ask(Status, "status").cluster_id)
    finally:
        reader.close()
