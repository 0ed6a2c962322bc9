"""Addresses as people see them: content at a version, listing, history, differences, and who cites whom."""

from __future__ import annotations

import base64
import difflib
from dataclasses import replace

from agent_core import shapes
from agent_core.errors import InvalidInput, NotFound
from agent_core.feeds.model import EntryKey, Missing
from agent_core.nearest import nearest
from agent_core.ucxl.address import LATEST, Address, Moment, Temporal, parse, parse_pattern, parse_place, parse_temporal
from agent_core.ucxl.fold import UcxlFold
from agent_core.ucxl.graph import Graph
from agent_core.ucxl.model import Put
from agent_core.views import ViewContext

#: A version may be named by so much of its hash, characters.
MIN_HASH_CHARS = 8
#: So much content goes into one answer, bytes; what is longer is asked for part by part.
PART_BYTES = 512 * 1024
#: Versions over this aren't compared line by line, bytes.
MAX_DIFF_BYTES = 1024 * 1024


def get(fold: UcxlFold, ctx: ViewContext, text: str, version: str = "", offset: int = 0) -> shapes.Content:
    """The content of an address at a version: at most :data:`PART_BYTES` of it.

    Args:
        fold: all addresses.
        ctx: the surroundings.
        text: the address; its temporal segment says which version.
        version: the version at hand, from which ``~~N`` and ``^^N`` count: a hash, the beginning of one, or a temporal
            segment. An address without a temporal segment gives just this version.
        offset: from which byte of the content on.

    Raises:
        InvalidAddress: it doesn't parse, or has wildcards.
        InvalidInput: the version names several.
        NotFound: no such address or version, or it is deleted.
    """
    place, graph, put = _find(fold, text, version)
    if put.data.deleted:
        raise NotFound(
            f"{place} was deleted by {ctx.name(put.key.author)} at {ctx.at(put.hlc)}.",
            f"Its history stays: `ucxl log {place}` lists it, {_before_deletion(place, graph)} is what it was.",
        )
    body = ctx.bodies.part(put.key, offset, offset + PART_BYTES)
    of_latest = parse(text).temporal == LATEST and not version
    siblings = [v for v in graph.heads() if v.hash != put.hash] if of_latest else []
    return shapes.Content(
        address=str(place),
        version=_version(put, graph, ctx),
        data="" if isinstance(body, Missing) else base64.b64encode(body).decode(),
        siblings=tuple(_version(v, graph, ctx) for v in siblings),
        cited_by=fold.cited_by(str(place)),
        cites=tuple(shapes.Citation(address=c.address, reason=c.reason, version=c.version) for c in put.data.citations),
        missing=body.value if isinstance(body, Missing) else "",
        more=not isinstance(body, Missing) and offset + len(body) < put.size,
    )


def locate(fold: UcxlFold, text: str, version: str = "") -> EntryKey:
    """The entry that holds a version of an address; arguments and errors as of :func:`get`."""
    return _find(fold, text, version)[2].key


def _find(fold: UcxlFold, text: str, version: str) -> tuple[Address, Graph, Put]:
    parsed = parse(text)
    place = parse_place(text)
    graph = _graph(fold, place)
    hand = pick(graph, place, version) if version else None
    put = hand if hand and parsed.temporal == LATEST else graph.at(parsed.temporal, hand)
    if put is None:
        raise NotFound(
            f"{place} has no version {parsed.temporal}.", f"`ucxl log {place}` lists the {len(graph.versions)} it has."
        )
    return place, graph, put


def listing(fold: UcxlFold, ctx: ViewContext, pattern: str = "") -> tuple[shapes.AddressInfo, ...]:
    """The addresses that a pattern covers, sorted; those below its path, too. An empty pattern covers all.

    Raises:
        InvalidAddress: the pattern doesn't parse.
        NotFound: it has no wildcard, and nothing is there or below.
    """
    found = []
    place = parse_pattern(pattern)
    for text in fold.matching(place):
        graph = fold.graphs[text]
        latest = graph.latest()
        assert latest is not None, "an address is known by its versions"
        found.append(
            shapes.AddressInfo(
                address=text,
                versions=len(graph.versions),
                at=ctx.at(latest.hlc),
                author=ctx.name(latest.key.author),
                size=latest.size,
                hash=latest.hash,
                siblings=max(0, len(graph.heads()) - 1),
                deleted=latest.data.deleted,
            )
        )
    if not found and not place.is_pattern:
        _graph(fold, place)
    return tuple(found)


def log(fold: UcxlFold, ctx: ViewContext, text: str) -> tuple[shapes.Version, ...]:
    """All versions of an address, newest first; deletions are versions, too.

    Raises:
        InvalidAddress: it doesn't parse, or has wildcards.
        NotFound: no such address.
    """
    graph = _graph(fold, parse_place(text))
    return tuple(_version(v, graph, ctx) for v in graph.history())


def diff(fold: UcxlFold, ctx: ViewContext, text: str, old: str = "", new: str = "") -> shapes.Diff:
    """A unified diff of two versions; by default of the latest and the one before it.

    Args:
        fold: all addresses.
        ctx: the surroundings.
        text: the address.
        old: a hash, the beginning of one, or a temporal segment; empty for the one before ``new``.
        new: the same; empty for the latest.

    Raises:
        InvalidAddress, InvalidInput, NotFound: as :func:`get`.
    """
    place = parse_place(text)
    graph = _graph(fold, place)
    after = pick(graph, place, new or Moment.LATEST)
    before = pick(graph, place, old) if old else graph.at(Temporal(Moment.BACK, 1), after)
    if before is None:
        raise NotFound(f"{place} has no version before {after.hash[:12]}.", "Name another version to compare with.")
    return shapes.Diff(
        address=str(place),
        old=_version(before, graph, ctx),
        new=_version(after, graph, ctx),
        text=_diff_text(before, after, ctx),
    )


def pick(graph: Graph, place: Address, version: str) -> Put:
    """The version a person named: a hash, the beginning of one, or a temporal segment.

    Raises:
        InvalidAddress: it begins like a temporal segment and isn't one.
        InvalidInput: several hashes begin so, or too little of one was given.
        NotFound: there is none.
    """
    temporal = parse_temporal(version)
    if temporal is not None:
        put = graph.at(temporal)
        if put is None:
            raise NotFound(
                f"{place} has no version {temporal}.", f"`ucxl log {place}` lists the {len(graph.versions)} it has."
            )
        return put
    wanted = version.strip().lower()
    if len(wanted) < MIN_HASH_CHARS:
        raise InvalidInput(
            f"{version!r} is too little of a version's hash.", f"Give {MIN_HASH_CHARS} characters, or a step like ~~1."
        )
    found = [v for hash, v in graph.versions.items() if hash.startswith(wanted)]
    if not found:
        raise NotFound(
            f"{place} has no version {version[:64]!r}.",
            nearest(wanted, (hash[:12] for hash in graph.versions), f"`ucxl log {place}` lists those it has."),
        )
    if len(found) > 1:
        raise InvalidInput(f"{version!r} is the beginning of several versions.", "Type one character more.")
    return found[0]


def latest_hash(fold: UcxlFold, address: str) -> str:
    """The hash of an address' latest version; empty if it has none."""
    graph = fold.graphs.get(address)
    latest = graph.latest() if graph else None
    return latest.hash if latest else ""


def _graph(fold: UcxlFold, place: Address) -> Graph:
    graph = fold.graphs.get(str(place))
    if graph is None:
        raise NotFound(
            f"There is nothing at {place} here.",
            nearest(str(place), fold.graphs, "`ucxl ls` lists what there is; it may not have arrived yet."),
        )
    return graph


def _version(put: Put, graph: Graph, ctx: ViewContext) -> shapes.Version:
    is_latest = put is graph.latest()
    return shapes.Version(
        hash=put.hash,
        key=str(put.key),
        at=ctx.at(put.hlc),
        author=ctx.name(put.key.author),
        size=put.size,
        media=put.data.media,
        deleted=put.data.deleted,
        parents=put.data.parents,
        latest=is_latest,
        sibling=graph.is_head(put.hash) and not is_latest,
        note=put.data.note,
    )


def _before_deletion(place: Address, graph: Graph) -> Address:
    """The address of the last version that wasn't a deletion, as a person can type it."""
    steps = next((n for n, v in enumerate(graph.chain()) if not v.data.deleted), 1)
    return replace(place, temporal=Temporal(Moment.BACK, steps))


def _diff_text(before: Put, after: Put, ctx: ViewContext) -> str:
    sides = []
    for put in (before, after):
        if put.size > MAX_DIFF_BYTES:
            return f"(too large to compare: {before.size:,} bytes → {after.size:,} bytes)"
        body = b"" if put.data.deleted else ctx.bodies.body(put.key)
        if isinstance(body, Missing):
            return f"(the content of {put.hash[:12]} is not here: {body.value})"
        text = _text(body)
        if text is None:
            return f"(binary: {before.size:,} bytes → {after.size:,} bytes)"
        sides.append(text.splitlines(keepends=True))
    names = [f"{put.hash[:12]}{' (deleted)' if put.data.deleted else ''}" for put in (before, after)]
    stamps = [ctx.at(put.hlc) for put in (before, after)]
    lines = []
    for line in difflib.unified_diff(sides[0], sides[1], names[0], names[1], stamps[0], stamps[1]):
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines)


def _text(body: bytes) -> str | None:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
