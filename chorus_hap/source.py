"""Where the store's news come from: the protocol the console asks for, and its one real implementation over the link."""

from __future__ import annotations

from typing import Any, Protocol

from chorus_hap.store import Store


class Source(Protocol):
    """A node as the console sees it."""

    async def run(self, store: Store) -> None:
        """Connect, feed the store, and stay with the node through its comings and goings, until cancelled."""

    async def call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """One operation.

        Returns:
            the result as JSON values.

        Raises:
            ChorusError: the node refused, or doesn't answer.
        """

    async def watch(self, *slices: str) -> None:
        """Keep these slices fresh from now on, also after a reconnect."""

    async def unwatch(self, *slices: str) -> None:
        """Let these slices go."""

    async def leave(self, keep_running: bool) -> None:
        """Close the session; the node goes on as a daemon when ``keep_running``."""

    def retry(self) -> None:
        """Start anew after a failure."""
