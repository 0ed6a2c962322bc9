"""Which epoch of its own feed a home may write, and how it notices that it was restored or copied (SPEC section 2)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from agent_core.errors import StoreError
from agent_core.feeds.store import Store
from agent_core.home import write_whole

_INSTANCE, _CLOSED, _RESTORED, _DOUBT = "feeds.instance", "feeds.closed", "feeds.restored", "feeds.doubt"


class Instance(msgspec.Struct, frozen=True):
    """The file outside the database: a random id that both know, and the last epoch opened, should the database be lost."""

    id: str
    epoch: int = 0


class Place:
    """The binding of a store to its home, and the epoch that may be written.

    Args:
        store: the store.
        me: this node's peer id.
        path: the instance file beside the database; nothing for a store without a home (the simulator's).

    Raises:
        StoreError: the file can't be read or written.
    """

    def __init__(self, store: Store, me: str, path: Path | None) -> None:
        self.me = me
        self._store, self._path = store, path
        self._closed = int(store.read(_CLOSED) or b"-1")
        self._reason = (store.read(_RESTORED) or b"").decode()
        self._doubt = (store.read(_DOUBT) or b"").decode()
        if path is not None:
            self._bind(path)

    @property
    def restored(self) -> str:
        """Why this home's memory of its votes can't be trusted; empty if it can. Kept until :meth:`trust`."""
        return self._reason

    @property
    def doubt(self) -> str:
        """What the admin's promotion must name to end the doubt: random, new with each; empty without one."""
        return self._doubt

    @property
    def epoch(self) -> int:
        """The epoch that the next entry belongs to."""
        last = self._store.last_epoch(self.me)
        return max(self._closed + 1, 0 if last is None else last)

    @property
    def opening(self) -> bool:
        """Whether the next entry must open its epoch and name the last head known."""
        return self._closed >= 0 and self._store.size(self.me, self.epoch) == 0

    def close_epoch(self, reason: str, least: int = -1) -> None:
        """Write no more into any epoch known: the home doesn't know all it ever wrote.

        Args:
            reason: one clause for people.
            least: an epoch known to exist even if nothing of it is held.
        """
        last = self._store.last_epoch(self.me)
        closed = max(self._closed, least, -1 if last is None else last)
        doubt = os.urandom(8).hex()
        self._store.write_all({_CLOSED: str(closed).encode(), _RESTORED: reason.encode(), _DOUBT: doubt.encode()})
        self._closed, self._reason, self._doubt = closed, reason, doubt

    def opened(self, epoch: int) -> None:
        """An epoch was opened: remember it outside the database too, which matters only should the database be lost."""
        if self._path is not None:
            with suppress(StoreError):
                self._write_file(self._path, Instance(self._stored_id(), epoch))

    def trust(self) -> None:
        """The admin promoted this node again: it may vote."""
        self._store.write_all({_RESTORED: None, _DOUBT: None})
        self._reason = self._doubt = ""

    def _bind(self, path: Path) -> None:
        outside, inside = _read_file(path), self._stored_id()
        known = outside is not None and outside.id == inside
        if known:
            return
        if outside is None and self._store.last_epoch(self.me) is None:
            reason = ""  # a new home, or one that ended before its first entry
        elif not inside:
            reason = "the database was lost"
        elif outside is None:
            reason = "the home was restored from a copy without its instance file"
        else:
            reason = "the home was restored or copied: its database is another instance's"
        if reason:
            self.close_epoch(reason, outside.epoch if outside else -1)
        fresh = Instance(os.urandom(16).hex(), self.epoch)
        self._store.write(_INSTANCE, fresh.id.encode())
        self._write_file(path, fresh)

    def _stored_id(self) -> str:
        return (self._store.read(_INSTANCE) or b"").decode()

    def _write_file(self, path: Path, instance: Instance) -> None:
        write_whole(path, msgspec.json.encode(instance) + b"\n")


def _read_file(path: Path) -> Instance | None:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(4096), type=Instance)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Instance("unreadable")
    except OSError as exc:
        raise StoreError(f"{path} can't be read: {exc.strerror or exc}.", "Mend the permissions of the home.") from exc
