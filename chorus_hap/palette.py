"""The palette: every action of the registry by name, with its key, and why it can't be done now if it can't."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

if TYPE_CHECKING:
    from chorus_hap.app import ConsoleApp


class Actions(Provider):
    """The registry as Textual's palette wants it."""

    async def discover(self) -> Hits:
        for text, run, why in self._all():
            yield DiscoveryHit(text, run, help=why)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for text, run, why in self._all():
            score = matcher.match(text)
            if score > 0:
                yield Hit(score, matcher.highlight(text), run, help=why)

    def _all(self) -> list[tuple[str, Callable[[], None], str]]:
        app = cast("ConsoleApp", self.app)
        out: list[tuple[str, Callable[[], None], str]] = []
        for action in app.registry.actions.values():
            if action.hidden or action.handler == "noop":
                continue
            key = app.registry.shown_key(action.id)
            title = action.title[:1].upper() + action.title[1:] + (f"   {key}" if key else "")
            out.append((title, lambda a=action: app.perform(a), app.refusal(action)))  # type: ignore[misc]
        return out
