"""Every type of the catalogue: its example holds, and any payload of its schema survives the journey."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from agent_core.errors import InvalidInput
from agent_core.wire import catalogue
from agent_core.wire.envelope import decode, encode
from agent_core.wire.payload import MessageType
from tests.support.envelopes import envelope

SPEC_TYPES = [
    "task_announcement",
    "task_claim",
    "task_progress",
    "task_complete",
    "capability_broadcast",
    "availability_broadcast",
    "meta_discussion",
    "task_help_request",
    "task_help_response",
    "coordination_request",
    "coordination_complete",
    "dependency_alert",
    "escalation_trigger",
    "role_announcement",
    "expertise_request",
    "expertise_response",
    "status_update",
    "work_allocation",
    "role_collaboration",
    "mentorship_request",
    "mentorship_response",
    "project_update",
    "deliverable_ready",
    "feedback_event",
    "context_request",
    "context_response",
    "context_usage",
    "context_relevance",
    "slurp_event_generated",
    "slurp_event_ack",
    "slurp_context_update",
]

every_type = pytest.mark.parametrize("kind", catalogue.TYPES.values(), ids=lambda kind: kind.name)


def values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Any value of a msgspec type."""
    match kind:
        case inspect.StrType(pattern=str() as pattern):
            return st.from_regex(pattern, fullmatch=False)
        case inspect.StrType():
            text = st.characters(exclude_categories=["Cs"])
            return st.text(text, min_size=kind.min_length or 0, max_size=min(kind.max_length or 40, 40))
        case inspect.IntType():
            return st.integers(
                kind.ge if kind.ge is not None else -(2**63), kind.le if kind.le is not None else 2**63 - 1
            )
        case inspect.FloatType():
            return st.floats(kind.ge, kind.le, allow_nan=False, allow_infinity=False)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.BytesType():
            return st.binary(max_size=min(kind.max_length or 40, 40))
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.EnumType():
            return st.sampled_from(list(kind.cls))
        case inspect.UnionType():
            return st.one_of(*map(values, kind.types))
        case inspect.VarTupleType():
            return st.lists(values(kind.item_type), max_size=3).map(tuple)
        case inspect.DictType():
            return st.dictionaries(values(kind.key_type), values(kind.value_type), max_size=3)
        case inspect.StructType():
            return st.builds(kind.cls, **{field.name: values(field.type) for field in kind.fields})
    raise NotImplementedError(kind)


def test_all_31_types_of_the_spec_are_there_in_their_five_families() -> None:
    first = [kind.name for family in catalogue.FAMILIES[:5] for kind in family.types]
    assert first == SPEC_TYPES
    assert len(first) == 31
    assert [len(family.types) for family in catalogue.FAMILIES[:5]] == [6, 7, 10, 5, 3]


def test_the_meshs_own_families_are_there() -> None:
    own = {family.name for family in catalogue.FAMILIES[5:]}
    assert own == {"election", "cooee", "feed", "hmmm", "decision", "patch", "session", "council", "team"}
    for family in catalogue.FAMILIES[5:]:
        assert all(kind.name.startswith(f"{family.name}.") for kind in family.types)


@every_type
def test_schema_has_a_docstring_and_its_example_travels(kind: MessageType) -> None:
    assert kind.schema.__doc__
    sent = envelope(kind.name, kind.example)
    arrived = decode(encode(sent))
    assert catalogue.read(arrived) == kind.example
    assert catalogue.summary(arrived)
    assert catalogue.type_of(kind.example) == kind.name


@every_type
@settings(max_examples=20)
@given(draw=st.data())
def test_any_payload_travels(kind: MessageType, draw: st.DataObject) -> None:
    payload = draw.draw(values(inspect.type_info(kind.schema)))
    arrived = decode(encode(envelope(kind.name, payload)))
    assert catalogue.read(arrived) == payload
    assert "\n" not in catalogue.summary(arrived)


def test_a_summary_never_carries_control_characters_to_a_terminal() -> None:
    sent = envelope("status_update", catalogue.get("status_update").schema(status="ok\x1b[2J\u202e\nroot# "))
    assert catalogue.summary(sent) == "ok [2J  root#"


def test_what_is_no_type_is_said() -> None:
    with pytest.raises(InvalidInput, match="no message type 'nonsense'"):
        catalogue.topic_of("nonsense")
    assert catalogue.read(envelope("later.version", catalogue.get("status_update").example)) is None
    assert "unknown type" in catalogue.summary(envelope("later.version", catalogue.get("status_update").example))
