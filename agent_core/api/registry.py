"""The one registry of operations: name, what goes in, what comes out, whether it changes anything. OpenAPI is made from it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

import msgspec

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__operation__"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the facade.

    Args:
        name: as the control socket, HTTP and MCP call it.
        method: the facade's method.
        request: the struct its parameters are read into.
        result: the type of its answer.
        changes: whether it changes anything; refused to read-only callers.
        doc: the method's docstring.
        always: done also while the home's log is ahead of its clock: it changes by acts, elections, or where the home
            belongs, which no clock holds back. Every other change is refused then.
    """

    name: str
    method: str
    request: type[msgspec.Struct]
    result: Any
    changes: bool
    doc: str
    always: bool = False

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.doc.partition("\n")[0]


def operation(name: str, *, changes: bool = False, always: bool = False) -> Callable[[F], F]:
    """Make a method ``(self, request[, caller])`` an operation of its class."""

    def mark(function: F) -> F:
        setattr(function, _MARK, (name, changes, always))
        return function

    return mark


def operations_of(facade: type) -> Mapping[str, Operation]:
    """The operations of a facade class by name, in the order they are written.

    Raises:
        TypeError: one has no docstring, or takes no request struct.
    """
    found: dict[str, Operation] = {}
    for cls in reversed(facade.__mro__):
        for method, function in vars(cls).items():
            marked = getattr(function, _MARK, None)
            if marked is None:
                continue
            name, changes, always = marked
            hints = get_type_hints(function)
            request, doc = hints.get("request"), inspect.getdoc(function)
            if not (isinstance(request, type) and issubclass(request, msgspec.Struct)) or not doc:
                raise TypeError(f"{facade.__name__}.{method} needs a request struct and a docstring")
            found[name] = Operation(name, method, request, hints["return"], changes, doc, always)
    return MappingProxyType(found)
