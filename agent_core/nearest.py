"""The names nearest to one that isn't there, for the sentence that says so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

#: So many names are compared at most: the sentence must not take longer than the answer would have.
_COMPARED = 5000
_NAMED = 3


def nearest(wanted: str, known: Iterable[str], otherwise: str = "") -> str:
    """``Did you mean `a`? Also near: `b`.``, else what there is if that is little, else the other sentence.

    Args:
        wanted: what was asked for.
        known: what there is; the first :data:`_COMPARED` are compared.
        otherwise: what to say when nothing is near.
    """
    names = list(islice(known, _COMPARED))
    wanted = wanted.strip()[:256]
    lowered: dict[str, str] = {}
    for name in names:
        lowered.setdefault(name.lower(), name)
    close = [lowered[name] for name in difflib.get_close_matches(wanted.lower(), lowered, n=_NAMED, cutoff=0.5)]
    if not close and wanted:
        close = [name for low, name in lowered.items() if wanted.lower() in low][:_NAMED]
    if close:
        also = f" Also near: {listed(close[1:], 'and')}." if close[1:] else ""
        return f"Did you mean `{close[0]}`?{also}"
    if 0 < len(names) <= _NAMED and otherwise:
        return f"There {'is' if len(names) == 1 else 'are'} {listed(names, 'and')}. {otherwise}"
    return otherwise


def listed(names: Iterable[str], last: str) -> str:
    """Names in backquotes: ```a`, `b` or `c```."""
    quoted = [f"`{name}`" for name in names]
    return f"{', '.join(quoted[:-1])} {last} {quoted[-1]}" if len(quoted) > 1 else "".join(quoted)
