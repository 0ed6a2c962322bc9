"""What authors withdrew with the clocks that stamped it: from which number on which of their epochs don't count. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from agent_core.clock import Hlc, unpack
from agent_core.feeds.heads import FEED_EPOCH, MAX_SIZE, STANDING, EpochData
from agent_core.feeds.model import Entry, EntryKey
from agent_core.ids import uuid7

#: Of the epochs that one entry withdraws from, so many are heeded: an author can't make others keep more.
MAX_WITHDRAWN = 64


class Withdrawal(NamedTuple):
    """One word of an author about an epoch of its own."""

    by: int  #: the later epoch whose first entry says so
    seq: int  #: the first number that doesn't count
    at: Hlc  #: that entry's stamp


class Withdrawals:
    """The withdrawals by author and epoch, found in the first entries of epochs.

    Only a later epoch withdraws from an earlier one, and never its first entry, which says what the epoch is.
    """

    def __init__(self) -> None:
        self._of: dict[tuple[str, int], list[Withdrawal]] = {}

    def take(self, first: Entry) -> None:
        """Take in the first entry of an epoch; one that withdraws nothing changes nothing."""
        header = first.header
        data = first.data(EpochData) if header.type == FEED_EPOCH and header.seq == 0 else None
        for w in data.withdrawn[:MAX_WITHDRAWN] if data is not None else ():
            if 0 <= w.epoch < header.epoch and 0 <= w.seq < MAX_SIZE:
                said = Withdrawal(header.epoch, max(w.seq, min(w.epoch, 1)), header.hlc)
                known = self._of.setdefault((header.author, w.epoch), [])
                if said not in known:
                    known.append(said)
                    known.sort()

    def of(self, author: str, epoch: int) -> Sequence[Withdrawal]:
        """What is withdrawn of an epoch, by the order of the epochs that say so."""
        return self._of.get((author, epoch), ())

    def limit(self, author: str, epoch: int) -> int | None:
        """From which number on an epoch is withdrawn; nothing if nothing is."""
        return min((w.seq for w in self.of(author, epoch)), default=None)

    def first(self, key: EntryKey) -> Withdrawal | None:
        """What withdrew the place first; nothing if nothing did."""
        return next((w for w in self.of(key.author, key.epoch) if w.seq <= key.seq), None)

    def withdrew(self, entry: Entry) -> Withdrawal | None:
        """What withdrew the entry first; nothing if nothing did, or the entry is of a kind that always stands."""
        return None if entry.header.type in STANDING else self.first(entry.key)


def again_op(entry: Entry, at: Hlc) -> str:
    """The operation id under which a withdrawn entry is said again: whoever says it again says it once.

    Args:
        entry: the withdrawn one.
        at: the stamp of the entry that withdrew it.
    """
    parts = f"chorus-hap say again v1\0{entry.key}\0{entry.header.op}"
    return uuid7(unpack(at)[0], hashlib.sha256(parts.encode()).digest()[:10])
