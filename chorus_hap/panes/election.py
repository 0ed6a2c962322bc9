"""Election: who leads and how long that is certain, who votes for whom and why, and the terms so far."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Container

from agent_core.shapes import SCORE_WEIGHTS, CertificateCheck, Election, VoterInfo
from chorus_hap.panes.base import Pane
from chorus_hap.store import Store
from chorus_hap.subjects import subject
from chorus_hap.themes import Glyphs
from chorus_hap.widgets.bars import meter
from chorus_hap.widgets.grid import Column, Grid, Row
from chorus_hap.widgets.lines import Line, ago, clock, facts, fit, one_line, since, wrap
from chorus_hap.widgets.sheet import Sheet
from chorus_hap.widgets.viewport import Viewport
from chorus_hap.wizard.dialogs import Reader
from chorus_hap.words import leader_words, state_span, still_works, voters_words

#: The parts of a score, and what each is made of.
_PARTS = {
    "capabilities": "abilities, and whether it may vote",
    "uptime": "share of time it was connected here",
    "resources": "not measured: the same for everybody",
    "network": "how near it is to this node",
    "experience": "share of the last 20 terms it led",
}


def leader_lines(store: Store, width: int, glyphs: Glyphs) -> list[Line]:
    """Leader, lease against the timeout, state, and why."""
    election: Election | None = store.value("election")
    if election is None:
        return [[("Not known yet. ", "dim"), (store.connection.reason or "", "dim")]]
    leader, certain = store.leader()
    lines = facts([("Leader", leader_words(store, glyphs))], 10)
    if leader is not None:
        age = leader.lease_age_s
        part = age / election.timeout_s if election.timeout_s else 0.0
        role = "good" if part < 0.5 else "warn" if part < 0.9 else "bad"
        bar = meter(part, max(10, min(60, width - 54)), glyphs, role if certain else "bad")
        until = f"  certain for {ago(leader.lease_left_s)} more" if certain else "  no lease confirms it"
        lines.append(
            [
                ("Heartbeat ", "dim"),
                *bar,
                (f" {ago(age)} of {election.timeout_s:g} s", "text"),
                (until, "dim" if certain else "warn"),
            ]
        )
    line: Line = [("This node ", "dim"), state_span(store), (f"  term {election.term}", "text")]
    line += [(f"  {glyphs.dot} acts {election.committed_act}/{election.last_act} committed", "dim")]
    if election.trigger and width >= 90:
        line.append((f"  {glyphs.dot} trigger: {election.trigger.replace('_', ' ')}", "dim"))
    lines.append(line)
    minority = still_works(store)
    if not minority:  # else the next sentence says so, and needs the room
        lines += facts([("Majority", [(voters_words(store), "text")])], 10)
    for number, part_ in enumerate(wrap(one_line(minority or election.why), max(20, width - 11))):
        lines.append([("Why       " if number == 0 else " " * 10, "dim"), (part_, "warn" if minority else "text")])
    return lines


def voter_rows(election: Election | None, glyphs: Glyphs) -> list[Row]:
    """The voters with their votes and scores, the leader first, then by name."""
    rows = []
    for voter in sorted(election.ballots, key=lambda v: (not v.leader, v.agent_id)) if election else ():
        score = voter.score
        parts = [(f"{getattr(score, p):.2f}" if score else glyphs.dash, "dim") for p in _PARTS]
        name: Line = [
            (f"{glyphs.lead} " if voter.leader else f"{glyphs.on if voter.reachable else glyphs.off} ", "warn" if voter.leader else "good" if voter.reachable else "bad"),
            (voter.agent_id, "you bold" if voter.you else "text"),
            (" you" if voter.you else "", "dim"),
        ]  # fmt: skip
        total: Line = (
            [(f"{score.total:.2f} ", "text bold"), *meter(score.total, 5, glyphs)] if score else [(glyphs.dash, "dim")]
        )
        rows.append(
            Row(
                voter.peer_id,
                (
                    name,
                    (
                        voter.vote or ("unreachable" if not voter.reachable else glyphs.dash),
                        "text" if voter.vote else "dim",
                    ),
                    *parts,
                    total,
                ),
                {"vote": voter.vote, "reachable": "yes" if voter.reachable else "no"},
                (voter.agent_id, voter.vote, *(getattr(score, p) if score else 0.0 for p in (*_PARTS, "total"))),
                voter.peer_id,
            )
        )
    return rows


def score_lines(voter: VoterInfo | None, width: int, glyphs: Glyphs) -> list[Line]:
    """A voter's score as this node reckons it: each part, its weight, what it adds, and what it is made of."""
    if voter is None:
        return []
    if voter.score is None:
        return [[(f"{voter.agent_id} was not reckoned yet.", "dim")]]
    bar = 8 if width >= 78 else 0
    lines: list[Line] = [[(" " * (13 + bar) + " part weight  adds", "dim")]]
    for name, made_of in _PARTS.items():
        part, weight = getattr(voter.score, name), SCORE_WEIGHTS[name]
        line: Line = [(f"{name:13}", "text"), *meter(part, bar, glyphs), (f" {part:.2f}", "text")]
        line += [(f" × {weight:.2f}", "dim"), (f"  {part * weight:.2f}", "text")]
        lines.append([*line, (f"  {made_of}", "dim")])
    total = voter.score.total
    lines.append([(f"{'score':13}", "text bold"), *meter(total, bar, glyphs), (f"{total:18.2f}", "text bold")])
    return lines


def term_rows(election: Election | None, glyphs: Glyphs, now: datetime) -> list[Row]:
    """The terms, newest first."""
    return [
        Row(
            str(t.term),
            (
                (str(t.term), "text bold"),
                (t.leader or "nobody", "text" if t.leader else "dim"),
                (t.trigger.replace("_", " ") or glyphs.dash, "dim"),
                (f"{glyphs.ok} certified" if t.certified else "", "good"),
                (clock(t.at), "dim"),
                (since(t.at, now), "dim"),
            ),
            {"leader": t.leader, "trigger": t.trigger},
        )
        for t in (election.timeline if election else ())
    ]


def certificate_lines(found: CertificateCheck, width: int, glyphs: Glyphs) -> list[Line]:
    """What checking a term's certificate came to: one sentence, and vote by vote who signed."""
    lines: list[Line] = [[(part, "good" if found.ok else "bad")] for part in wrap(one_line(found.text), max(20, width))]
    if found.trigger:
        lines.append([("Trigger: ", "dim"), (found.trigger.replace("_", " "), "text"), (f", {clock(found.at)}", "dim")])
    lines.append([])
    for vote in found.votes:
        mark, role = (glyphs.ok, "good") if vote.good else (glyphs.no, "bad")
        said = "signed" if vote.good else "not good"
        lines.append(
            [
                (f"{mark} {said:<9}", role),
                (f"{fit(vote.agent_id or 'nobody known', 16)}  ", "text"),
                (f"…{vote.voter[-24:]}", "dim"),
            ]
        )
    return lines


class ElectionPane(Pane):
    """Three boxes."""

    name_: ClassVar[str] = "election"
    slices: ClassVar[frozenset[str]] = frozenset({"election", "status"})
    ticks: ClassVar[bool] = True

    def compose(self) -> ComposeResult:
        yield Sheet("Leader", id="el-leader")
        with Container(id="el-row"):
            with Container(id="el-left"):
                yield Grid(
                    "Voters",
                    [
                        Column("voter"),
                        Column("voted for", 14, least=12),
                        Column("cap", 4, right=True, rank=1),
                        Column("up", 4, right=True, rank=1),
                        Column("res", 4, right=True, rank=1),
                        Column("net", 4, right=True, rank=1),
                        Column("exp", 4, right=True, rank=1),
                        Column("score", 10),
                    ],
                    empty="No voters yet: the founder of a cluster is its first.",
                    id="el-voters",
                )
                yield Sheet("Score", id="el-score")
            yield Grid(
                "Timeline",
                [
                    Column("term", 4, right=True),
                    Column("leader", 0),
                    Column("trigger", 17, rank=1),
                    Column("", 11, rank=2),
                    Column("when", 8),
                    Column("", 4, right=True, rank=3),
                ],
                empty="No term yet. t calls an election.",
                id="el-timeline",
            )

    def sync(self) -> None:
        store, glyphs = self.store, self.console.look.glyphs
        election: Election | None = store.value("election")
        self.query_one("#el-leader", Sheet).show(lambda width: leader_lines(store, width, glyphs))
        voters = self.query_one("#el-voters", Grid)
        # The proof of a term needs no more votes than a majority's; the others are seen by their candidate only.
        unseen = election is not None and any(v.reachable and not v.vote for v in election.ballots)
        voters.note = f"{glyphs.dash} not among the votes that prove the term" if unseen else "enter explains a score"
        voters.show(voter_rows(election, glyphs))
        voters.retitle()
        self._explain()
        self.query_one("#el-timeline", Grid).show(term_rows(election, glyphs, self.now))

    def _voter(self) -> VoterInfo | None:
        """The voter that the cursor is on."""
        election: Election | None = self.store.value("election")
        key = self.query_one("#el-voters", Grid).key
        return next((v for v in election.ballots if v.peer_id == key), None) if election else None

    @on(Viewport.Moved)
    def _explain(self) -> None:
        """The chosen voter's score in full, where there is room for it."""
        sheet, voter, glyphs = self.query_one("#el-score", Sheet), self._voter(), self.console.look.glyphs
        sheet.caption = f"Score of {voter.agent_id}, as reckoned here" if voter else "Score"
        sheet.show(lambda width: score_lines(voter, width, glyphs))
        sheet.retitle()

    @on(Viewport.Opened)
    def _opened(self, event: Viewport.Opened) -> None:
        voter, glyphs = self._voter(), self.console.look.glyphs
        if event.view.id == "el-timeline":
            self.do_certify()
        elif event.view.id == "el-voters" and voter is not None:
            title = f"Score of {voter.agent_id}, as reckoned here"
            self.console.open_modal(Reader(title, lambda width: score_lines(voter, width, glyphs)))

    def do_certify(self, _argument: str = "") -> None:
        """Check the certificate of the term the cursor is on, or of the last known leader's."""
        leader, _certain = self.store.leader()
        timeline = self.query_one("#el-timeline", Grid)
        chosen = timeline.key if timeline.has_focus and timeline.key else ""
        if not chosen and leader is None:
            self.console.say("No leader is known, so there is no certificate to check.")
            return
        term = int(chosen) if chosen else leader.term if leader else 0
        glyphs = self.console.look.glyphs

        async def job() -> None:
            found = await self.ask("election.verify", CertificateCheck, term=term)
            self.console.open_modal(
                Reader(f"Certificate of term {term}", lambda width: certificate_lines(found, width, glyphs))
            )

        self.work(job)

    def subject(self, action: str) -> str:
        return subject(self.store, action, "")

    def do_trigger(self, _argument: str = "") -> None:
        async def job() -> None:
            await self.console.source.call("election.trigger", {"reason": "manual"})
            self.console.say("An election was called.")

        self.work(job)

    def do_resign(self, _argument: str = "") -> None:
        async def job() -> None:
            await self.console.source.call("election.resign", {})
            self.console.say("Resigned; the successor takes over.")

        self.work(job)
