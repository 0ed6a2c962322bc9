"""Decisions: what is to be decided and what was, how it stands, and the vote card."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from textual import on
from textual.app import ComposeResult

from agent_core.shapes import Decision
from chorus_hap.panes.base import Pane
from chorus_hap.subjects import subject
from chorus_hap.themes import Glyphs
from chorus_hap.widgets.bars import choice_role, tally_bar
from chorus_hap.widgets.columns import Cell, allot, lay, needs_of
from chorus_hap.widgets.grid import Column, Grid, Row
from chorus_hap.widgets.lines import Line, Span, clock, facts, one_line, short, since, words_of, wrap
from chorus_hap.widgets.prose import prose
from chorus_hap.widgets.sheet import Sheet
from chorus_hap.widgets.viewport import Viewport

STATE_ROLES = {
    "open": "accent",
    "closing": "accent",
    "approved": "good",
    "rejected": "bad",
    "no_quorum": "warn",
    "withdrawn": "dim",
}
RULES = {
    "majority": "majority of the votes cast",
    "supermajority": "two thirds of the votes cast",
    "unanimous": "unanimous",
}


def state_glyph(state: str, glyphs: Glyphs) -> str:
    """A sign beside the word, so that colour isn't needed."""
    return {"open": glyphs.on, "closing": glyphs.more, "approved": glyphs.ok, "rejected": glyphs.no}.get(
        state, glyphs.off
    )


def time_left(decision: Decision, age_s: float) -> float:
    """Seconds to the deadline, counted on since the value arrived."""
    return max(0.0, decision.time_left_s - age_s)


def owed(d: Decision, changes: bool = True) -> bool:
    """Whether this node's vote is still asked for and can be cast: only then is anything about it amber.

    Args:
        changes: whether anything may be changed from here now.
    """
    return changes and d.state == "open" and not d.may_vote and not d.your_vote


def own_vote(d: Decision, changes: bool, yet: str, never: str) -> Span:
    """This node's vote: what it is, or that it isn't cast.

    Args:
        changes: whether anything may be changed from here now.
        yet: what is said while it can be cast.
        never: what is said where it can't.
    """
    if d.your_vote:
        return (d.your_vote, choice_role(d.your_vote, d.options))
    mine = d.state == "open" and not d.may_vote
    return (yet if mine else never, "warn bold" if owed(d, changes) else "dim")


def decision_row(d: Decision, glyphs: Glyphs, now: datetime, age_s: float, changes: bool = True) -> Row:
    """A decision in the list."""
    role = STATE_ROLES.get(d.state, "text")
    left = time_left(d, age_s)
    mine = owed(d, changes)
    when = (
        (short(left) + " left", "warn" if mine and left < 60 else "text")
        if d.state == "open"
        else (since(d.at, now), "dim")
    )
    return Row(
        d.id,
        (
            [(state_glyph(d.state, glyphs) + " ", role), (d.state.replace("_", " "), role)],
            (one_line(d.title), "text bold" if mine else "text"),
            tally_bar(d.tally, d.eligible, d.options, 10, glyphs),
            when,
            own_vote(d, changes, "vote!" if changes else "not yet", glyphs.dash),
        ),
        {"state": d.state, "kind": d.kind, "proposer": d.proposer, "rule": d.rule, "mine": d.your_vote, "id": d.id},
        (d.state, d.title, sum(d.tally.values()), left if d.state == "open" else 1e9, d.your_vote),
        d.id,
    )  # fmt: skip


def tally_words(d: Decision) -> str:
    """The tally in words, called provisional while it is."""
    cast = [f"{d.tally.get(o, 0)} {o}" for o in [*d.options, *(o for o in d.tally if o not in d.options)]]
    return ("provisional: " if d.provisional else "") + ", ".join(cast) + f" of {d.eligible}"


def decision_lines(d: Decision, width: int, glyphs: Glyphs, age_s: float, changes: bool = True) -> list[Line]:
    """A decision in full; keys that change something are named only where ``changes`` says that anything may be."""
    role = STATE_ROLES.get(d.state, "text")
    lines: list[Line] = [[(part, "text bold")] for part in wrap(one_line(d.title), max(10, width))]
    state: Line = [(f"{state_glyph(d.state, glyphs)} {d.state.replace('_', ' ')}", role)]
    if d.outcome not in ("", "approve", "reject"):
        state.append((f" {glyphs.right} {d.outcome}", "text bold"))
    if d.state == "open":
        state.append((f"  {short(time_left(d, age_s))} left", "text"))
    if d.closed_by_act is not None:
        state.append((f"  closed by act {d.closed_by_act}", "dim"))
    bar = tally_bar(d.tally, d.eligible, d.options, max(6, min(30, width - 14 - len(tally_words(d)))), glyphs)
    mine = next((v for v in d.votes if v.you and v.previous), None)
    yours: Line = [(f"{mine.previous} {glyphs.right} ", "dim")] if mine else []
    text, role_ = own_vote(d, changes, "not cast", "not cast")
    yours.append((text, f"{role_} bold" if d.your_vote else role_))
    if d.may_vote:
        yours.append((f"  {d.may_vote}", "dim"))
    elif d.state == "open" and changes:
        yours.append(("  v changes it" if d.your_vote else "  v votes", "dim"))
    pairs: list[tuple[str, Line | str]] = [
        ("State", state),
        ("Tally", [*bar, ("  " + tally_words(d), "text")]),
        (
            "Rule",
            [(RULES.get(d.rule, d.rule), "text"), (f"; quorum {d.quorum:.0%} of eligible".replace("%", " %"), "dim")],
        ),
        ("Your vote", yours),
    ]
    if d.waiting_for and d.state == "open":
        pairs.append(("Waiting for", ", ".join(sorted(d.waiting_for))))
    pairs.append(("Proposed", [(d.proposer, "text"), (f"  {clock(d.at)} · {d.kind} · {d.id}", "dim")]))
    pairs.append(("Record", [(d.address, "dim")]))
    lines += facts(pairs, 12, width)
    if d.description:
        lines += [[], *prose(d.description, width)]
    lines += [[], [("Votes", "dim")]]
    lines += vote_lines(d, width, glyphs)
    return lines


#: Voter, choice, reason, time.
_VOTES = (Column("", 24, least=14), Column("", 12, least=9), Column(""), Column("", 5, rank=1))


def vote_lines(d: Decision, width: int, glyphs: Glyphs) -> list[Line]:
    """Who voted how, and why; who hasn't comes last."""
    rows: list[tuple[Cell, ...]] = []
    for vote in sorted(d.votes, key=lambda v: not v.choice):
        choice = (
            f"{vote.previous} {glyphs.right} {vote.choice}"
            if vote.previous and vote.choice
            else vote.choice or glyphs.dash
        )
        said: Line = [("was not counted  ", "warn")] if vote.choice and not vote.counted and not d.provisional else []
        said.append((one_line(vote.reason), "text"))
        rows.append(
            (
                (one_line(vote.voter), "you" if vote.you else "text"),
                (choice, choice_role(vote.choice, d.options) if vote.choice else "dim"),
                said,
                (clock(vote.at, seconds=False) if vote.at else "", "dim"),
            )
        )
    sizes = allot(_VOTES, needs_of([""] * len(_VOTES), rows), width)
    return [lay(_VOTES, row, sizes) for row in rows]


class DecisionsPane(Pane):
    """List and detail."""

    name_: ClassVar[str] = "decisions"
    slices: ClassVar[frozenset[str]] = frozenset({"decisions", "status"})
    ticks: ClassVar[bool] = True

    def compose(self) -> ComposeResult:
        yield Grid(
            "Decisions",
            [
                Column("state", 11),
                Column("title", 0),
                Column("votes", 10, rank=2),
                Column("time", 9, right=True, rank=1),
                Column("yours", 8),
            ],
            empty="Nothing was ever put to a vote here. p proposes the first decision.",
            id="de-list",
        )
        yield Sheet("Decision", empty="Choose a decision to see how it stands.", id="de-detail")

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return self.store.items("decisions")  # type: ignore[return-value]

    @property
    def chosen(self) -> Decision | None:
        """The decision at the cursor."""
        key = self.query_one("#de-list", Grid).key
        return next((d for d in self.decisions if d.id == key), None)

    def sync(self) -> None:
        glyphs, age = self.console.look.glyphs, self.store.age_s("decisions")
        first = {"open": 0, "closing": 1}
        ordered = sorted(sorted(self.decisions, key=lambda d: d.at, reverse=True), key=lambda d: first.get(d.state, 2))
        grid = self.query_one("#de-list", Grid)
        count = sum(d.state == "open" for d in ordered)
        grid.caption = f"Decisions · {count} open" if count else "Decisions"
        changes = not self.console.why_unchanged()
        grid.show([decision_row(d, glyphs, self.now, age, changes) for d in ordered])
        grid.retitle()
        self._detail()

    def _detail(self) -> None:
        sheet = self.query_one("#de-detail", Sheet)
        decision = self.chosen
        glyphs, age = self.console.look.glyphs, self.store.age_s("decisions")
        sheet.caption = f"Decision {decision.id}" if decision else "Decision"
        sheet.copy = decision.id if decision else ""
        changes = not self.console.why_unchanged()
        sheet.show(lambda width: decision_lines(decision, width, glyphs, age, changes) if decision else [])
        sheet.retitle()

    @on(Viewport.Moved)
    def _moved(self, event: Viewport.Moved) -> None:
        if event.view.id == "de-list":
            self.query_one("#de-detail", Sheet).top = 0
            self._detail()

    @on(Viewport.Opened)
    def _opened(self) -> None:
        self.query_one("#de-detail", Sheet).focus()

    def open_at(self, argument: str) -> None:
        """Put the cursor on a decision."""
        self.choose(self.query_one("#de-list", Grid), argument)

    def back(self) -> bool:
        self.query_one("#de-list", Grid).focus()
        return True

    def do_vote(self, _argument: str = "") -> None:
        from chorus_hap.wizard.vote import VoteCard

        decision = self.chosen
        if decision is None:
            self.console.say("There is no decision to vote on. p proposes one.", "warning")
        else:
            self.console.open_modal(VoteCard(decision.id))

    def subject(self, action: str) -> str:
        return subject(self.store, action, self.chosen.id) if self.chosen else ""

    def why_not(self, action: str) -> str:
        chosen, status = self.chosen, self.store.status
        if action != "withdraw" or chosen is None or status is None:
            return ""
        if chosen.state not in ("open", "closing"):
            return f"“{one_line(chosen.title)}” is {words_of(chosen.state)}; it can't be withdrawn any more."
        mine = chosen.proposer_peer == status.peer_id
        return "" if mine else f"Only {chosen.proposer} can withdraw this proposal."

    def do_withdraw(self, _argument: str = "") -> None:
        decision = self.chosen
        if decision is None:
            return

        async def job() -> None:
            await self.console.source.call(
                "decisions.withdraw", {"id": decision.id, "reason": "", "op_id": self.console.op_id()}
            )
            self.console.say(f"Withdrew “{decision.title}”.")

        self.work(job)
