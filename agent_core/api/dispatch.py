"""From a call's bytes to its answer's bytes: the one place where control socket and HTTP meet the facade."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from agent_core.api.asked import check_texts
from agent_core.api.operations import OPERATIONS
from agent_core.caller import Caller
from agent_core.errors import ChorusError, InvalidInput, NotFound, Refused, Unavailable
from agent_core.nearest import nearest
from agent_core.shapes import Status

if TYPE_CHECKING:
    from agent_core.api.operations import Facade
    from agent_core.api.registry import Operation

logger = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode


class NoOperation(NotFound):
    """An operation that this version hasn't."""

    code = "no_operation"


class Dispatcher:
    """Calls operations by name. Until the node is up only ``status`` is answered.

    Args:
        status: how the node stands, asked for while it is starting.
        operations: the registry.
    """

    def __init__(self, status: Callable[[], Status], operations: Mapping[str, Operation] = OPERATIONS) -> None:
        self._status = status
        self._operations = operations
        self._facade: Facade | None = None

    def open(self, facade: Facade) -> None:
        """The node is up: from now on every operation is answered."""
        self._facade = facade

    def operation(self, name: str) -> Operation:
        """An operation of the registry; raises :class:`NoOperation`."""
        try:
            return self._operations[name]
        except KeyError:
            raise NoOperation(
                f"There is no operation {name[:60]!r} in this version.",
                nearest(name, self._operations, f"Operations: {', '.join(self._operations)}."),
            ) from None

    async def call(self, name: str, params: bytes | msgspec.Raw, caller: Caller) -> bytes:
        """Answer one call as JSON.

        Raises:
            ChorusError: whatever keeps it from being answered; an unforeseen exception is logged and becomes one too.
        """
        operation = self.operation(name)
        if operation.changes and caller.read_only:
            raise Refused(f"This session is read-only, so {name} was not done.", "Leave read-only mode first.")
        try:
            request = msgspec.json.decode(params or b"{}", type=operation.request)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise InvalidInput(
                f"The parameters of {name} can't be read: {exc}.", f"{name}: {operation.summary}"
            ) from exc
        check_texts(request, name)
        try:
            return _encode(await self._answer(operation, request, caller))
        except ChorusError:
            raise
        except Exception as exc:
            logger.exception("operation %s failed", name)
            raise ChorusError(
                f"{name} failed inside the node ({type(exc).__name__}).",
                "`chorus-hap doctor` and the node's log say more.",
            ) from exc

    async def _answer(self, operation: Operation, request: msgspec.Struct, caller: Caller) -> object:
        if self._facade is None:
            status = self._status()
            if operation.name == "status":
                return status
            raise Unavailable(f"The node is starting ({status.stage}).", "Try again in a few seconds.")
        if operation.changes and not operation.always:
            self._facade.check_clock()
        method = getattr(self._facade, operation.method)
        answer = method(request, caller) if operation.changes else method(request)
        return await answer if inspect.isawaitable(answer) else answer
