"""What can be done with decisions: propose, vote, withdraw. They are read through ``views``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from agent_core import shapes
from agent_core.caller import Caller
from agent_core.clock import parse_rfc3339
from agent_core.decisions import views
from agent_core.decisions.fold import DecisionsFold
from agent_core.decisions.model import (
    ABSTAIN,
    DECISION_PROPOSE,
    DECISION_VOTE,
    DECISION_WITHDRAW,
    MAX_OPTION_CHARS,
    MAX_OPTIONS,
    MAX_TITLE_CHARS,
    REJECT,
    YES_NO,
    DecisionKind,
    ProposeData,
    Rule,
    State,
    VoteData,
    WithdrawData,
)
from agent_core.errors import Conflict, InvalidInput, Refused
from agent_core.feeds.model import Draft, OwnFeed
from agent_core.grammar import a
from agent_core.lookalikes import confusable, skeleton
from agent_core.requests import check_header, made_before, one_of, operation_id, text_body, words, writer
from agent_core.roster.model import Authority
from agent_core.text import has_unseen, marked, seen
from agent_core.ucxl.address import component_of
from agent_core.views import ViewContext

MIN_DEADLINE_MS = 1_000
MAX_DEADLINE_MS = 366 * 24 * 3600 * 1000
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)\Z")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class DecisionsService:
    """The changing operations of decisions.

    Args:
        appender: where entries are written.
        fold: gives the fold in force; it is replaced when what is visible shrinks.
        context: gives the surroundings of a view as they are now.
    """

    def __init__(
        self, appender: OwnFeed, fold: Callable[[], DecisionsFold], context: Callable[[], ViewContext]
    ) -> None:
        self._appender = appender
        self._fold = fold
        self._context = context

    async def propose(self, request: shapes.ProposeRequest, caller: Caller) -> shapes.Posted:
        """Put something to the vote.

        Raises:
            InvalidInput: a title, kind, rule, option, quorum or deadline that can't be.
            Refused: this node may not write, or nobody would be eligible.
            TooLarge: title and description have more than 32 KiB.
        """
        ctx = self._context()
        op = operation_id(request.op_id, ctx.now_ms)
        if made := made_before(self._appender, op, DECISION_PROPOSE):
            return shapes.Posted(id=made.id, key=str(made.key), delivered=0)
        body = text_body(f"{request.title.strip()}\n\n{request.description}", "proposal")
        writer(ctx, caller)
        data = _proposal(request, ctx)
        check_header(data)
        draft = Draft(DECISION_PROPOSE, data, body, caller.via, caller.login, op)
        entry = (await self._appender.append([draft]))[0]
        return shapes.Posted(
            id=entry.id, key=str(entry.key), delivered=0, text=f"Proposed “{request.title.strip()}” as {entry.id}."
        )

    async def vote(self, request: shapes.VoteRequest, caller: Caller) -> shapes.Posted:
        """Vote, or change the vote: until the close the last one counts.

        Raises:
            InvalidInput: no such choice, or a reject without a reason.
            Conflict: the decision is closed, withdrawn, or past its deadline.
            Refused: this node may not write or isn't eligible; says why.
            NotFound: no such decision.
        """
        ctx = self._context()
        op = operation_id(request.op_id, ctx.now_ms)
        if made := made_before(self._appender, op, DECISION_VOTE):
            return shapes.Posted(id=made.id, key=str(made.key), delivered=0)
        body = text_body(request.reason, "reason")
        writer(ctx, caller)
        t = views.find(self._fold(), ctx, request.id)
        choices = (*t.proposal.data.options, ABSTAIN)
        id, choice = t.proposal.id, _chosen(request.choice.strip(), choices)
        if reason := views.why_not(t, ctx):
            if t.state is not State.OPEN:
                raise Conflict(
                    f"Decision {id} takes no votes any more. {reason}", f"`decisions show {id}` tells how it went."
                )
            raise Refused(f"You can't vote on decision {id}. {reason}", "Only those who could then are asked.")
        if choice not in choices:
            raise InvalidInput(f"{choice[:40]!r} is no choice of decision {id}.", f"Choose from: {words(choices)}.")
        if choice == REJECT and not request.reason.strip():
            raise InvalidInput("A reject needs a reason.", "Say in a sentence why, with --reason.")
        draft = Draft(
            DECISION_VOTE, VoteData(decision=t.proposal.hash, choice=choice), body or None, caller.via, caller.login, op
        )
        before = t.counted.get(ctx.me)
        entry = (await self._appender.append([draft]))[0]
        change = f"{before.choice} → {choice}" if before and before.choice != choice else choice
        return shapes.Posted(id=entry.id, key=str(entry.key), delivered=0, text=f"Your vote on {id}: {change}.")

    async def withdraw(self, id: str, reason: str, op_id: str, caller: Caller) -> shapes.Posted:
        """Take one's own proposal back.

        Raises:
            Refused: it is somebody else's, or this node may not write.
            Conflict: it is closed, withdrawn, or past its deadline.
            NotFound: no such decision.
        """
        ctx = self._context()
        op = operation_id(op_id, ctx.now_ms)
        if made := made_before(self._appender, op, DECISION_WITHDRAW):
            return shapes.Posted(id=made.id, key=str(made.key), delivered=0)
        body = text_body(reason, "reason")
        writer(ctx, caller)
        t = views.find(self._fold(), ctx, id)
        if t.proposal.key.author != ctx.me:
            raise Refused(
                f"Decision {t.proposal.id} is {ctx.name(t.proposal.key.author)}'s; only its proposer can withdraw it.",
                "Vote reject and say why.",
            )
        if t.state is not State.OPEN:
            raise Conflict(f"Decision {t.proposal.id} can't be withdrawn any more. {views.why_not(t, ctx)}")
        draft = Draft(
            DECISION_WITHDRAW, WithdrawData(decision=t.proposal.hash), body or None, caller.via, caller.login, op
        )
        entry = (await self._appender.append([draft]))[0]
        return shapes.Posted(id=entry.id, key=str(entry.key), delivered=0, text=f"Withdrew decision {t.proposal.id}.")


def deadline_ms(text: str, now_ms: int) -> int:
    """A deadline as Unix milliseconds.

    Args:
        text: RFC 3339, or a duration from now: ``90s``, ``10m``, ``1h``, ``2d``.
        now_ms: Unix milliseconds.

    Raises:
        InvalidInput: neither of these, less than a second ahead, or over a year.
    """
    match = _DURATION.match(text.strip())
    try:
        at = now_ms + round(float(match[1]) * _UNIT_MS[match[2]]) if match else parse_rfc3339(text.strip())
    except (ValueError, OverflowError) as exc:
        raise InvalidInput(
            f"{text[:40]!r} is no deadline.", "Give a duration like 10m or 1h, or a time like 2026-01-31T12:00:00Z."
        ) from exc
    if not MIN_DEADLINE_MS <= at - now_ms <= MAX_DEADLINE_MS:
        raise InvalidInput(
            f"The deadline {text[:40]!r} is not within the next year.", "Give one from 1s to 366d ahead."
        )
    return at


def _options(given: Sequence[str]) -> tuple[str, ...]:
    """What can be voted for: all of it can be seen, and the eye tells one from another.

    Raises:
        InvalidInput: says which option can't be, and why.
    """
    advice = f"Give 2 to {MAX_OPTIONS} different ones of up to {MAX_OPTION_CHARS} characters, none of them `abstain`."
    options: dict[str, str] = {}
    for text in given:
        if has_unseen(text.strip()):
            raise InvalidInput(
                f"The option {marked(text, keep='')[:200]!r} has characters in it that nobody sees.", advice
            )
        option = seen(text)
        if not 0 < len(option) <= MAX_OPTION_CHARS:
            raise InvalidInput(f"These options can't be voted on: one has {len(option)} characters.", advice)
        twin = ABSTAIN if confusable(option, ABSTAIN) else options.get(skeleton(option))
        if twin is not None:
            alike = "is there twice" if twin == option else f"can be taken for {twin!r}"
            raise InvalidInput(f"These options can't be voted on: {option!r} {alike}.", advice)
        options[skeleton(option)] = option
    if options and not 2 <= len(options) <= MAX_OPTIONS:
        raise InvalidInput(
            f"These options can't be voted on: there {'is' if len(options) == 1 else 'are'} {len(options)}.", advice
        )
    return tuple(options.values()) or YES_NO


def _chosen(text: str, choices: Sequence[str]) -> str:
    """The choice that was typed; one made by an older node may hold what nobody types."""
    if text in choices:
        return text
    alike = [choice for choice in choices if seen(choice) == seen(text)]
    return alike[0] if len(alike) == 1 else text


def _proposal(request: shapes.ProposeRequest, ctx: ViewContext) -> ProposeData:
    title = request.title.strip()
    if not title or len(title) > MAX_TITLE_CHARS or "\n" in title:
        raise InvalidInput(
            f"A title is one line of 1 to {MAX_TITLE_CHARS} characters; this has {len(title)}.",
            "Put the rest into the description.",
        )
    options = _options(request.options)
    if not 0 <= request.quorum <= 1:
        raise InvalidInput(f"The quorum {request.quorum:g} is no share.", "Give one from 0 to 1, like 0.5.")
    for name, what in ((request.project, "project"), (request.task, "task")):
        if name != component_of(name):
            raise InvalidInput(f"{name[:40]!r} can't name {a(what)}.", "Use letters, digits, - _ and . (at most 64).")
    roster = ctx.roster
    assert roster is not None, "a writer is a member of a cluster"
    data = ProposeData(
        cluster=roster.cluster_id,
        roster_version=roster.version,
        kind=one_of(DecisionKind, request.kind, "kind"),
        project=request.project,
        task=request.task,
        options=options,
        rule=one_of(Rule, request.rule, "rule"),
        quorum=request.quorum,
        deadline_ms=deadline_ms(request.deadline, ctx.now_ms),
        authority=one_of(Authority, request.authority, "authority"),
    )
    if not roster.eligible(data.authority):
        raise Refused(f"Nobody here has authority {data.authority}, so nobody could vote.", "Ask for a lower one.")
    return data
