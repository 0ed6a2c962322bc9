"""Writing and reading addresses: versions, siblings, if_match, tombstones, diffs, citations, what is refused."""

from __future__ import annotations

import base64

import pytest

from agent_core import shapes
from agent_core.caller import Caller
from agent_core.errors import Conflict, InvalidAddress, InvalidInput, NotFound, Refused, TooLarge
from agent_core.feeds.model import MAX_BODY_BYTES, Via
from agent_core.ids import uuid7
from agent_core.roster.model import Authority
from agent_core.ucxl import views
from agent_core.ucxl.fold import UcxlFold
from agent_core.ucxl.service import UcxlService
from tests.support.writing import START_MS, Cluster, member

CALLER = Caller(Via.COMMAND, "ann")
ADDRESS = "ucxl://agent:dev@chorus:cache/design.md"


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


class Shelf:
    """Two writers that see each other's versions at once, unless they are told not to."""

    def __init__(self) -> None:
        self.cluster = Cluster(member("ann"), member("bob"), member("ro", authority=Authority.READ_ONLY))
        self.fold = UcxlFold()
        self.cluster.folds.append(self.fold)

    def of(self, me: str) -> UcxlService:
        return UcxlService(self.cluster.appender(me), lambda: self.fold, lambda: self.cluster.context(me))

    async def put(self, me: str, content: bytes, address: str = ADDRESS, **rest: object) -> shapes.Posted:
        self.cluster.now_ms += 1000
        request = shapes.PutRequest(address=address, data=b64(content), **rest)  # type: ignore[arg-type]
        return await self.of(me).put(request, CALLER)

    async def delete(self, me: str, op_id: str = "") -> shapes.Posted:
        self.cluster.now_ms += 1000
        return await self.of(me).delete(ADDRESS, "obsolete", op_id, CALLER)

    def get(self, address: str = ADDRESS, version: str = "") -> shapes.Content:
        return views.get(self.fold, self.cluster.context("ann"), address, version)

    def content(self, address: str = ADDRESS, version: str = "") -> bytes:
        return base64.b64decode(self.get(address, version).data)

    def diff(self, old: str = "", new: str = "") -> str:
        return views.diff(self.fold, self.cluster.context("ann"), ADDRESS, old, new).text

    def ls(self, pattern: str = "") -> list[str]:
        return [a.address for a in views.listing(self.fold, self.cluster.context("ann"), pattern)]


async def test_versions_through_time() -> None:
    shelf = Shelf()
    one = await shelf.put("ann", b"one")
    two = await shelf.put("bob", b"two", note="better")
    assert (one.address, two.address) == (ADDRESS, ADDRESS)
    assert shelf.content() == b"two"
    base = "ucxl://agent:dev@chorus:cache"
    assert shelf.content(f"{base}/~~1/design.md") == b"one"
    assert shelf.content(f"{base}/*~/design.md") == b"one"
    assert shelf.content(f"{base}/^^1/design.md") == b"two"
    assert shelf.content(f"{base}/#/design.md") == b"two"
    assert shelf.content(version=one.version) == b"one"
    assert shelf.content(version=one.version[:8]) == b"one"
    assert shelf.content(version="~~1") == b"one"
    assert shelf.content(f"{base}/^^1/design.md", version=one.version) == b"two"
    assert shelf.content(f"{base}/@2026-05-28T20:26:41Z/design.md") == b"one", "the first was stamped in that second"
    with pytest.raises(NotFound, match="no version ~~2"):
        shelf.get(f"{base}/~~2/design.md")
    with pytest.raises(NotFound):
        shelf.get(version="0" * 64)
    with pytest.raises(InvalidInput, match="too little"):
        shelf.get(version="0")
    log = views.log(shelf.fold, shelf.cluster.context("ann"), ADDRESS)
    assert [(v.hash, v.author, v.latest, v.note) for v in log] == [
        (two.version, "agent-bob", True, "better"),
        (one.version, "agent-ann", False, ""),
    ]
    assert log[0].parents == (one.version,)


async def test_writers_that_do_not_see_each_other_make_siblings_and_the_next_write_merges() -> None:
    shelf = Shelf()
    base = await shelf.put("ann", b"base")
    held_back = UcxlFold()
    held_back.apply(shelf.cluster.feeds["ann"].entries)
    alone = UcxlService(shelf.cluster.appender("bob"), lambda: held_back, lambda: shelf.cluster.context("bob"))
    left = await shelf.put("ann", b"left")
    shelf.cluster.now_ms += 1000
    right = await alone.put(shapes.PutRequest(address=ADDRESS, data=b64(b"right")), CALLER)
    got = shelf.get()
    assert (got.version.hash, got.version.latest) == (right.version, True)
    assert [(s.hash, s.sibling) for s in got.siblings] == [(left.version, True)]
    assert views.listing(shelf.fold, shelf.cluster.context("ann"))[0].siblings == 1
    merged = await shelf.put("ann", b"both")
    got = shelf.get()
    assert got.siblings == ()
    assert set(got.version.parents) == {left.version, right.version}
    assert got.version.hash == merged.version
    assert shelf.content(version="*~") == b"base"
    assert base.version not in got.version.parents


async def test_if_match() -> None:
    shelf = Shelf()
    one = await shelf.put("ann", b"one", if_match="none")
    two = await shelf.put("ann", b"two", if_match=one.version)
    with pytest.raises(Conflict, match="moved on") as refused:
        await shelf.put("bob", b"three", if_match=one.version)
    assert two.version in refused.value.message
    assert refused.value.ucxl_code == "UCXL-409-CONFLICT"
    with pytest.raises(Conflict, match="exists already"):
        await shelf.put("bob", b"three", if_match="none")
    with pytest.raises(Conflict, match="nothing is there"):
        await shelf.put("bob", b"x", "ucxl://a:b@c:d/new", if_match=one.version)
    await shelf.delete("ann")
    await shelf.put("bob", b"again", if_match="none")


async def test_if_match_names_all_that_is_replaced() -> None:
    shelf = Shelf()
    base = await shelf.put("ann", b"base")
    held_back = UcxlFold()
    held_back.apply(shelf.cluster.feeds["ann"].entries)
    alone = UcxlService(shelf.cluster.appender("bob"), lambda: held_back, lambda: shelf.cluster.context("bob"))
    left = await shelf.put("ann", b"left")
    shelf.cluster.now_ms += 1000
    right = await alone.put(shapes.PutRequest(address=ADDRESS, data=b64(b"right")), CALLER)
    both = [left.version, right.version]
    for named in (left.version, right.version, f"{left.version},{base.version}", ",".join([*both, base.version])):
        with pytest.raises(Conflict, match="moved on"):
            await shelf.put("ann", b"merged", if_match=named)
    merged = await shelf.put("ann", b"merged", if_match=", ".join(both))
    assert set(shelf.get().version.parents) == set(both)
    with pytest.raises(Conflict, match="moved on"):
        await shelf.of("ann").delete(ADDRESS, "", "", CALLER, left.version)
    await shelf.of("ann").delete(ADDRESS, "", "", CALLER, merged.version)


async def test_repeating_an_operation_is_answered_before_it_is_judged_anew() -> None:
    shelf, op = Shelf(), uuid7(1)
    one = await shelf.put("ann", b"one", if_match="none", op_id=op)
    assert await shelf.put("ann", b"one", if_match="none", op_id=op) == one
    gone = await shelf.delete("ann", op_id=uuid7(2, bytes(10)))
    assert await shelf.delete("ann", op_id=uuid7(2, bytes(10))) == gone
    assert len(shelf.fold.graphs[ADDRESS].versions) == 2


async def test_a_tombstone_leaves_history() -> None:
    shelf = Shelf()
    await shelf.put("ann", b"one")
    await shelf.delete("bob")
    with pytest.raises(NotFound, match="was deleted by agent-bob") as refused:
        shelf.get()
    assert "ucxl://agent:dev@chorus:cache/~~1/design.md" in refused.value.next
    assert shelf.content("ucxl://agent:dev@chorus:cache/~~1/design.md") == b"one"
    with pytest.raises(NotFound, match="to delete"):
        await shelf.delete("ann")
    (info,) = views.listing(shelf.fold, shelf.cluster.context("ann"))
    assert (info.deleted, info.versions) == (True, 2)
    assert "-one" in shelf.diff()


async def test_differences() -> None:
    shelf = Shelf()
    one = await shelf.put("ann", b"a\nb\nc\n")
    with pytest.raises(NotFound, match="no version before"):
        shelf.diff()
    two = await shelf.put("ann", b"a\nB\nc")
    assert shelf.diff().splitlines()[2:] == [
        "@@ -1,3 +1,3 @@",
        " a",
        "-b",
        "-c",
        "+B",
        "+c",
        "\\ No newline at end of file",
    ]
    assert shelf.diff("~~1", "*^") == shelf.diff(one.version, two.version) == shelf.diff()
    assert shelf.diff("*^", "*^") == ""
    await shelf.put("ann", b"\0\xff")
    assert shelf.diff() == "(binary: 5 bytes → 2 bytes)"
    shelf.cluster.stored.clear()
    assert "is not here: no body" in shelf.diff()
    assert shelf.get().missing == "no body"


async def test_listing_by_pattern() -> None:
    shelf = Shelf()
    for address in ("ucxl://a:dev@p:t/docs/x", "ucxl://b:dev@p:t/docs/y", "ucxl://a:ops@q:t/z"):
        await shelf.put("ann", b"x", address)
    assert shelf.ls() == ["ucxl://a:dev@p:t/docs/x", "ucxl://a:ops@q:t/z", "ucxl://b:dev@p:t/docs/y"]
    assert shelf.ls("ucxl://*:dev@p:t/docs") == ["ucxl://a:dev@p:t/docs/x", "ucxl://b:dev@p:t/docs/y"]
    assert shelf.ls("ucxl://a:any@any:any/") == ["ucxl://a:dev@p:t/docs/x", "ucxl://a:ops@q:t/z"]
    assert shelf.ls("ucxl://*:*@*:*/*/y") == ["ucxl://b:dev@p:t/docs/y"]
    with pytest.raises(InvalidAddress):
        shelf.ls("docs")


async def test_citations_store_the_version_they_stand_at() -> None:
    shelf = Shelf()
    source = await shelf.put("ann", b"source", "ucxl://a:b@c:d/source")
    cite = shapes.Citation(address="ucxl://a:b@c:d/#/source", reason="measured")
    await shelf.put("ann", b"text", citations=(cite,))
    assert shelf.get().cites == (
        shapes.Citation(address="ucxl://a:b@c:d/source", reason="measured", version=source.version),
    )
    assert shelf.get("ucxl://a:b@c:d/source").cited_by == (ADDRESS,)


async def test_size_limits() -> None:
    shelf = Shelf()
    await shelf.put("ann", b"x" * MAX_BODY_BYTES)
    for size in (MAX_BODY_BYTES + 1, 10 << 20):
        with pytest.raises(TooLarge, match="the limit is 32,768"):
            await shelf.put("ann", b"x" * size)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"address": "nonsense"}, InvalidAddress),
        ({"address": "ucxl://any:b@c:d/x"}, InvalidAddress),
        ({"address": "ucxl://a:b@c:d/~~1/x"}, InvalidInput),
        ({"address": "ucxl://a:b@c:d/x#part"}, InvalidInput),
        ({"note": "n" * 501}, InvalidInput),
        ({"media": "m" * 101}, InvalidInput),
        ({"op_id": "7"}, InvalidInput),
    ],
)
async def test_what_cannot_be_written_is_refused(change: dict[str, object], error: type[Exception]) -> None:
    shelf = Shelf()
    with pytest.raises(error):
        await shelf.put("ann", b"x", **change)  # type: ignore[arg-type]
    assert shelf.fold.graphs == {}


async def test_data_that_is_no_base64_and_who_may_not_write() -> None:
    shelf = Shelf()
    with pytest.raises(InvalidInput, match="base64"):
        await shelf.of("ann").put(shapes.PutRequest(address=ADDRESS, data="%%"), CALLER)
    with pytest.raises(Refused, match="read_only"):
        await shelf.put("ro", b"x")


async def test_a_record_is_put_once_whoever_leads() -> None:
    shelf, op = Shelf(), uuid7(START_MS, bytes(10))
    address = "ucxl://agent-ann:admin@p:t/decisions/abc"
    await shelf.of("ann").record(address, "# Record\n", op)
    await shelf.of("bob").record(address, "# Record\n", op)
    (version,) = shelf.fold.graphs[address].versions.values()
    assert version.data.media == "text/markdown"
    assert shelf.content(address) == b"# Record\n"
