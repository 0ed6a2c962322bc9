"""Versions to addresses: each address' graph of versions, its heads, and who cites it. A pure function of the set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from agent_core.errors import InvalidAddress
from agent_core.feeds.model import Entry
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData
from agent_core.kept import Kept, MemoryKept
from agent_core.ucxl.address import Address, parse_stored
from agent_core.ucxl.graph import Graph
from agent_core.ucxl.model import UCXL_PUT, Cited, Put, PutData

#: Addresses whose graphs are in memory at most.
_CACHED = 4096

# What the keys begin with; an address has no zero byte.
_ADDRESS = b"a"  #: address
_VERSION = b"v"  #: address 0 hash → Put
_CITED = b"c"  #: address 0 stamp by

_pack = msgspec.msgpack.Encoder().encode
_put = msgspec.msgpack.Decoder(Put).decode


class UcxlFold:
    """All addresses, and the citations of them in versions and in messages. Implements :class:`agent_core.feeds.model.Fold`.

    Args:
        kept: where the state is kept; in memory if not given.
    """

    def __init__(self, kept: Kept | None = None) -> None:
        self._kept: Kept = kept if kept is not None else MemoryKept()
        self._cached: dict[str, Graph] = {}

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
        body, place = entry.header.body, data.address.encode()
        put = Put(entry.hash.hex(), entry.key, entry.order, body.shown_size if body else 0, entry.header.op, data)
        self._kept.put(_ADDRESS + place)
        self._kept.put(_VERSION + place + b"\0" + entry.hash, _pack(put))
        if data.address in self._cached:
            self._cached[data.address].add(put)
        self._cites(data.citations, entry.header.hlc, data.address)

    def _cites(self, citations: Iterable[Cited], hlc: str, by: str) -> None:
        for citation in citations:
            address = _place(citation.address)
            if address is not None:
                self._kept.put(_CITED + f"{address}\0{hlc} {by}".encode())

    def graph(self, address: str) -> Graph | None:
        """An address' versions; nothing if it has none."""
        known = self._cached.get(address)
        if known is None:
            if address not in self.graphs:
                return None
            known = Graph()
            for _, raw in self._kept.scan(_VERSION + address.encode() + b"\0"):
                known.add(_put(raw))
            if len(self._cached) >= _CACHED:
                self._cached.clear()
            self._cached[address] = known
        return known

    @property
    def graphs(self) -> Mapping[str, Graph]:
        """All addresses, the graph of each read when it is asked for."""
        return _Graphs(self)

    def cited_by(self, address: str) -> tuple[str, ...]:
        """Who cites an address, oldest first: addresses, and messages as ``room:<room>/<id>``."""
        prefix = _CITED + address.encode() + b"\0"
        found = (key[len(prefix) :].decode().partition(" ")[2] for key, _ in self._kept.scan(prefix))
        return tuple(dict.fromkeys(found))

    def names(self) -> Iterator[str]:
        """The addresses, sorted."""
        return (key[len(_ADDRESS) :].decode() for key, _ in self._kept.scan(_ADDRESS))

    def matching(self, pattern: Address) -> Iterator[str]:
        """The addresses that a pattern covers, sorted."""
        return (text for text in self.names() if pattern.covers(parse_stored(text).place))

    def canonical(self) -> tuple[object, ...]:
        """The state in a form that is equal exactly when two folds hold the same."""
        return (
            tuple((address, graph.canonical()) for address, graph in self.graphs.items()),
            tuple(key for key, _ in self._kept.scan(_CITED)),
        )


class _Graphs(Mapping[str, Graph]):
    def __init__(self, fold: UcxlFold) -> None:
        self._fold = fold

    def __getitem__(self, address: str) -> Graph:
        graph = self._fold.graph(address)
        if graph is None:
            raise KeyError(address)
        return graph

    def __contains__(self, address: object) -> bool:
        return isinstance(address, str) and self._fold._kept.get(_ADDRESS + address.encode()) is not None

    def __iter__(self) -> Iterator[str]:
        return self._fold.names()

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _place(text: str) -> Address | None:
    """The address without version, query and fragment; nothing if it doesn't parse or has wildcards."""
    try:
        place = parse_stored(text).place
    except InvalidAddress:
        return None
    return None if place.is_pattern else place
