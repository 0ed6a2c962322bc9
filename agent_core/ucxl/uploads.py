"""Content that comes in parts, because one call can't carry it: kept in memory until the put that names it. Pure; time is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_core.errors import Conflict, NotFound, TooLarge

#: Uploads at the same time, and seconds after which one that nobody goes on with is dropped.
MAX_UPLOADS, IDLE_S = 4, 120.0


@dataclass
class _Upload:
    at: float
    data: bytearray = field(default_factory=bytearray)


class Uploads:
    """Content that is being brought.

    Args:
        max_bytes: of all uploads together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._uploads: dict[str, _Upload] = {}

    def add(self, name: str, data: bytes, now: float) -> int:
        """Add to an upload; the first part makes it. Returns its size now, bytes.

        Raises:
            TooLarge: over the limit; the upload is dropped.
            Conflict: too many others are under way.
        """
        for other in [n for n, u in self._uploads.items() if now - u.at > IDLE_S]:
            del self._uploads[other]
        if name not in self._uploads and len(self._uploads) >= MAX_UPLOADS:
            raise Conflict(
                f"{MAX_UPLOADS} other puts are being brought here.", "Try again when one of them is through."
            )
        if sum(len(u.data) for u in self._uploads.values()) + len(data) > self._max_bytes:
            self._uploads.pop(name, None)
            raise TooLarge(
                f"The content has more than {self._max_bytes:,} bytes, with what else is being brought here.",
                "Split it over several addresses, or raise blocks.max_mib.",
            )
        upload = self._uploads.setdefault(name, _Upload(now))
        upload.data += data
        upload.at = now
        return len(upload.data)

    def take(self, name: str) -> bytes:
        """The content of an upload, which ends it. Raises ``NotFound``."""
        upload = self._uploads.pop(name, None)
        if upload is None:
            raise NotFound(f"There is no upload {name[:64]!r} here any more.", "Put it again.")
        return bytes(upload.data)
