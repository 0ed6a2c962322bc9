"""The console's source of news over the control socket: the link's attachment, poured into the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent_core.errors import ChorusError, NoNode
from agent_core.shapes import SliceEvent
from chorus_hap.link_async import Attachment
from chorus_hap.store import Store

if TYPE_CHECKING:
    import asyncio

    from chorus_hap.link import Starting


class LinkSource:
    """The node of a home; see :class:`chorus_hap.source.Source`.

    Args:
        home: the home directory.
        flags: gives the further words a node is started with, when one is.
        read_only: ask the node to refuse changing operations.
        starting: a node that was spawned beforehand.
    """

    def __init__(
        self, home: Path, flags: Callable[[], Sequence[str]], read_only: bool = False, starting: Starting | None = None
    ) -> None:
        self._home = home
        self._flags = flags
        self._read_only = read_only
        self._starting = starting
        self._store: Store | None = None
        self._wanted: list[str] = []
        self._attachment: Attachment | None = None
        self._was_attached = False
        self._again: set[asyncio.Task[None]] = set()

    async def run(self, store: Store) -> None:
        """Stay with the node until cancelled."""
        self._store = store
        self._attachment = Attachment(
            self._home,
            self._wanted,
            on_event=self._event,
            on_snapshot=self._snapshot,
            on_state=self._state,
            flags=self._flags(),
            read_only=self._read_only,
            starting=self._starting,
        )
        await self._attachment.run()

    async def call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """One operation; see :class:`chorus_hap.source.Source`."""
        if self._attachment is None:
            raise NoNode("No node answers yet.", "Wait until it is up.")
        return await self._attachment.call(method, **(params or {}))

    async def watch(self, *slices: str) -> None:
        """Keep slices fresh."""
        self._wanted += [name for name in slices if name not in self._wanted]
        if self._attachment is not None:
            await self._attachment.watch(*slices)

    async def unwatch(self, *slices: str) -> None:
        """Let slices go."""
        self._wanted = [name for name in self._wanted if name not in slices]
        if self._attachment is not None:
            await self._attachment.unwatch(*slices)

    async def leave(self, keep_running: bool) -> None:
        """Hang up; the node ends by itself unless it was asked to stay."""
        link = self._attachment.link if self._attachment is not None else None
        if link is None:
            return
        if keep_running:
            await link.call("session.keep_running")
        await link.aclose()

    def retry(self) -> None:
        """Start anew after a failure."""
        if self._attachment is not None:
            self._attachment.retry()

    # --- what the attachment reports ----------------------------------------------------------------------------------

    def _state(self, state: str, reason: str, next: str) -> None:
        assert self._store is not None
        if state == "starting":
            self._store.new_session()  # whoever answers next counts its revisions from the beginning
        if state == "attached":
            self._was_attached = True
            link = self._attachment.link if self._attachment is not None else None
            self._store.connect("attached", owned=link.started if link is not None else True)
        elif state == "starting" and self._was_attached:
            self._store.connect("away", "starting it again")
        else:
            self._store.connect(state, reason, next)

    def _snapshot(self, slice: str, answer: dict[str, Any]) -> None:
        assert self._store is not None
        try:
            self._store.snapshot(slice, answer)
        except (msgspec.ValidationError, KeyError) as error:
            self._store.connect(
                "failed", f"The node's {slice} can't be read: {error}.", "Use a console and node of the same version."
            )

    def _event(self, event: SliceEvent) -> None:
        assert self._store is not None
        try:
            whole = self._store.apply(event)
        except (msgspec.MsgspecError, KeyError):
            return  # a newer node's slice or shape: the next snapshot says the same
        if not whole:
            self._subscribe_again(event.slice)

    def _subscribe_again(self, slice: str) -> None:
        import asyncio

        async def job() -> None:
            try:
                await self.watch(slice)
            except ChorusError:
                return  # gone meanwhile: attaching again subscribes anew

        task = asyncio.ensure_future(job())
        self._again.add(task)
        task.add_done_callback(self._again.discard)
