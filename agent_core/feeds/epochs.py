"""Which epoch of its own feed a home may write, and how it notices that it was restored or copied (SPEC section 2)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from agent_core.errors import StoreError
from agent_core.feeds.store import Store
from agent_core.instance import UNREADABLE, Instance, read_instance, write_instance

#: Under what the database knows whose instance it is.
INSTANCE_KEY = "feeds.instance"
_CLOSED, _RESTORED, _DOUBT = "feeds.closed", "feeds.restored", "feeds.doubt"


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
        self._instance = Instance("")
        #: The database was lost, and nothing tells whether this home was enrolled anywhere: its file is from before that was kept.
        self.forgotten = False
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
    def lost(self) -> int:
        """The last epoch that was closed since the home doesn't know all of it; -1 for none."""
        return self._closed

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
                self._write(id=self._stored_id(), epoch=epoch)

    @property
    def instance(self) -> Instance:
        """What the instance file says, with its changes since the start; empty for a store without a home."""
        return self._instance

    def enrolled(self, cluster: str, agent_id: str, kind: str) -> None:
        """The home belongs to a cluster: known outside the database before anybody is told.

        Raises:
            StoreError: the file can't be written.
        """
        if self._path is not None:
            self._write(cluster=cluster, agent_id=agent_id, kind=kind, peer_id=self.me)

    def trust(self) -> None:
        """The admin promoted this node again: it may vote."""
        self._store.write_all({_RESTORED: None, _DOUBT: None})
        self._reason = self._doubt = ""

    def _bind(self, path: Path) -> None:
        outside, inside = read_instance(path), self._stored_id()
        if outside is not None:
            self._instance = outside
            self.forgotten = not inside and not outside.peer_id
            if outside.id == inside:
                self._write(peer_id=self.me)
                return
        if outside is None and self._store.last_epoch(self.me) is None:
            reason = ""  # a new home, or one that ended before its first entry
        elif not inside:
            reason = "the database was lost"
        elif outside is not None and outside.id == UNREADABLE:
            reason = "its instance file can't be read"
        elif outside is None:
            reason = "the home was restored from a copy without its instance file"
        else:
            reason = "the home was restored or copied: its database is another instance's"
        if reason:
            self.close_epoch(reason, outside.epoch if outside else -1)
        id = os.urandom(16).hex()
        self._store.write(INSTANCE_KEY, id.encode())
        self._write(id=id, epoch=self.epoch, peer_id=self.me)

    def _write(self, **changes: str | int) -> None:
        changed = msgspec.structs.replace(self._instance, **changes)
        if self._path is not None and changed != self._instance:
            write_instance(self._path, changed)
        self._instance = changed

    def _stored_id(self) -> str:
        return (self._store.read(INSTANCE_KEY) or b"").decode()
