"""Citations as a person gives them to citations as headers carry them: checked, bounded, with the version they stand at."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from agent_core.errors import InvalidInput
from agent_core.shapes import Citation
from agent_core.ucxl.address import parse_place
from agent_core.ucxl.model import MAX_CITATIONS, MAX_NOTE_CHARS, Cited

_HASH = re.compile(r"[0-9a-f]{64}\Z")


def cite(citations: Sequence[Citation], latest: Callable[[str], str]) -> tuple[Cited, ...]:
    """Check citations and give those without a version the one that is latest now.

    Args:
        citations: as they were given.
        latest: the hash of an address' latest version, empty if it has none.

    Raises:
        InvalidAddress: one isn't an address, or has wildcards.
        InvalidInput: too many, a reason that is too long, a version that is no hash.
    """
    if len(citations) > MAX_CITATIONS:
        raise InvalidInput(f"{len(citations)} citations are too many; the limit is {MAX_CITATIONS}.", "Cite fewer.")
    return tuple(_cited(c, latest) for c in citations)


def _cited(citation: Citation, latest: Callable[[str], str]) -> Cited:
    address = str(parse_place(citation.address))
    if len(citation.reason) > MAX_NOTE_CHARS:
        raise InvalidInput(
            f"The reason for citing {address} has {len(citation.reason):,} characters; the limit is {MAX_NOTE_CHARS}.",
            "Shorten it.",
        )
    version = citation.version or latest(address)
    if version and not _HASH.match(version):
        raise InvalidInput(f"{version[:40]!r} is no version's hash.", "Leave it out for the latest.")
    return Cited(address=address, reason=citation.reason, version=version)
