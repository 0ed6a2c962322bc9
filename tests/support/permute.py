"""The one property that every fold has: its state depends on the set of entries, not on how they arrived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hypothesis import strategies as st

from agent_core.feeds.model import Entry, Fold


class CanonicalFold(Fold, Protocol):
    """A fold whose states can be compared."""

    def canonical(self) -> Any:
        """Equal exactly when two folds hold the same."""
        ...


def folded(make: Callable[[], CanonicalFold], entries: Sequence[Entry]) -> Any:
    """The canonical state after the entries as they stand, in one batch."""
    fold = make()
    fold.apply(entries)
    return fold.canonical()


def assert_order_free(
    make: Callable[[], CanonicalFold],
    entries: Sequence[Entry],
    data: st.DataObject,
    *,
    keep_authors_order: bool = False,
) -> None:
    """Apply the entries once as they stand, and once shuffled, some of them twice, in batches: the states are equal.

    Args:
        make: a new, empty fold.
        entries: what is applied.
        data: Hypothesis' ``st.data()``.
        keep_authors_order: for folds that are only ever fed each author's feed in its own order.
    """
    shuffled = data.draw(st.permutations(list(entries)), label="order")
    if shuffled:
        shuffled += data.draw(st.lists(st.sampled_from(shuffled), max_size=3), label="repeats")
    if keep_authors_order:
        shuffled = _in_authors_order(shuffled)
    fold = make()
    left = list(shuffled)
    while left:
        size = data.draw(st.integers(1, len(left)), label="batch")
        fold.apply(left[:size])
        # Asking in between must not freeze a state that later entries change.
        fold.canonical()
        del left[:size]
    assert fold.canonical() == folded(make, entries)


def _in_authors_order(entries: Sequence[Entry]) -> list[Entry]:
    """The authors interleaved as they came, each one's entries by (epoch, seq)."""
    by_author: dict[str, list[Entry]] = {}
    for entry in entries:
        by_author.setdefault(entry.header.author, []).append(entry)
    queues = {a: iter(sorted(es, key=lambda e: (e.header.epoch, e.header.seq))) for a, es in by_author.items()}
    return [next(queues[entry.header.author]) for entry in entries]
