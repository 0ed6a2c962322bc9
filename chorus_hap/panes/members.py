"""Members: the roster, and the live connections; ``tab`` goes between them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from textual import on
from textual.app import ComposeResult

from agent_core.shapes import MemberInfo, PeerInfo, Ticket, WaitingInfo
from chorus_hap.panes.base import Pane
from chorus_hap.panes.newcomers import decide_on, newcomer, ticket_lines
from chorus_hap.subjects import subject
from chorus_hap.themes import Glyphs
from chorus_hap.widgets.grid import Column, Grid, Row
from chorus_hap.widgets.lines import Line, ago, facts, one_line, plural, short, since, wrap
from chorus_hap.widgets.sheet import Sheet
from chorus_hap.widgets.viewport import Viewport
from chorus_hap.wizard.dialogs import Reader


def waiting_rows(waiting: Sequence[WaitingInfo], glyphs: Glyphs, now: datetime) -> list[Row]:
    """The newcomers that wait for a person, which is why they come first."""
    return [
        Row(
            w.peer_id,
            (
                [(f"{glyphs.warn} ", "warn"), (w.agent_id, "text bold")],
                (w.role, "text"),
                (w.kind, "dim"),
                (f"…{w.peer_id[-6:]}", "text"),
                ("waits", "warn"),
                (since(w.since, now), "dim"),
                ("", "dim"),
                ("", "dim"),
            ),
            {"role": w.role, "kind": w.kind, "name": w.agent_id, "waiting": "yes"},
            ("", w.role, w.kind, "", "", w.since, 0),
            w.peer_id,
        )
        for w in waiting
    ]


def member_rows(members: Sequence[MemberInfo], glyphs: Glyphs, now: datetime) -> list[Row]:
    """The roster: the leader first, then who is there, then the others."""
    ordered = sorted(members, key=lambda m: (not m.leader, m.revoked or m.evicted, not m.online, m.agent_id))
    return [
        Row(
            m.peer_id,
            (
                [
                    (f"{glyphs.lead} " if m.leader else f"{glyphs.no if m.revoked else glyphs.on if m.online else glyphs.off} ",
                     "warn" if m.leader else "bad" if m.revoked else "good" if m.online else "dim"),
                    (m.agent_id, "you bold" if m.you else "text"),
                    (" you" if m.you else "", "dim"),
                ],
                (m.role, "text"),
                (m.kind, "dim"),
                (m.authority, "text"),
                ("revoked" if m.revoked else "evicted" if m.evicted else "voter" if m.voter else "", "bad" if m.revoked else "dim" if m.evicted else "text"),
                ("here" if m.you else "now" if m.online else since(m.last_seen, now) or "never", "dim"),
                (str(m.entries), "dim"),
                (f"…{m.peer_id[-6:]}", "dim"),
            ),
            {"role": m.role, "kind": m.kind, "authority": m.authority, "voter": "yes" if m.voter else "no",
             "online": "yes" if m.online else "no", "name": m.agent_id},
            (m.agent_id, m.role, m.kind, m.authority, m.voter, m.last_seen, m.entries),
            m.peer_id,
        )
        for m in ordered
    ]  # fmt: skip


def conduct_words(peer: PeerInfo) -> str:
    """What somebody was refused for, how often, and whether nothing of it is taken; empty for the well-behaved."""
    why = ", ".join(f"{one_line(what)} {count}" for what, count in peer.refused[:3])
    if peer.graylisted_s > 0:
        return f"graylisted for {ago(peer.graylisted_s)}: {why or 'its score'}"
    return f"refused {why}" if why else ""


def peer_rows(peers: Sequence[PeerInfo], glyphs: Glyphs) -> list[Row]:
    """The live connections, and behind them who was turned away lately."""
    return [
        Row(
            p.peer_id,
            (
                [
                    (f"{glyphs.no if p.graylisted_s else glyphs.on if p.member else glyphs.off} ",
                     "bad" if p.graylisted_s else "good" if p.member else "warn"),
                    (p.agent_id or f"…{p.peer_id[-8:]}", "text" if p.member else "warn"),
                ],
                (p.direction or "away", "dim"),
                (short(p.connected_s) if p.direction else "", "text"),
                (f"{p.rtt_ms:.1f} ms" if p.rtt_ms is not None else glyphs.dash, "text"),
                (f"{p.score:.0f}", "bad" if p.score <= -1 else "dim"),
                (str(p.entries), "dim"),
                (conduct_words(p) or (p.addresses[0] if p.addresses else ""), "warn" if conduct_words(p) else "dim"),
            ),
            {"name": p.agent_id, "direction": p.direction, "member": "yes" if p.member else "no", "peer": p.peer_id},
            (p.agent_id, p.direction, p.connected_s, p.rtt_ms or 0.0, p.score, p.entries, ""),
            p.addresses[0] if p.addresses else p.peer_id,
        )
        for p in sorted(peers, key=lambda p: not p.direction)
    ]  # fmt: skip


class MembersPane(Pane):
    """Two tables in one place, and the chosen one in full."""

    name_: ClassVar[str] = "members"
    slices: ClassVar[frozenset[str]] = frozenset({"members", "peers", "waiting", "status"})
    ticks: ClassVar[bool] = True
    live = False

    def compose(self) -> ComposeResult:
        yield Grid(
            "Roster",
            [
                Column("member"), Column("role", 12, rank=1), Column("kind", 6, rank=3), Column("authority", 12, rank=2),
                Column("", 7), Column("seen", 5, right=True), Column("entries", 7, right=True, rank=4),
                Column("peer", 9, rank=5),
            ],
            empty="Members of the cluster live here. i makes a ticket by which a new node comes in.",
            id="me-roster",
        )  # fmt: skip
        yield Grid(
            "Live connections",
            [
                Column("peer"), Column("dir", 8), Column("for", 5, right=True, rank=1), Column("rtt", 8, right=True, rank=2),
                Column("score", 5, right=True, rank=4), Column("entries", 7, right=True, rank=5), Column("address, or what was refused", rank=3),
            ],
            empty="No connection is open. Overview has the command that brings a second node.",
            id="me-peers",
        )  # fmt: skip
        yield Sheet("", id="me-detail")

    def on_mount(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        self.query_one("#me-roster").display = not self.live
        self.query_one("#me-peers").display = self.live

    @property
    def grid(self) -> Grid:
        return self.query_one("#me-peers" if self.live else "#me-roster", Grid)

    def enter(self) -> None:
        self.grid.focus()

    def sync(self) -> None:
        glyphs = self.console.look.glyphs
        members: Sequence[MemberInfo] = self.store.items("members")
        peers: Sequence[PeerInfo] = self.store.items("peers")
        linked = sum(bool(p.direction) for p in peers)
        voters = sum(m.voter and not m.revoked for m in members)
        roster, live = self.query_one("#me-roster", Grid), self.query_one("#me-peers", Grid)
        waiting: Sequence[WaitingInfo] = self.store.items("waiting")
        inside = sum(not (m.revoked or m.evicted) for m in members)
        roster.caption = f"Roster · {plural(inside, 'member')}, {plural(voters, 'voter')}" if members else "Roster"
        if waiting:
            roster.caption += f" · {len(waiting)} waiting"
        elif self.store.status is not None and self.store.status.policy:
            roster.caption += f" · admission {self.store.status.policy}"
        shunned = sum(p.graylisted_s > 0 for p in peers)
        graylisted = f", {shunned} graylisted" if shunned else ""
        roster.note = f"tab: {plural(linked, 'live connection')}{graylisted}"
        roster.show([*waiting_rows(waiting, glyphs, self.now), *member_rows(members, glyphs, self.now)])
        roster.retitle()
        live.caption = f"Live connections · {linked}{graylisted}"
        live.note = "tab: roster"
        live.show(peer_rows(peers, glyphs))
        live.retitle()
        self._detail()

    def _detail(self) -> None:
        sheet = self.query_one("#me-detail", Sheet)
        key = self.grid.key
        member = next((m for m in self.store.items("members") if m.peer_id == key), None)
        peer = next((p for p in self.store.items("peers") if p.peer_id == key), None)

        newcomer = next((w for w in self.store.items("waiting") if w.peer_id == key), None)

        def build(width: int) -> list[Line]:
            pairs: list[tuple[str, Line | str]] = [("Peer id", key)]
            if newcomer is not None:
                can = f", can {', '.join(newcomer.capabilities)}" if newcomer.capabilities else ""
                pairs.append(
                    (
                        "Asks",
                        f"{newcomer.agent_id}, role {newcomer.role}, kind {newcomer.kind}{can}: a lets it in, x refuses it",
                    )
                )
                pairs.append(("Says it is", f"{newcomer.host or 'a host it does not name'}"))
            if member is not None:
                rights = "votes in elections" if member.voter else "not a voter"
                pairs.append(
                    (
                        "Member",
                        f"{member.agent_id}, role {member.role}, kind {member.kind}, authority {member.authority}, {rights}",
                    )
                )
                pairs.append(("Entries", f"{member.entries} of its feed are held here"))
            if peer is not None and conduct_words(peer):
                pairs.append(("Conduct", f"{conduct_words(peer)}; score {peer.score:.0f}"))
            if peer is not None and peer.direction:
                rtt = f", round trip {peer.rtt_ms:.1f} ms" if peer.rtt_ms is not None else ""
                pairs.append(("Connected", f"{peer.direction} for {ago(peer.connected_s)}{rtt}"))
                pairs += [("Address", address) for address in peer.addresses[:4]]
            elif member is not None and not member.you:
                pairs.append(("Connected", [("not now", "dim")]))
            lines: list[Line] = []
            for label, value in pairs:
                if isinstance(value, list):
                    lines += facts([(label, value)], 11)
                else:
                    for number, part in enumerate(wrap(value, max(20, width - 11))):
                        lines += facts([(label if number == 0 else "", part)], 11)
            return lines

        sheet.show(build if key else lambda _width: [])

    @on(Viewport.Moved)
    def _moved(self) -> None:
        self._detail()

    def open_at(self, argument: str) -> None:
        """``live`` shows the connections, a peer id its row in the roster."""
        self.live = argument == "live"
        self._arrange()
        self.sync()
        if argument and not self.live:
            self.choose(self.query_one("#me-roster", Grid), argument)
        self.grid.focus()

    def _newcomer(self) -> str:
        return newcomer(self.store, self.grid.key)

    def subject(self, action: str) -> str:
        if action in ("approve", "refuse"):
            return subject(self.store, action, self._newcomer())
        key = self.grid.key
        known = any(m.peer_id == key for m in self.store.items("members"))
        return subject(self.store, action, key) if known else ""

    def do_approve(self, _argument: str = "") -> None:
        decide_on(self, "approve", self._newcomer())

    def do_refuse(self, _argument: str = "") -> None:
        decide_on(self, "refuse", self._newcomer())

    def do_revoke(self, _argument: str = "") -> None:
        decide_on(self, "revoke", self.grid.key)

    def do_evict(self, _argument: str = "") -> None:
        decide_on(self, "evict", self.grid.key)

    def do_promote(self, _argument: str = "") -> None:
        decide_on(self, "promote", self.grid.key)

    def do_demote(self, _argument: str = "") -> None:
        decide_on(self, "demote", self.grid.key)

    def do_invite(self, _argument: str = "") -> None:
        async def job() -> None:
            ticket = await self.ask("members.invite", Ticket)
            policy = self.store.status.policy if self.store.status else ""
            self.console.open_modal(
                Reader("A ticket for one newcomer", ticket_lines(ticket, policy, self.console.here), copy=ticket.token)
            )

        self.work(job)

    def do_next_box(self, _argument: str = "") -> None:
        self.open_at("" if self.live else "live")

    do_previous_box = do_next_box
