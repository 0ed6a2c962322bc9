"""Asking for what isn't there is an error with the nearest names; a name or text that says nothing is refused. All operations."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest

from agent_core.api.asked import check_texts
from agent_core.api.dispatch import Dispatcher
from agent_core.api.operations import OPERATIONS, Facade
from agent_core.caller import Caller
from agent_core.clock import pack
from agent_core.errors import InvalidInput, NotFound
from agent_core.feeds.model import Draft, new_header
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData
from agent_core.nearest import nearest
from agent_core.shapes.texts import CONTENT
from agent_core.ucxl.model import UCXL_PUT, PutData
from tests.support.parts import ME, NOW_MS, FakeNode

HERE = "ucxl://ann:operator@search:cache/plan.md"
GONE = "ucxl://ann:operator@search:cache/plam.md"


def a_node() -> FakeNode:
    """A node that holds a room, an address and four entries."""
    node = FakeNode()
    drafts = [
        Draft(HMMM_MESSAGE, MessageData(room="login-timeouts", intent="update"), b"said"),
        Draft(HMMM_MESSAGE, MessageData(room="meta", intent="update"), b"said"),
        Draft(UCXL_PUT, PutData(address=HERE), b"content"),
    ]
    for seq, draft in enumerate(drafts):
        entry = new_header(draft, author=ME, epoch=0, seq=seq, hlc=pack(NOW_MS - 1000 + seq), salt=bytes(16))[0]
        node.entries.stored.append(entry)
    node.folds.rooms.apply(node.entries.stored)
    node.folds.ucxl.apply(node.entries.stored)
    return node


#: Operations that name something, with something that isn't there, and what their refusal must name.
ABSENT: list[tuple[str, dict[str, Any], str]] = [
    ("hmmm.show", {"room": "login-timeout"}, "`login-timeouts`"),
    ("hmmm.show", {"room": "LOGIN-TIMEOUTS"}, "`login-timeouts`"),
    ("decisions.show", {"id": "zzzzzzzz"}, "list them"),
    ("ucxl.get", {"address": GONE}, f"`{HERE}`"),
    ("ucxl.get", {"address": HERE, "version": "0" * 12}, "ucxl log"),
    ("ucxl.get", {"address": HERE.replace("/plan", "/~~7/plan")}, "ucxl log"),
    ("ucxl.log", {"address": GONE}, f"`{HERE}`"),
    ("ucxl.ls", {"pattern": GONE}, f"`{HERE}`"),
    ("ucxl.diff", {"address": GONE}, f"`{HERE}`"),
    ("ucxl.diff", {"address": HERE, "old": "0" * 12}, "ucxl log"),
    ("ucxl.fetch", {"address": GONE}, f"`{HERE}`"),
    ("log.prove", {"entry": "zzzzzzzz"}, ""),
    ("log.prove", {"entry": f"{ME}/0/77"}, ""),
    ("log.prove", {"entry": "0", "author": "anm"}, "`ann`"),
    ("log.prove", {"entry": "0", "epoch": 4}, "Held is 0"),
    ("log.export", {"author": "anm"}, "`ann`"),
    ("log.export", {"epoch": 4}, "Held is 0"),
    ("log.purge", {"key": f"{ME}/3/1"}, ""),
    ("election.verify", {"term": 99}, "No term"),
    ("members.revoke", {"id": "bbo"}, "`bob`"),
    ("members.evict", {"id": "bbo"}, "`bob`"),
    ("members.promote", {"id": "bbo"}, "`bob`"),
    ("members.demote", {"id": "bbo"}, "`bob`"),
    ("members.approve", {"id": "newcomer"}, "pending"),
    ("members.refuse", {"id": "newcomer"}, "pending"),
]


def dispatcher(node: FakeNode) -> Dispatcher:
    made = Dispatcher(lambda: node.now)
    made.open(Facade(node.parts()))
    return made


@pytest.mark.parametrize(("name", "params", "near"), ABSENT, ids=[f"{n} {p}" for n, p, _ in ABSENT])
async def test_what_is_not_there_is_an_error_with_the_nearest_names(
    name: str, params: dict[str, Any], near: str
) -> None:
    with pytest.raises(NotFound) as refusal:
        await dispatcher(a_node()).call(name, msgspec.json.encode(params), Caller())
    assert (refusal.value.exit_code, refusal.value.http_status) == (1, 404)
    assert near in str(refusal.value)
    assert refusal.value.next


async def test_an_unknown_operation_names_the_nearest() -> None:
    with pytest.raises(NotFound, match=r"Did you mean `hmmm\.show`"):
        await dispatcher(a_node()).call("hmm.show", b"{}", Caller())


async def test_what_is_there_is_still_found() -> None:
    made = dispatcher(a_node())
    for name, params in (
        ("hmmm.show", {"room": "meta"}),
        ("ucxl.ls", {"pattern": HERE}),
        ("ucxl.ls", {"pattern": "ucxl://any:any@none:any/x"}),
    ):
        await made.call(name, msgspec.json.encode(params), Caller())


def texts_of(kind: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    """The fields of a request that are names or texts, or lists of them; content apart."""
    found = []
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if CONTENT in getattr(hint, "__metadata__", ()):
            continue
        plain = msgspec.inspect.type_info(hint)
        inner = plain.type if isinstance(plain, msgspec.inspect.Metadata) else plain
        if isinstance(inner, msgspec.inspect.StrType):
            found.append((name, lambda text: text))
        elif isinstance(inner, msgspec.inspect.VarTupleType) and isinstance(inner.item_type, msgspec.inspect.StrType):
            found.append((name, lambda text: [text]))
    return found


FILLED = {"term": 1, "text": "t", "data": "", "address": HERE, "upload": "u" * 8, "policy": "open"}


def filled(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {f.name: FILLED.get(f.name, "x") for f in msgspec.structs.fields(kind) if f.required}


EMPTIED = [
    (name, field, given)
    for name, operation in OPERATIONS.items()
    for field, shape in texts_of(operation.request)
    for given in (shape(""), shape(" \t"))
    if given or next(f for f in msgspec.structs.fields(operation.request) if f.name == field).required
]


@pytest.mark.parametrize(("name", "field", "given"), EMPTIED, ids=lambda v: str(v))
async def test_no_name_and_no_text_is_empty(name: str, field: str, given: Any) -> None:
    node = a_node()
    params = {**filled(OPERATIONS[name].request), field: given}
    with pytest.raises(InvalidInput) as refusal:
        await dispatcher(node).call(name, msgspec.json.encode(params), Caller())
    assert field.replace("_", " ") in str(refusal.value) or field == "policy"
    assert not node.calls, "nothing was done"


def test_citations_say_something_too() -> None:
    from agent_core.shapes import Citation, PostRequest

    with pytest.raises(InvalidInput, match="reason"):
        check_texts(PostRequest(room="r", text="t", citations=(Citation(address=HERE, reason=" "),)))
    check_texts(PostRequest(room="r", text="", stance="agree"))  # a stance may stand alone


def test_nearest_names() -> None:
    assert nearest("cahe", ["cache", "docs", "cached"]).startswith("Did you mean `cache`?")
    assert nearest("Kache", ["cache"]) == "Did you mean `cache`?"
    assert nearest("zzz", ["cache", "docs"], "List them.") == "There are `cache` and `docs`. List them."
    assert nearest("zzz", [str(n) for n in range(9)], "List them.") == "List them."
    assert nearest("x", []) == ""
    assert isinstance(nearest("x" * 10_000, [f"room-{n}" for n in range(20_000)]), str)


#: Operations that name something new, or whose service looks it up by the same functions.
_ELSEWHERE = {
    "hmmm.post",
    "decisions.propose",
    "decisions.vote",
    "decisions.withdraw",
    "ucxl.put",
    "ucxl.stage",
    "ucxl.delete",
}
_ELSEWHERE |= {"cluster.join", "cluster.policy", "shhh.check"}


def test_every_operation_that_names_something_is_walked() -> None:
    naming = {name for name, operation in OPERATIONS.items() if filled(operation.request)}
    assert naming - _ELSEWHERE <= {name for name, _, _ in ABSENT}
