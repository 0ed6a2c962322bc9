"""How a plan goes and when a discussion needs a person: proposal, objection period, ``proceed``, escalation. Pure.

A *plan* is a message with intent ``proposal``. An objection is a ``disagree`` on it; each author's last stance counts. The
proposer may proceed when the period is over, a majority of the room's participants was heard in the plan's thread and
nobody stands on a ``blocking`` objection.

A *coordination session* is a thread that a proposal or a question opened and in which no person has spoken. It is
*resolved* when the plan proceeds, or when the asker agrees to an answer. One that runs too long without escalates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent_core.grammar import plural
from agent_core.hmmm.fold import RoomState
from agent_core.hmmm.model import Intent, Post, Proceed, Stance, Weight

#: A session that reaches one of these without a resolution escalates to a person (SPEC section 6).
HOP_LIMIT = 3
MAX_SESSION_MESSAGES = 10
MAX_SESSION_MS = 30 * 60 * 1000
MAX_SESSION_PARTICIPANTS = 5


class Standing(StrEnum):
    """Where a plan stands."""

    NONE = ""
    OBJECTING = "objecting"  #: objections are waited for
    BLOCKED = "blocked"  #: a blocking objection stands
    PROCEEDING = "proceeding"  #: a ``proceed`` that saw all blocking objections stands


@dataclass(frozen=True, slots=True)
class Periods:
    """How long objections are waited for, milliseconds."""

    agents_ms: int = 30_000
    human_ms: int = 600_000


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan as it stands."""

    post: Post
    standing: Standing
    heard: tuple[str, ...]  #: peer ids that spoke in its thread since, the proposer included; sorted
    participants: tuple[str, ...]  #: of the room; sorted
    stances: tuple[Post, ...]  #: each author's last one on it, in order
    blocking: tuple[Post, ...]  #: the objections that stop it
    period_ends_ms: int

    @property
    def enough_heard(self) -> bool:
        """Whether a majority of the room's participants was heard; without one the period is extended."""
        return 2 * len(self.heard) > len(self.participants)

    def may_proceed(self, now_ms: int) -> bool:
        """Whether its proposer may go ahead now."""
        return self.standing is Standing.OBJECTING and self.enough_heard and now_ms >= self.period_ends_ms


def plans(
    room: RoomState, is_human: Callable[[str], bool], named_human: Callable[[str], bool], periods: Periods
) -> list[Plan]:
    """A room's plans, oldest first.

    Args:
        room: the room.
        is_human: whether a peer id is a person's.
        named_human: whether a mention names a person.
        periods: the objection periods.
    """
    with_human = any(map(is_human, room.participants))
    found = []
    for post in sorted(room.proposals.values(), key=lambda p: p.order):
        thread = room.threads[room.roots[post.hash].hash]
        heard = {p.author for p in thread if p.order >= post.order}
        human = with_human or any(named_human(m) for p in thread for m in p.data.mentions)
        on_it = sorted(room.stances.get(post.hash, {}).values(), key=lambda p: p.order)
        standing, blocking = _standing(room, post, on_it)
        found.append(
            Plan(
                post,
                standing,
                tuple(sorted(heard)),
                room.participants,
                tuple(on_it),
                tuple(blocking),
                _ms(post) + (periods.human_ms if human else periods.agents_ms),
            )
        )
    return found


def _standing(room: RoomState, plan: Post, stances: Sequence[Post]) -> tuple[Standing, list[Post]]:
    """Where a plan stands, by the last stance of each author, and by what its last ``proceed`` had seen.

    Only the proposer's ``proceed`` counts. It can't override an objection that it saw, and doesn't stand against one that
    it had not seen.
    """
    blocking = [p for p in stances if _blocks(p) and p.author != plan.author]
    if blocking:
        return Standing.BLOCKED, blocking
    went_ahead = any(
        p.key.author == plan.author and not _overrode(room, plan, p) for p in room.proceeds.get(plan.hash, {}).values()
    )
    return (Standing.PROCEEDING if went_ahead else Standing.OBJECTING), []


def _overrode(room: RoomState, plan: Post, proceed: Proceed) -> bool:
    """Whether a blocking objection stood within what the ``proceed`` had seen, so that it was void from the start."""
    last: dict[str, Post] = {}
    for post in room.ordered:
        if post.data.parent == plan.hash and post.data.stance and post.author != plan.author and proceed.saw(post.key):
            last[post.author] = post
    return any(map(_blocks, last.values()))


def _blocks(post: Post) -> bool:
    return post.data.stance == Stance.DISAGREE and post.data.weight == Weight.BLOCKING


@dataclass(frozen=True, slots=True)
class Escalation:
    """A thread that needs a person, and why."""

    root: Post
    at: Post  #: the message that made it so
    why: str


def escalations(
    room: RoomState, is_human: Callable[[str], bool], proceeding: frozenset[str], now_ms: int
) -> list[Escalation]:
    """The threads of a room that need a person and haven't had one since, oldest first.

    Args:
        room: the room.
        is_human: whether a peer id is a person's.
        proceeding: hashes of the plans that proceed.
        now_ms: Unix milliseconds.
    """
    found = []
    for thread in room.threads.values():
        asked = [p for p in thread if p.data.intent == Intent.ESCALATION]
        if asked and not any(is_human(p.author) and p.order > asked[-1].order for p in thread):
            found.append(Escalation(thread[0], asked[-1], "asked for a person"))
        elif not asked and (ran := _ran_too_long(thread, is_human, proceeding, now_ms)):
            found.append(ran)
    return sorted(found, key=lambda e: e.root.order)


def _ran_too_long(
    thread: Sequence[Post], is_human: Callable[[str], bool], proceeding: frozenset[str], now_ms: int
) -> Escalation | None:
    root = thread[0]
    is_session = root.data.intent in (Intent.PROPOSAL, Intent.QUESTION) and not any(is_human(p.author) for p in thread)
    if not is_session or _resolved(thread, proceeding):
        return None
    for n, post in enumerate(thread, 1):
        if post.data.hop_count > HOP_LIMIT:
            return Escalation(root, post, f"passed on more than {HOP_LIMIT} times without a resolution")
        if n >= MAX_SESSION_MESSAGES:
            return Escalation(root, post, f"{plural(MAX_SESSION_MESSAGES, 'message')} without a resolution")
        if len({p.author for p in thread[:n]}) > MAX_SESSION_PARTICIPANTS:
            return Escalation(root, post, f"more than {MAX_SESSION_PARTICIPANTS} agents without a resolution")
    if now_ms - _ms(root) > MAX_SESSION_MS:
        return Escalation(root, thread[-1], f"{MAX_SESSION_MS // 60_000} min without a resolution")
    return None


def _resolved(thread: Sequence[Post], proceeding: frozenset[str]) -> bool:
    root = thread[0]
    if root.data.intent == Intent.PROPOSAL:
        return any(p.hash in proceeding for p in thread)
    answers = {p.hash for p in thread if p.data.intent == Intent.ANSWER}
    return any(p.author == root.author and p.data.stance == Stance.AGREE and p.data.parent in answers for p in thread)


def next_plan_ms(plans: Sequence[Plan], me: str) -> int | None:
    """When the first of this node's own plans may proceed if nothing more happens, Unix milliseconds."""
    mine = (p for p in plans if p.post.author == me and p.standing is Standing.OBJECTING and p.enough_heard)
    return min((p.period_ends_ms for p in mine), default=None)


def _ms(post: Post) -> int:
    return int(post.hlc[:12], 16)
