"""UCXL: the tree of addresses, the versions of one, its content, and what changed between two versions."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.containers import Container

from agent_core.errors import ChorusError, InvalidInput, Unavailable
from agent_core.shapes import MAX_LIMIT, WATCHED_ADDRESSES, AddressInfo, Content, Diff, Version
from agent_core.ucxl.address import parse_place
from chorus_hap.panes.addresses import (
    body_of,
    content_lines,
    diff_lines,
    links_of,
    tree_of,
    tree_rows,
    version_rows,
    why_not_edited,
)
from chorus_hap.panes.base import Pane
from chorus_hap.panes.editing import Editing, Opened, opened
from chorus_hap.subjects import subject
from chorus_hap.widgets.grid import Column, Grid
from chorus_hap.widgets.sheet import Sheet
from chorus_hap.widgets.viewport import Viewport


class UcxlPane(Pane):
    """Tree, versions, content."""

    name_: ClassVar[str] = "ucxl"
    slices: ClassVar[frozenset[str]] = frozenset({"ucxl", "decisions"})

    def __init__(self) -> None:
        super().__init__()
        self._shut: set[str] = set()
        self._address = ""
        self._versions: tuple[Version, ...] = ()
        self._content: Content | None = None
        self._hash = ""
        self._loaded: tuple[str, str] = ("", "")
        self._more: tuple[AddressInfo, ...] = ()  # what was read for a filter
        self._wanted = ""  # an address to go to as soon as the tree has it
        self._editing = Editing(self, self._was_put)

    def compose(self) -> ComposeResult:
        with Container(classes="row"):
            yield Grid(
                "Addresses",
                [Column("address", 0), Column("v", 3, right=True)],
                header=False,
                empty="What the mesh remembers lives here, by project and task. e writes the first address in your editor.",
                id="uc-tree",
            )
            with Container(classes="column"):
                yield Grid(
                    "Versions",
                    [
                        Column("version", 10), Column("", 9, rank=2), Column("", 4, right=True, rank=1), Column("author", 0),
                        Column("size", 7, right=True, rank=3), Column("note", rank=4),
                    ],
                    header=False,
                    empty="The versions of the address at the cursor.",
                    id="uc-versions",
                )  # fmt: skip
                yield Sheet("Content", empty="Choose an address.", id="uc-content")

    def wants(self, changed: frozenset[str] | set[str]) -> bool:
        return super().wants(changed) or (not self._loaded[0] and "status" in changed)

    def on_mount(self) -> None:
        tree = self.query_one("#uc-tree", Grid)
        tree.whole, tree.seek = self._whole, self._read_all

    def _whole(self) -> float:
        """How many addresses there are, as far as the node said: a list that is as long as was asked for may go on."""
        return inf if len(self._addresses) in (WATCHED_ADDRESSES, MAX_LIMIT) else 0

    def _read_all(self) -> None:
        """Ask for more addresses than are watched: a filter looks through all that the node gives at once."""
        if len(self.store.items("ucxl")) < WATCHED_ADDRESSES:
            return

        async def job() -> None:
            self._more = await self.ask("ucxl.ls", tuple[AddressInfo, ...], limit=MAX_LIMIT)
            self.sync()

        self.work(job, "ucxl-read")

    @property
    def _addresses(self) -> Sequence[AddressInfo]:
        """The addresses that are watched, and where a filter asked for more, those."""
        watched: Sequence[AddressInfo] = self.store.items("ucxl")
        known = {a.address for a in watched}
        return [*watched, *(a for a in self._more if a.address not in known)]

    def sync(self) -> None:
        addresses = self._addresses
        tree = self.query_one("#uc-tree", Grid)
        tree.caption = f"Addresses · {len(addresses)}" if addresses else "Addresses"
        before = tree.key
        tree.show(tree_rows(tree_of(addresses), self._shut, self.console.look.glyphs, bool(tree.filter)))
        if self._wanted and tree.choose(self._wanted):
            self._wanted = ""
        elif not before:
            first = next((a.address for a in sorted(addresses, key=lambda a: a.address)), "")
            if first:
                tree.choose(first)
        tree.retitle()
        self._load()

    @property
    def info(self) -> AddressInfo | None:
        """The address at the cursor."""
        key = self.query_one("#uc-tree", Grid).key
        return next((a for a in self._addresses if a.address == key), None)

    def _load(self) -> None:
        info = self.info
        if info is None or not self.store.live:
            return
        wanted = (info.address, info.hash + str(info.versions))
        if wanted == self._loaded:
            return
        same = self._loaded[0] == info.address
        self._loaded = wanted
        address = info.address
        if not same:
            self._content = None  # whoever edits now must not get another address's text

        async def job() -> None:
            try:
                versions = msgspec.convert(
                    await self.console.source.call("ucxl.log", {"address": address}), tuple[Version, ...]
                )
            except Unavailable:  # it is still starting, as the status line says; asked again with its next status
                self._loaded = ("", "")
                return
            except ChorusError:
                self._loaded = ("", "")
                raise
            # Who looks at an older version goes on looking at it; who looked at the latest gets the new one.
            stays = same and any(v.hash == self._hash and not v.latest for v in self._versions)
            keep = self._hash if stays and any(v.hash == self._hash for v in versions) else ""
            self._address, self._versions = address, versions
            await self._get(keep)

        self.work(job, "ucxl-load")

    async def _get(self, version: str) -> None:
        content = await self.ask("ucxl.get", Content, address=self._address, version=version)
        self._content, self._hash = content, content.version.hash
        self._show()

    def _show(self) -> None:
        content, glyphs = self._content, self.console.look.glyphs
        rail = self.query_one("#uc-versions", Grid)
        rail.caption = f"Versions · {len(self._versions)}"
        rail.show(version_rows(self._versions, glyphs, self.now))
        rail.choose(self._hash)
        rail.retitle()
        sheet = self.query_one("#uc-content", Sheet)
        sheet.caption = self._address
        sheet.copy = (body_of(content) or "") if content else ""
        decisions = self.store.items("decisions")
        key = self.console.registry.shown_key("follow_link")
        sheet.show(
            lambda width: (
                content_lines(content, width, glyphs, decisions, key, self.console.program) if content else []
            ),
            keep_scroll=False,
        )
        sheet.retitle()

    @on(Viewport.Moved)
    def _moved(self, event: Viewport.Moved) -> None:
        view = event.view
        if view.id == "uc-tree":
            self._load()
        elif view.id == "uc-versions" and isinstance(view, Grid) and view.key and view.key != self._hash:
            key = view.key
            self.work(lambda: self._get(key), "ucxl-get")

    @on(Viewport.Opened)
    def _opened(self, event: Viewport.Opened) -> None:
        view = event.view
        if view.id == "uc-tree" and isinstance(view, Grid):
            if self.info is None:
                self._shut ^= {view.key}
                self.sync()
            else:
                self.query_one("#uc-content", Sheet).focus()
        else:
            self.query_one("#uc-content", Sheet).focus()

    def open_at(self, argument: str) -> None:
        """Put the cursor on an address."""
        self._shut.clear()
        self.sync()
        self.choose(self.query_one("#uc-tree", Grid), argument)

    def back(self) -> bool:
        self.query_one("#uc-tree", Grid).focus()
        if self._content is not None:
            self._show()
        return True

    def _step_version(self, by: int) -> None:
        rail = self.query_one("#uc-versions", Grid)
        if rail.rows():
            rail.set_cursor(rail.cursor + by)

    def do_older(self, _argument: str = "") -> None:
        self._step_version(1)

    def do_newer(self, _argument: str = "") -> None:
        self._step_version(-1)

    def do_diff(self, _argument: str = "") -> None:
        hashes = [v.hash for v in self._versions]
        at = hashes.index(self._hash) if self._hash in hashes else 0
        if at + 1 >= len(hashes):
            self.console.say("This is the first version; there is nothing before it.", "warning")
            return

        async def job() -> None:
            diff = await self.ask("ucxl.diff", Diff, address=self._address, old=hashes[at + 1], new=hashes[at])
            sheet = self.query_one("#uc-content", Sheet)
            sheet.caption = f"{diff.old.hash[:8]} {self.console.look.glyphs.right} {diff.new.hash[:8]}"
            sheet.copy = diff.text
            sheet.show(lambda _width: diff_lines(diff.text), keep_scroll=False)
            sheet.retitle()
            sheet.focus()

        self.work(job, "ucxl-get")

    def do_edit(self, _argument: str = "") -> None:
        from chorus_hap.wizard.ask import Ask

        info, content = self.info, self._content
        if info is not None:
            if content is None or content.address != info.address:
                self.console.say("Its content is still being read; try again in a moment.", "warning")
                return
            refusal = why_not_edited(content)
            if refusal:
                self.console.say(refusal, "warning")
                return
            self._editing.begin(opened(content, self.console.op_id()))
            return
        status = self.store.status
        start = f"ucxl://{status.agent_id}:{status.role}@project:task/path.md" if status else "ucxl://"

        def named(address: str | None) -> None:
            if address:
                new = Opened(
                    address=address, base="", if_match="none", op_id=self.console.op_id(), at=self.now.isoformat()
                )
                self._editing.begin(new)

        self.console.open_modal(Ask("A new address", "agent:role@project:task/path", start, _no_address), named)

    def _was_put(self, address: str, version: str) -> None:
        """Show the version that was just put, whatever was looked at before."""
        self._wanted = address
        self._hash, self._content, self._loaded = version, None, ("", "")
        self.sync()

    def do_follow_link(self, _argument: str = "") -> None:
        """Go to what decided this, what cites it, or what it leans on; asks where there are several."""
        from chorus_hap.wizard.dialogs import Pick

        links = links_of(self._content, self.store.items("decisions")) if self._content is not None else []
        if not links:
            self.console.say("Nothing decided or cites this, and it leans on nothing.", "warning")
        elif len(links) == 1:
            self.console.go(links[0].pane, links[0].target)
        else:

            def picked(number: int | None) -> None:
                if number is not None:
                    self.console.go(links[number].pane, links[number].target)

            self.console.open_modal(Pick("Go where?", [link.label for link in links]), picked)

    def subject(self, action: str) -> str:
        return subject(self.store, action, self.info.address) if self.info else ""

    def do_delete(self, _argument: str = "") -> None:
        info = self.info
        if info is None:
            self.console.say("Choose an address first.", "warning")
            return

        # What is buried is what was seen: all that stands there as the rail shows it.
        heads = [v.hash for v in self._versions if v.latest or v.sibling] if self._address == info.address else []
        params = {"address": info.address, "note": "", "op_id": self.console.op_id()}
        params["if_match"] = ",".join(heads) or info.hash

        async def job() -> None:
            await self.console.source.call("ucxl.delete", params)
            self.console.say("Deleted; its history stays.")

        self.work(job)


def _no_address(text: str) -> str:
    """Why this can't be an address; empty when it can."""
    try:
        parse_place(text)
    except InvalidInput as error:
        return str(error)
    return ""
