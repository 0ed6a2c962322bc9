"""The one exception root, and the one table from failure to exit code, HTTP status and UCXL code."""

from __future__ import annotations

from typing import ClassVar

from agent_core.text import from_system


class ChorusError(Exception):
    """A failure with a sentence for a person.

    Args:
        message: what went wrong, one clear sentence.
        next: what to do about it, one clear sentence; may be empty.

    Class attributes: ``code`` is the stable machine-readable name, ``exit_code`` the process exit status (SPEC section 16),
    ``http_status`` the HTTP status, ``ucxl`` the name in ``UCXL-<http>-<NAME>`` (SPEC section 8).
    """

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    ucxl: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, message: str, next: str = "") -> None:
        # What is told goes on in JSON and to terminals, and may quote what the system gave in bytes that are no text.
        self.message, self.next = from_system(message), from_system(next)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.next}".strip()

    def to_dict(self) -> dict[str, str]:
        """The refusal as scripted commands and the control protocol print it: ``{code, message, next}``."""
        return {"code": self.code, "message": self.message, "next": self.next}

    @property
    def ucxl_code(self) -> str:
        """``UCXL-<http>-<NAME>``."""
        return f"UCXL-{self.http_status}-{self.ucxl}"


class InvalidInput(ChorusError):
    """What was asked can't be understood: a malformed address, an unknown intent, a bad number."""

    code, exit_code, http_status, ucxl = "invalid_input", 2, 400, "BAD_REQUEST"


class InvalidAddress(InvalidInput):
    """A UCXL address that doesn't parse, or a wildcard in a write."""

    code, ucxl = "invalid_address", "INVALID_ADDRESS"


class ConfigError(InvalidInput):
    """A setting that can't be used: unknown key, wrong type, out of range."""

    code = "config"


class Refused(ChorusError):
    """Understood, and not allowed: no authority, closed, read-only."""

    code, http_status, ucxl = "refused", 403, "FORBIDDEN"


class SecretFound(Refused):
    """SHHH found a critical secret in what was about to leave; ``message`` names rule and line."""

    code, http_status, ucxl = "secret_found", 422, "SECRET_FOUND"


class TooLarge(Refused):
    """A body, message or file over its limit."""

    code, http_status, ucxl = "too_large", 413, "PAYLOAD_TOO_LARGE"


class NotFound(ChorusError):
    """No such room, decision, address, entry or member."""

    code, http_status, ucxl = "not_found", 404, "NOT_FOUND"


class Conflict(ChorusError):
    """The state has moved on: ``if_match`` failed, the decision is closed, an ``op_id`` was used for something else."""

    code, http_status, ucxl = "conflict", 409, "CONFLICT"


class NotLeader(ChorusError):
    """Only the admin can do this, and this node isn't it."""

    code, http_status, ucxl = "not_leader", 409, "NOT_LEADER"


class NoQuorum(ChorusError):
    """A majority of the voters can't be reached, so this can't be committed."""

    code, http_status, ucxl = "no_quorum", 503, "SERVICE_UNAVAILABLE"


class Unavailable(ChorusError):
    """A part of the node isn't ready or is degraded."""

    code, http_status, ucxl = "unavailable", 503, "SERVICE_UNAVAILABLE"


class ClockAhead(Unavailable):
    """This home's log is stamped ahead of its clock, so what it writes now would be held; the message says until when."""

    code = "clock_ahead"


class StoreError(ChorusError):
    """The store on disk can't be used: disk full, read-only home, a newer version, damage."""

    code, http_status, ucxl = "store", 507, "INSUFFICIENT_STORAGE"


class StoreDamaged(StoreError):
    """A database isn't what was written: ``path`` names the file. A node puts it aside and fetches back what others hold."""

    path = ""


class NoNode(ChorusError):
    """No node runs on this home and none may or can be started."""

    code, exit_code, http_status = "no_node", 3, 503


class HomeInUse(NoNode):
    """Another process holds this home's lock."""

    code, exit_code, http_status = "home_in_use", 5, 409


class TimedOut(ChorusError):
    """Nothing answered within the time allowed."""

    code, exit_code, http_status, ucxl = "timed_out", 4, 504, "GATEWAY_TIMEOUT"


class PortInUse(ChorusError):
    """A port that something else listens on."""

    code, http_status = "port_in_use", 409


class Incompatible(ChorusError):
    """Two programs that share no version of a protocol."""

    code, http_status = "incompatible", 426


class VerificationFailed(ChorusError):
    """A signature, hash, proof or schema doesn't hold."""

    code, http_status, ucxl = "verification_failed", 422, "VERIFICATION_FAILED"


EXIT_INTERRUPTED = 130


def by_code(code: str) -> type[ChorusError]:
    """The exception class whose ``code`` is given; :class:`ChorusError` for one this version doesn't know."""
    todo: list[type[ChorusError]] = [ChorusError]
    while todo:
        cls = todo.pop()
        if cls.code == code:
            return cls
        todo.extend(cls.__subclasses__())
    return ChorusError
