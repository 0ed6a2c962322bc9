"""What every pane is: boxes on the store, painted anew only while it is seen and only when its slices changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import msgspec
from textual.containers import Container

from chorus_hap.store import CONNECTION, Store
from chorus_hap.widgets.grid import Grid
from chorus_hap.widgets.sheet import Blocks
from chorus_hap.widgets.viewport import Viewport

if TYPE_CHECKING:
    from chorus_hap.app import ConsoleApp

T = TypeVar("T")


class Pane(Container):
    """One pane.

    Class attributes: ``name_`` is the pane's id, ``slices`` what it shows, ``ticks`` whether it moves with time.
    """

    name_: ClassVar[str] = ""
    slices: ClassVar[frozenset[str]] = frozenset()
    ticks: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__(id=f"pane-{self.name_}", classes="pane")
        self._most_boxes = 0

    @property
    def console(self) -> ConsoleApp:
        return cast("ConsoleApp", self.app)

    @property
    def store(self) -> Store:
        return self.console.store

    @property
    def now(self) -> datetime:
        """The time that ages are told against."""
        return datetime.now(UTC)

    def sync(self) -> None:
        """Take everything from the store and paint."""
        raise NotImplementedError

    @property
    def is_whole(self) -> bool:
        """Whether all boxes are there: while it is being made it has none yet, and at the end they are taken down one by one."""
        boxes = len(self.query(Viewport))
        self._most_boxes = max(self._most_boxes, boxes)
        return 0 < boxes == self._most_boxes

    def wants(self, changed: frozenset[str] | set[str]) -> bool:
        """Whether these changed slices are shown here."""
        return bool(self.slices & changed) or CONNECTION in changed

    def boxes(self) -> list[Viewport]:
        """The boxes that are seen, in the order of ``tab``."""
        return [view for view in self.query(Viewport) if view.display and view.region.area]

    @property
    def view(self) -> Viewport | None:
        """The box that keys and filters act on: the focused one, else the first that can be chosen from."""
        focused = self.app.focused
        if isinstance(focused, Viewport) and focused in self.query(Viewport):
            return focused
        boxes = self.boxes() or list(self.query(Viewport))
        return next((b for b in boxes if b.selectable), boxes[0] if boxes else None)

    def enter(self) -> None:
        """The pane is shown: give the keys to its main box."""
        view = self.view
        if view is not None:
            view.focus()

    def subject(self, action: str) -> str:
        """The name of what an action would act on, for the question before it; empty for nothing."""
        return ""

    def why_not(self, action: str) -> str:
        """Why an action can't be done with what is selected, a sentence; empty when it can."""
        return ""

    def choose(self, view: Grid | Blocks, key: str) -> bool:
        """Put the cursor on a row, and take a filter away that hides it. Returns whether there is such a row."""
        if view.choose(key):
            return True
        if view.filter:
            self.console.forget_filter(view)
        return view.choose(key)

    def open_at(self, argument: str) -> None:
        """Open what was asked for: a row's key, or a pane's own word."""

    def back(self) -> bool:
        """``esc``: one step back inside the pane. Returns whether there was one."""
        return False

    async def ask(self, method: str, shape: type[T], **params: Any) -> T:
        """One operation of the node, its answer typed.

        Raises:
            ChorusError: it was refused or the node is away.
        """
        return msgspec.convert(await self.console.source.call(method, params), shape)

    def work(self, job: Callable[[], Awaitable[None]], group: str = "") -> None:
        """Run a job beside the screen; a refusal becomes a toast."""
        self.console.work(job, group or f"{self.name_}-job")

    def do_next_box(self, _argument: str = "") -> None:
        """The keys go to the next box."""
        self._step(1)

    def do_previous_box(self, _argument: str = "") -> None:
        self._step(-1)

    def _step(self, by: int) -> None:
        boxes = self.boxes()
        view = self.view
        if boxes:
            at = boxes.index(view) if view in boxes else -1
            boxes[(at + by) % len(boxes)].focus()

    def do_sort(self, _argument: str = "") -> None:
        if isinstance(self.view, Grid):
            self.view.cycle_sort()
