"""What can be done with addresses: put, delete, and the records that the leader puts. They are read through ``views``."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from agent_core import shapes
from agent_core.caller import Caller
from agent_core.errors import Conflict, InvalidInput, NotFound, TooLarge, Unavailable
from agent_core.feeds.model import MAX_BODY_BYTES, Draft, OwnFeed
from agent_core.nearest import nearest
from agent_core.requests import check_header, made_before, operation_id, writer
from agent_core.ucxl import views
from agent_core.ucxl.address import Address, parse, parse_place
from agent_core.ucxl.citations import cite
from agent_core.ucxl.fold import UcxlFold
from agent_core.ucxl.graph import Graph
from agent_core.ucxl.model import MAX_MEDIA_CHARS, MAX_NOTE_CHARS, MAX_PARENTS, UCXL_PUT, PutData
from agent_core.ucxl.uploads import Uploads
from agent_core.views import ViewContext

#: ``if_match`` for an address that must not be there yet.
NONE = "none"


class UcxlService:
    """The changing operations of addresses.

    Args:
        appender: where entries are written.
        fold: gives the fold in force; it is replaced when what is visible shrinks.
        context: gives the surroundings of a view as they are now.
        max_bytes: of content, and of all that is being brought in parts.
    """

    def __init__(
        self,
        appender: OwnFeed,
        fold: Callable[[], UcxlFold],
        context: Callable[[], ViewContext],
        max_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._appender = appender
        self._fold = fold
        self._context = context
        self._max_bytes = max_bytes
        self._uploads = Uploads(max_bytes)

    def latest(self, address: str) -> str:
        """The hash of an address' latest version; empty if it has none. Citations store it."""
        return views.latest_hash(self._fold(), address)

    async def put(self, request: shapes.PutRequest, caller: Caller) -> shapes.Posted:
        """Write a new version: it replaces all heads known here, so it merges siblings.

        Raises:
            InvalidAddress: it doesn't parse, has wildcards, or names a version.
            TooLarge: more than this node takes.
            NotFound: nothing was staged under the name given.
            Conflict: what stands isn't what ``if_match`` names any more.
            InvalidInput: the data isn't base64, or media type, note or citations can't be.
            Refused: this node may not write.
            Unavailable: history is still being folded.
        """
        place = _writable(request.address)
        ctx = self._context()
        op = operation_id(request.op_id, ctx.now_ms)
        if done := self._repeated(ctx, place, op):
            return done
        content = _content(request.data)
        writer(ctx, caller)
        _all_folded(ctx)
        if request.upload:
            content = self._uploads.take(request.upload) + content
        if len(content) > self._max_bytes:
            raise TooLarge(
                f"The content has {len(content):,} bytes; the limit is {self._max_bytes:,}.",
                "Split it over several addresses, or raise blocks.max_mib.",
            )
        graph = self._fold().graphs.get(str(place))
        _match(place, graph, request.if_match)
        data = PutData(
            address=str(place),
            parents=_parents(graph),
            media=_bounded(request.media, MAX_MEDIA_CHARS, "media type"),
            note=_bounded(request.note, MAX_NOTE_CHARS, "note"),
            citations=cite(request.citations, self.latest),
        )
        return await self._append(data, content, caller, op)

    def stage(self, upload: str, data: str) -> shapes.Staged:
        """Keep a part of content for the put that names it.

        Raises:
            InvalidInput: the data isn't base64.
            TooLarge, Conflict: too much is being brought.
        """
        size = self._uploads.add(upload, _content(data), self._context().now_ms / 1000)
        return shapes.Staged(upload=upload, size=size)

    async def delete(self, address: str, note: str, op_id: str, caller: Caller, if_match: str = "") -> shapes.Posted:
        """Write a tombstone; history stays.

        Raises:
            InvalidAddress, Refused, Conflict: as :meth:`put`.
            NotFound: nothing is there, or it is deleted already.
        """
        place = _writable(address)
        ctx = self._context()
        op = operation_id(op_id, ctx.now_ms)
        if done := self._repeated(ctx, place, op):
            return done
        writer(ctx, caller)
        _all_folded(ctx)
        graph = self._fold().graphs.get(str(place))
        if graph is None or all(v.data.deleted for v in graph.heads()):
            raise NotFound(
                f"There is nothing at {place} to delete.",
                nearest(str(place), self._fold().graphs, "`ucxl ls` lists what there is."),
            )
        _match(place, graph, if_match)
        data = PutData(
            address=str(place),
            parents=_parents(graph),
            media="",
            note=_bounded(note, MAX_NOTE_CHARS, "note"),
            deleted=True,
        )
        return await self._append(data, None, caller, op)

    async def record(self, address: str, text: str, op: str) -> None:
        """Put what the node itself has to record, unless an entry of this operation is there already, by whomever.

        Raises:
            ChorusError: as the appender does.
        """
        place = parse_place(address)
        graph = self._fold().graphs.get(str(place))
        if graph is not None and any(v.op == op for v in graph.versions.values()):
            return
        data = PutData(address=str(place), parents=_parents(graph), media="text/markdown")
        await self._append(data, text.encode()[:MAX_BODY_BYTES], Caller(), op)

    def _repeated(self, ctx: ViewContext, place: Address, op: str) -> shapes.Posted | None:
        made = made_before(self._appender, op, UCXL_PUT)
        if made is None:
            return None
        return shapes.Posted(id=made.id, key=str(made.key), delivered=0, address=str(place), version=made.hash.hex())

    async def _append(self, data: PutData, content: bytes | None, caller: Caller, op: str) -> shapes.Posted:
        check_header(data)
        entry = (await self._appender.append([Draft(UCXL_PUT, data, content, caller.via, caller.login, op)]))[0]
        return shapes.Posted(
            id=entry.id, key=str(entry.key), delivered=0, address=data.address, version=entry.hash.hex()
        )


def _writable(text: str) -> Address:
    place = parse_place(text)
    named = parse(text)
    if named != place:
        raise InvalidInput(
            f"{text[:80]!r} names a version, a query or a fragment, and only an address itself can be written.",
            f"Write to {place}.",
        )
    return place


def _all_folded(ctx: ViewContext) -> None:
    """A version names those it replaces, so all must be known."""
    if ctx.folding:
        raise Unavailable(
            "What was written before is still being read, so a version can't say what it replaces.",
            "Try again in a while; `chorus-hap status` says how far it is.",
        )


def _content(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidInput("The content is not base64.", "Encode it as base64 (RFC 4648), with padding.") from exc


def _match(place: Address, graph: Graph | None, if_match: str) -> None:
    if not if_match:
        return
    latest = graph.latest() if graph else None
    if if_match == NONE:
        standing = next((v for v in graph.heads() if not v.data.deleted), None) if graph else None
        if standing is not None:
            raise Conflict(
                f"{place} exists already, at version {standing.hash}.", "Read it, then write with --if-match."
            )
        return
    named = {name for part in if_match.split(",") if (name := part.strip())}
    if graph is None or latest is None or latest.hash not in named:
        found = f"its latest version is {latest.hash}" if latest else "nothing is there"
        raise Conflict(f"{place} has moved on: {found}, not {if_match[:64]}.", "Read it again and merge your change.")
    heads = {v.hash for v in graph.heads()} | {latest.hash}
    if heads != named:  # whoever writes replaces all that stands, so all of it must have been seen
        raise Conflict(
            f"{place} has moved on: {', '.join(sorted(heads))} stand there, not {if_match[:64]}.",
            "Read it again and name every version that your change replaces, with commas between them.",
        )


def _parents(graph: Graph | None) -> tuple[str, ...]:
    return tuple(v.hash for v in graph.heads()[:MAX_PARENTS]) if graph else ()


def _bounded(text: str, limit: int, what: str) -> str:
    if len(text) > limit:
        raise InvalidInput(f"The {what} has {len(text):,} characters; the limit is {limit}.", "Shorten it.")
    return text
