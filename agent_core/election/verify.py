"""Checking the certificate of a past term by what is held: the votes signed, the roster they were cast under, nobody's word."""

from __future__ import annotations

import msgspec

from agent_core import shapes
from agent_core.election.acts import Act, ActKind
from agent_core.election.messages import Certificate, TermPayload, Vote, vote_message
from agent_core.errors import NotFound
from agent_core.identity.signing import Verifier
from agent_core.roster.model import Roster
from agent_core.views import ViewContext


def certificate(term: int, ctx: ViewContext, verifier: Verifier) -> shapes.CertificateCheck:
    """Check who led a term.

    Args:
        term: the term.
        ctx: gives the committed acts.
        verifier: checks the signatures.

    Raises:
        NotFound: no act tells of that term's leader here.
    """
    act = ctx.chain.opening(term)
    if act is None:
        raise NotFound(f"No leader of term {term} is known here.", _known(ctx))
    payload = _payload(act)
    if payload is None:
        return _failed(act, ctx, "its act carries no certificate that can be read")
    found = payload.certificate
    roster = ctx.chain.roster_at(found.roster)
    if roster is None:
        return _failed(act, ctx, f"its certificate names roster version {found.roster}, which isn't known here")
    votes = tuple(_vote(v, found, roster, verifier) for v in found.votes)
    reason = ""
    if found.term != term or found.leader != act.author:
        reason = "the certificate is for another term or another leader"
    elif not found.verify(verifier, roster):
        reason = f"its votes are no majority of the {_voters(roster)}"
    if reason:
        return _failed(act, ctx, reason, votes=votes, roster=found.roster)
    good = len({v.voter for v in votes if v.good})
    text = (
        f"{ctx.name(act.author)} led term {term}: {good} of {_voters(roster)} signed for it, "
        f"and {roster.quorum} {'makes' if roster.quorum == 1 else 'make'} a majority."
    )
    return shapes.CertificateCheck(
        term=term,
        ok=True,
        leader=ctx.name(act.author),
        peer_id=act.author,
        roster=found.roster,
        votes=votes,
        trigger=payload.trigger,
        at=ctx.at(act.hlc),
        text=text,
    )


def _vote(vote: Vote, found: Certificate, roster: Roster, verifier: Verifier) -> shapes.SignedVote:
    message = vote_message(found.cluster, found.term, found.leader, vote.number, vote.hash)
    meant = vote.voter in roster.voters and vote.term == found.term and vote.candidate == found.leader
    return shapes.SignedVote(
        voter=vote.voter,
        agent_id=roster.name(vote.voter) if vote.voter in roster.members else "",
        good=meant and verifier.verify(vote.voter, message, vote.sig),
    )


def _failed(
    act: Act, ctx: ViewContext, reason: str, votes: tuple[shapes.SignedVote, ...] = (), roster: int = -1
) -> shapes.CertificateCheck:
    leader = ctx.name(act.author)
    return shapes.CertificateCheck(
        term=act.term,
        ok=False,
        leader=leader,
        peer_id=act.author,
        roster=roster,
        votes=votes,
        trigger="",
        at=ctx.at(act.hlc),
        text=f"That {leader} led term {act.term} can't be confirmed: {reason}.",
    )


def _payload(act: Act) -> TermPayload | None:
    try:
        return msgspec.json.decode(act.payload, type=TermPayload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _known(ctx: ViewContext) -> str:
    terms = [a.term for a in ctx.chain.committed if a.kind == ActKind.TERM]
    if not terms:
        return "No term has a leader in this store."
    if len(terms) == 1:
        return f"Only term {terms[0]} has one; see `chorus-hap election show`."
    return f"{len(terms)} terms from {terms[0]} to {terms[-1]} have one; see `chorus-hap election show`."


def _voters(roster: Roster) -> str:
    count = len(roster.voters)
    return f"{count} {'voter' if count == 1 else 'voters'} of roster version {roster.version}"
