"""What every operation asks of its parameters: names and texts say something. An unset variable of a shell is no name."""

from __future__ import annotations

from functools import cache
from typing import Any, get_type_hints

import msgspec

from agent_core.errors import InvalidInput
from agent_core.shapes.texts import CONTENT


def check_texts(request: msgspec.Struct, operation: str = "") -> None:
    """See that no name and no text of a request is empty or blank.

    A required text must be there; an optional one may be left out, or empty, but not blank. What is marked as
    :data:`~agent_core.shapes.texts.Content` is taken as it is.

    Args:
        request: the parameters.
        operation: the operation's name, for the sentence.

    Raises:
        InvalidInput: one is.
    """
    for field, required, content in _fields(type(request)):
        if not content:
            _check(getattr(request, field), field, required, operation)


def _check(value: Any, field: str, required: bool, operation: str) -> None:
    match value:
        case str():
            if not value.strip() and (required or value):
                raise empty(field.replace("_", " "), operation)
        case tuple() | list():
            for item in value:
                _check(item, field, True, operation)
        case msgspec.Struct():
            check_texts(value, operation)


def empty(what: str, operation: str = "") -> InvalidInput:
    """The refusal of a name or text that says nothing."""
    of = f" of {operation}" if operation else ""
    return InvalidInput(
        f"The {what}{of} is empty.", "Name it; if it came from a variable, that is not set. Leave it out if it may be."
    )


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, bool, bool], ...]:
    """The fields of a struct: name, whether it is required, whether it is content."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        (field.name, field.required, CONTENT in getattr(hints[field.name], "__metadata__", ()))
        for field in msgspec.structs.fields(kind)
    )
