"""Log: the durable entries of all feeds, in the order they came to be held here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.containers import Container

from agent_core.shapes import LogEntry
from chorus_hap.names import Names
from chorus_hap.panes.base import Pane
from chorus_hap.store import RING_ITEMS
from chorus_hap.subjects import subject
from chorus_hap.widgets.columns import Cell, Column
from chorus_hap.widgets.lines import Line, clock, facts, one_line, plural, wrap
from chorus_hap.widgets.sheet import Sheet
from chorus_hap.widgets.stream import StreamView
from chorus_hap.widgets.viewport import Viewport

_FAMILY_ROLES = {"hmmm": "accent", "decision": "warn", "ucxl": "good", "act": "you", "feed": "dim", "member": "dim"}


def named(entries: Iterable[LogEntry], names: Names) -> list[LogEntry]:
    """Entries with the names that members have now: an entry may have come before whom it names was known."""
    return [
        msgspec.structs.replace(e, author=names(e.author), text=names(e.text))
        if "…" in e.author or "…" in e.text
        else e
        for e in entries
    ]


#: Time, id, author, type, text.
LOG_COLUMNS = (
    Column("", 8), Column("", 8, rank=2), Column("", 24, least=14), Column("", 20, least=14, rank=1), Column(""),
)  # fmt: skip


def log_cells(entry: LogEntry) -> tuple[Cell, ...]:
    """An entry in the columns of a line."""
    text: Line = []
    if entry.held:
        text.append((f"held until {clock(entry.counts_at)}  ", "warn"))
    if entry.withdrawn:
        text.append(("withdrawn, said again  ", "dim"))
    if entry.body not in ("present", "no body", ""):
        text.append((f"[{entry.body}] ", "warn"))
    text.append((one_line(entry.text), "text"))
    role = _FAMILY_ROLES.get(entry.type.partition(".")[0], "text")
    return (clock(entry.at), "dim"), (entry.id, "dim"), (one_line(entry.author), "text"), (entry.type, role), text


def log_fields(entry: LogEntry) -> tuple[str, Mapping[str, str]]:
    """What the filter sees of an entry."""
    fields = {
        "type": entry.type,
        "author": entry.author,
        "via": entry.via,
        "body": entry.body,
        "id": entry.id,
        "key": entry.key,
    }
    return f"{entry.id} {entry.author} {entry.type} {entry.text}", fields


def log_detail(entry: LogEntry, width: int) -> list[Line]:
    """An entry in full."""
    lines: list[Line] = []
    for label, value in (
        ("Id", entry.id), ("Key", entry.key), ("At", clock(entry.at)), ("Author", f"{entry.author} via {entry.via}"),
        ("Type", entry.type), ("Body", entry.body or "none"),
    ):  # fmt: skip
        for number, part in enumerate(wrap(value, max(12, width - 8))):
            lines += facts([(label if number == 0 else "", part)], 8)
    lines.append([])
    return lines + [[(part, "text")] for part in wrap(entry.text, width)]


#: Entries asked for at a time.
_PAGE = 400


class LogPane(Pane):
    """The stream of entries, and where there is room the one at the cursor."""

    name_: ClassVar[str] = "log"
    slices: ClassVar[frozenset[str]] = frozenset({"log", "members"})
    _reading = False
    _named_by = 0  # what the names on the screen are from

    def compose(self) -> ComposeResult:
        with Container(classes="row"):
            yield StreamView(
                "Log",
                lambda: self.store.ring("log"),
                LOG_COLUMNS,
                lambda entry: log_cells(self._named(entry)),
                lambda entry: log_fields(self._named(entry)),
                empty="Every durable entry of every member appears here. n writes the first message.",
                id="lo-stream",
            )
            yield Sheet("Entry", empty="The entry at the cursor.", id="lo-detail")

    def on_mount(self) -> None:
        self.stream.whole, self.stream.seek = self._whole, self._read_store

    def _whole(self) -> int:
        status = self.store.status
        return status.entries if status else 0

    def _read_store(self) -> None:
        """Read the store back to its beginning, or as far as is kept here: a filter looks through all, and what was dropped is back."""
        ring = self.store.ring("log")
        if (
            self._reading
            or not self.store.live
            or (ring.healed == ring.dropped and len(ring) >= min(self._whole(), RING_ITEMS))
        ):
            return
        self._reading = True

        async def job() -> None:
            try:
                await self._read_pages()
            finally:
                self._reading = False

        self.work(job, "log-read")

    async def _read_pages(self) -> None:
        healed, before, found = self.store.ring("log").dropped, "", deque[LogEntry]()
        while len(found) < RING_ITEMS:
            page = await self.ask("log.tail", tuple[LogEntry, ...], limit=_PAGE, before=before)
            known = {entry.key for entry in found}
            found.extendleft(entry for entry in reversed(page) if entry.key not in known)
            known |= {entry.key for entry in page}
            # What is held and not read yet: older ones stay before, what came meanwhile comes behind.
            others = [entry for entry in self.store.ring("log") if entry.key not in known]
            old = [entry for entry in others if page and entry.at < page[0].at]
            new = [entry for entry in others if not (page and entry.at < page[0].at)]
            self.store.refill("log", [*old, *found, *new], healed)
            if len(page) < _PAGE or page[0].key == before:
                return
            before = page[0].key

    def _named(self, entry: LogEntry) -> LogEntry:
        return named([entry], self.console.names)[0]

    @property
    def stream(self) -> StreamView:
        return self.query_one("#lo-stream", StreamView)

    def sync(self) -> None:
        status = self.store.status
        self.stream.note = f"{plural(status.entries, 'entry', 'entries')} held" if status else ""
        self.stream.pull()
        if self._named_by != self.console.names.revision:
            self._named_by = self.console.names.revision
            self.stream.refresh()
        self._detail()
        if self.store.ring("log").dropped > self.store.ring("log").healed:
            self._read_store()

    def _detail(self) -> None:
        entry = self._named(self.stream.item) if self.stream.item is not None else None
        sheet = self.query_one("#lo-detail", Sheet)
        sheet.copy = entry.key if entry is not None else ""
        sheet.show(lambda width: log_detail(entry, width) if entry is not None else [])

    @on(Viewport.Moved)
    def _moved(self) -> None:
        self._detail()

    @on(Viewport.Opened)
    def _opened(self) -> None:
        from chorus_hap.wizard.dialogs import Reader

        entry = self.stream.item
        if entry is not None:
            self.console.open_modal(
                Reader(f"Entry {entry.id}", lambda width: log_detail(self._named(entry), width), entry.key)
            )

    def do_pause(self, _argument: str = "") -> None:
        self.stream.toggle_pause()

    def do_follow(self, _argument: str = "") -> None:
        self.stream.toggle_follow()

    def subject(self, action: str) -> str:
        return subject(self.store, action, self.stream.item.key) if self.stream.item is not None else ""

    def do_purge(self, _argument: str = "") -> None:
        entry = self.stream.item
        if entry is None:
            self.console.say("Choose the entry first.", "warning")
            return

        async def job() -> None:
            await self.console.source.call("log.purge", {"key": entry.key, "op_id": self.console.op_id()})
            self.console.say(f"The body of {entry.id} is being dropped everywhere.")

        self.work(job)
