"""Versions to addresses: each address' graph of versions, its heads, and who cites it. A pure function of the set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from agent_core.errors import InvalidAddress
from agent_core.feeds.model import Entry
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData
from agent_core.requests import OperationIndex
from agent_core.ucxl.address import Address, parse
from agent_core.ucxl.graph import Graph
from agent_core.ucxl.model import UCXL_PUT, Cited, Put, PutData


class UcxlFold:
    """All addresses, and the citations of them in versions and in messages. Implements :class:`agent_core.feeds.model.Fold`."""

    def __init__(self) -> None:
        self.graphs: dict[str, Graph] = {}
        self.addresses: dict[str, Address] = {}
        self.operations = OperationIndex()
        self._cited_by: dict[str, set[tuple[str, str]]] = defaultdict(set)

    def apply(self, entries: Iterable[Entry]) -> None:
        """Take entries in; other types and unreadable data are skipped, repeats change nothing."""
        for entry in entries:
            if entry.header.type == UCXL_PUT:
                self._put(entry)
            elif entry.header.type == HMMM_MESSAGE and (message := entry.data(MessageData)):
                self._cites(message.citations, entry.header.hlc, f"room:{message.room}/{entry.id}")

    def _put(self, entry: Entry) -> None:
        data = entry.data(PutData)
        address = None if data is None else _place(data.address)
        # Only the one canonical spelling counts, so that an address can't be written under two names.
        if data is None or address is None or str(address) != data.address:
            return
        hash, body = entry.hash.hex(), entry.header.body
        graph = self.graphs.setdefault(data.address, Graph())
        self.addresses[data.address] = address
        graph.add(Put(hash, entry.key, entry.order, body.shown_size if body else 0, entry.header.op, data))
        self.operations.add(entry)
        self._cites(data.citations, entry.header.hlc, data.address)

    def _cites(self, citations: Iterable[Cited], hlc: str, by: str) -> None:
        for citation in citations:
            address = _place(citation.address)
            if address is not None:
                self._cited_by[str(address)].add((hlc, by))

    def cited_by(self, address: str) -> tuple[str, ...]:
        """Who cites an address, oldest first: addresses, and messages as ``room:<room>/<id>``."""
        return tuple(dict.fromkeys(by for _, by in sorted(self._cited_by.get(address, ()))))

    def matching(self, pattern: Address) -> Iterator[str]:
        """The addresses that a pattern covers, sorted."""
        return (text for text in sorted(self.addresses) if pattern.covers(self.addresses[text]))

    def canonical(self) -> tuple[object, ...]:
        """The state in a form that is equal exactly when two folds hold the same."""
        return (
            tuple((address, graph.canonical()) for address, graph in sorted(self.graphs.items())),
            tuple(sorted((address, tuple(sorted(by))) for address, by in self._cited_by.items())),
        )


def _place(text: str) -> Address | None:
    """The address without version, query and fragment; nothing if it doesn't parse or has wildcards."""
    try:
        place = parse(text).place
    except InvalidAddress:
        return None
    return None if place.is_pattern else place
