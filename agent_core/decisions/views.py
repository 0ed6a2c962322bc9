"""Decisions as people see them: card, tally, votes, who must still vote, why you may not; and what waits for you."""

from __future__ import annotations

import msgspec

from agent_core import shapes
from agent_core.clock import rfc3339
from agent_core.decisions.fold import DecisionsFold
from agent_core.decisions.model import DECISION_VOTE, Ballot, Proposal, State, VoteData
from agent_core.decisions.tally import Close, Tally, closes, electorate, tally
from agent_core.requests import by_prefix
from agent_core.roster.model import Roster
from agent_core.ucxl.address import Address, component_of
from agent_core.views import ViewContext


def tallies(fold: DecisionsFold, ctx: ViewContext) -> list[Tally]:
    """All decisions that are valid in this cluster, newest first."""
    closed = closes(ctx.chain)
    found = (_tally(fold, ctx, proposal, closed) for proposal in fold.proposals.values())
    return sorted((t for t in found if t), key=lambda t: t.proposal.order, reverse=True)


def find(fold: DecisionsFold, ctx: ViewContext, id: str) -> Tally:
    """The decision with this id, or any unique beginning of it.

    Raises:
        NotFound: there is none.
        InvalidInput: there are several.
    """
    by_id = {t.proposal.id: t for t in tallies(fold, ctx)}
    return by_id[by_prefix(id, by_id, "decision")]


def listing(fold: DecisionsFold, ctx: ViewContext) -> tuple[shapes.Decision, ...]:
    """All decisions, newest first."""
    return tuple(decision(t, ctx) for t in tallies(fold, ctx))


def address(proposal: Proposal, roster: Roster) -> str:
    """Where a decision's record is: ``ucxl://<proposer>:admin@<project>:<task>/decisions/<id>``.

    Args:
        proposal: the decision.
        roster: the version it names, so that the name is the proposer's at that time, everywhere and for ever.
    """
    proposer = roster.get(proposal.key.author)
    return str(
        Address(
            agent=component_of(proposer.agent_id if proposer else proposal.key.author),
            role="admin",
            project=component_of(proposal.data.project),
            task=component_of(proposal.data.task),
            path=f"decisions/{proposal.id}",
        )
    )


def title_and_description(ctx: ViewContext, proposal: Proposal) -> tuple[str, str]:
    """The two parts of a proposal's body; where it is missing, the reason stands in the title's place."""
    text, missing = ctx.text(proposal.key)
    title, _, description = text.partition("\n")
    return (f"({missing})" if missing else title), description.strip("\n")


def why_not(t: Tally, ctx: ViewContext) -> str:
    """Why this node may not vote now; empty if it may."""
    data = t.proposal.data
    if t.final:
        return f"It is closed: {t.state}."
    if t.state is State.WITHDRAWN:
        return "Its proposer has withdrawn it."
    if t.state is State.CLOSING:
        return f"Its deadline was {rfc3339(data.deadline_ms)}."
    if ctx.me in t.eligible:
        return ""
    roster = ctx.chain.roster_of(data.cluster, data.roster_version)
    then = roster.get(ctx.me) if roster else None
    if then is not None and then.active:
        return f"Voting needs authority {data.authority}; you had {then.authority} when it was proposed."
    if ctx.roster is not None and ctx.roster.is_member(ctx.me):
        return "You became a member after it was proposed, so you had no vote then."
    return "This node is not a member of the cluster."


def decision(t: Tally, ctx: ViewContext) -> shapes.Decision:
    """One decision as its card shows it. A result whose cut isn't wholly held here is still ``closing``, and provisional."""
    proposal, data = t.proposal, t.proposal.data
    roster = electorate(proposal, ctx.chain)
    assert roster is not None
    known = t.close is not None and (ctx.held is None or t.close.missing(ctx.held) == 0)
    state = State.CLOSING if t.close is not None and not known else t.state
    title, description = title_and_description(ctx, proposal)
    mine = t.counted.get(ctx.me)
    return shapes.Decision(
        id=proposal.id,
        title=title,
        description=description,
        kind=data.kind,
        address=address(proposal, roster),
        proposer=ctx.name(proposal.key.author),
        proposer_peer=proposal.key.author,
        options=data.options,
        rule=data.rule,
        quorum=data.quorum,
        deadline=rfc3339(data.deadline_ms),
        at=ctx.at(proposal.order[0]),
        state=state,
        outcome=t.outcome.winner if known else "",
        provisional=not known,
        tally=dict(t.counts),
        eligible=len(t.eligible),
        votes=_votes(t, ctx),
        may_vote=why_not(t, ctx),
        your_vote=mine.choice if mine else "",
        time_left_s=0.0 if t.final else max(0, data.deadline_ms - ctx.now_ms) / 1000,
        closed_by_act=t.close.act.number if t.close else None,
        waiting_for=() if t.final or t.state is State.WITHDRAWN else tuple(ctx.name(p) for p in t.waiting_for),
    )


def attention(fold: DecisionsFold, ctx: ViewContext) -> tuple[shapes.Attention, ...]:
    """The open decisions that wait for this node's vote."""
    return tuple(
        shapes.Attention(
            id=f"vote:{t.proposal.id}",
            at=ctx.at(t.proposal.order[0]),
            kind="vote",
            text=f"Vote on “{title_and_description(ctx, t.proposal)[0]}” until {rfc3339(t.proposal.data.deadline_ms)}",
            target=f"decision:{t.proposal.id}",
            urgent=t.proposal.data.kind == "emergency",
        )
        for t in tallies(fold, ctx)
        if ctx.me in t.waiting_for and not why_not(t, ctx)
    )


def record(t: Tally, ctx: ViewContext) -> str:
    """A closed decision's record in Markdown. Descriptions and reasons stay where they can be purged."""
    assert t.close is not None
    data = t.proposal.data
    won = f" ({t.outcome.winner})" if t.outcome.winner else ""
    lines = [
        f"# {title_and_description(ctx, t.proposal)[0]}",
        "",
        f"- decision: {t.proposal.id}",
        f"- state: {t.state}{won}",
        f"- kind: {data.kind}",
        f"- rule: {data.rule}, quorum {data.quorum:g} of {len(t.eligible)} eligible",
        f"- tally: {', '.join(f'{choice} {n}' for choice, n in t.counts.items())}",
        f"- proposed: {ctx.at(t.proposal.order[0])} by {ctx.name(t.proposal.key.author)}",
        f"- closed: {ctx.at(t.close.act.hlc)} by act {t.close.act.number} ({t.close.act.hash})",
        "",
        "## Votes",
        "",
        *(f"- {ctx.name(voter)}: {ballot.choice}" for voter, ballot in sorted(t.counted.items())),
    ]
    return "\n".join(lines) + "\n"


def _tally(fold: DecisionsFold, ctx: ViewContext, proposal: Proposal, closed: dict[str, Close]) -> Tally | None:
    roster = electorate(proposal, ctx.chain)
    return None if roster is None else tally(fold, proposal, roster, closed.get(proposal.hash), ctx.now_ms)


def _votes(t: Tally, ctx: ViewContext) -> tuple[shapes.Vote, ...]:
    rows = [_vote(voter, t.counted.get(voter), t, ctx, counted=True) for voter in t.eligible]
    rows.sort(key=lambda v: v.voter)
    late = (_vote(b.voter, b, t, ctx, counted=False) for b in t.left_out)
    return (*rows, *late, *_held_votes(t, ctx))


def _held_votes(t: Tally, ctx: ViewContext) -> list[shapes.Vote]:
    """The votes whose time hasn't come: shown as such, and counted nowhere."""
    found = []
    for entry in ctx.waiting.entries(DECISION_VOTE):
        vote = entry.data(VoteData)
        if vote is not None and vote.decision == t.proposal.hash and entry.header.author in t.eligible:
            ballot = Ballot(entry.hash.hex(), entry.id, entry.key, entry.order, vote.choice)
            row = _vote(ballot.voter, ballot, t, ctx, counted=False)
            found.append(msgspec.structs.replace(row, held=ctx.waits_until(entry)))
    return found


def _vote(voter: str, ballot: Ballot | None, t: Tally, ctx: ViewContext, *, counted: bool) -> shapes.Vote:
    previous = t.replaced.get(voter) if counted else None
    text, missing = ctx.text(ballot.key) if ballot else ("", "")
    return shapes.Vote(
        voter=ctx.name(voter),
        peer_id=voter,
        choice=ballot.choice if ballot else "",
        reason=text or (f"({missing})" if missing not in ("", "no body") else ""),
        at=ctx.at(ballot.order[0]) if ballot else "",
        counted=counted and ballot is not None,
        you=voter == ctx.me,
        previous=previous.choice if previous else "",
    )
