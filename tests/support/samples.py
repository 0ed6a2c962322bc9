"""An answer of any shape, made from its type, so that a scripted node can answer every operation there is."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal, Union

import msgspec

from agent_core.api.operations import OPERATIONS

_PLAIN: dict[Any, Any] = {str: "x", int: 1, float: 1.0, bool: False, bytes: "eA==", type(None): None}


def sample(kind: Any) -> Any:
    """The smallest answer of a type that has something in every list, as plain data."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return sample(args[0])
    if origin in (Union, types.UnionType):
        return sample(args[0])
    if origin is Literal:
        return args[0]
    if origin is tuple and len(args) > 1 and args[1] is not ...:
        return [sample(arg) for arg in args]
    if origin in (tuple, list, frozenset, set):
        return [sample(args[0])] if args and args[0] is not msgspec.Raw else []
    if origin is dict:
        return {"x": sample(args[1])} if args else {}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind, include_extras=True)
        return {field.encode_name: _field(field, hints[field.name]) for field in msgspec.structs.fields(kind)}
    if hasattr(kind, "__members__"):
        return next(iter(kind)).value
    return _PLAIN.get(kind)


def answers() -> dict[str, Any]:
    """One for each operation of the facade."""
    return {name: sample(operation.result) for name, operation in OPERATIONS.items()}


def _field(field: msgspec.structs.FieldInfo, kind: Any) -> Any:
    if field.name in ("at", "as_of", "last_at", "deadline", "until", "since"):
        return "2026-01-01T00:00:00.000Z"
    if field.name == "data":
        return "eA=="
    if field.name in ("more", "missing", "offline"):
        return field.default if field.default is not msgspec.NODEFAULT else sample(kind)
    return sample(kind)
