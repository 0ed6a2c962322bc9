"""What can be done in rooms: post; and the proposer's own ``proceed`` when a plan's time has come. ``views`` reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import structlog
import trio

from agent_core import shapes
from agent_core.caller import Caller
from agent_core.errors import ChorusError, ClockAhead, InvalidInput
from agent_core.feeds.model import Draft, Head, OwnFeed
from agent_core.hmmm import views
from agent_core.hmmm.fold import RoomsFold, RoomState
from agent_core.hmmm.machine import Periods, Plan, next_plan_ms
from agent_core.hmmm.model import (
    HMMM_MESSAGE,
    HMMM_PROCEED,
    MAX_HOPS,
    MAX_MENTIONS,
    MAX_SEEN,
    META_ROOM,
    Intent,
    MessageData,
    Post,
    ProceedData,
    Stance,
    Weight,
    is_hash,
    is_room_id,
    mentions_in,
)
from agent_core.requests import (
    by_prefix,
    check_header,
    derived_operation_id,
    made_before,
    one_of,
    operation_id,
    text_body,
    writer,
)
from agent_core.roster.model import Kind, Member
from agent_core.text import has_unseen, normal
from agent_core.ucxl.citations import cite
from agent_core.views import ViewContext

if TYPE_CHECKING:
    from trio_typing import TaskStatus

#: How long to wait before a ``proceed`` that couldn't be written is tried again, seconds.
RETRY_S = 5.0
#: How far back in a room a message may be named by its short id; further ones by their hash.
MAX_NAMED = 5000
#: How long what is folded is collected before plans are looked at again, seconds.
COALESCE_S = 0.05

_log = structlog.get_logger("hmmm")


@dataclass(frozen=True, slots=True)
class RoomsStatistics:
    """What the service has written since the start."""

    posted: int
    proceeded: int


class RoomsService:
    """The changing operations of rooms.

    Args:
        appender: where entries are written.
        fold: gives the fold in force; it is replaced when what is visible shrinks.
        context: gives the surroundings of a view as they are now.
        heads: the heads held here; a ``proceed`` names those it has seen.
        latest: the hash of an address' latest version, empty if it has none; citations store it.
        periods: the objection periods.
    """

    def __init__(
        self,
        appender: OwnFeed,
        fold: Callable[[], RoomsFold],
        context: Callable[[], ViewContext],
        heads: Callable[[], Sequence[Head]],
        latest: Callable[[str], str],
        periods: Periods = Periods(),  # noqa: B008 - frozen
    ) -> None:
        self._appender = appender
        self._fold = fold
        self._context = context
        self._heads = heads
        self._latest = latest
        self.periods = periods
        self._changed = trio.Event()
        self._posted = self._proceeded = 0

    async def post(self, request: shapes.PostRequest, caller: Caller) -> shapes.Posted:
        """Write a message; the first one makes the room.

        Raises:
            TooLarge: the text has more than 32 KiB, or what surrounds it doesn't fit.
            InvalidInput: an unknown intent, stance or weight, a room no one can name, an empty text.
            InvalidAddress: a citation of what is no address.
            NotFound: the message replied to isn't here.
            Refused: this node may not write.
        """
        body = text_body(request.text, "message")
        ctx = self._context()
        op = operation_id(request.op_id, ctx.now_ms)
        room = room_id(request.room)
        if made := made_before(self._appender, op, HMMM_MESSAGE):
            return shapes.Posted(id=made.id, key=str(made.key), delivered=0, room=room)
        me = writer(ctx, caller)
        data = self._message(request, room, me, ctx)
        check_header(data)
        entry = (await self._appender.append([Draft(HMMM_MESSAGE, data, body, caller.via, caller.login, op)]))[0]
        self._posted += 1
        return shapes.Posted(id=entry.id, key=str(entry.key), delivered=0, room=room)

    def _message(self, request: shapes.PostRequest, room: str, me: Member, ctx: ViewContext) -> MessageData:
        intent = one_of(Intent, request.intent, "intent")
        stance = one_of(Stance, request.stance, "stance") if request.stance else None
        weight = one_of(Weight, request.weight, "weight") if request.weight else None
        if stance is not None and not request.reply_to:
            raise InvalidInput("A stance is taken on a message, and none was named.", "Name it with --reply-to.")
        if weight is not None and stance is not Stance.DISAGREE:
            raise InvalidInput("Only a `disagree` is blocking or advisory.", "Leave the weight out, or disagree.")
        if not request.text.strip() and (stance is None or weight is Weight.BLOCKING):
            raise InvalidInput("The message is empty.", "Say something; a blocking objection needs its reason, too.")
        if stance is Stance.DISAGREE and weight is None:
            weight = Weight.ADVISORY
        parent = self._parent(request.reply_to, room)
        return MessageData(
            room=room,
            intent=intent,
            thread=self._fold().root(parent.hash) if parent else "",
            parent=parent.hash if parent else "",
            stance=stance or "",
            weight=weight or "",
            citations=cite(request.citations, self._latest),
            mentions=_mentions(request),
            hop_count=_hops(parent, me, ctx),
        )

    def _parent(self, reply_to: str, room: str) -> Post | None:
        if not reply_to:
            return None
        if is_hash(reply_to):
            post = self._fold().post(reply_to)
            if post is not None and post.data.room == room:
                return post
        by_id = {p.id: p for p in islice(self._fold().posts(room), MAX_NAMED)}
        return by_id[by_prefix(reply_to, by_id, "message")]

    def wake(self) -> None:
        """Something was folded: plans may stand otherwise."""
        self._changed.set()

    def statistics(self) -> RoomsStatistics:
        return RoomsStatistics(self._posted, self._proceeded)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write ``proceed`` for this node's own plans as their time comes, for ever."""
        task_status.started()
        while True:
            self._changed = trio.Event()
            ctx, looked_at = self._context(), trio.current_time()
            # While history is folded an objection that is stored might not show.
            threads = () if ctx.folding else self._fold().open_plans(ctx.me)
            own = {p.post.hash: p for thread in threads for p in self._own_plans(thread, ctx)}.values()
            try:
                for plan in own:
                    if plan.may_proceed(ctx.now_ms):
                        await self._proceed(plan)
            except ClockAhead:
                await trio.sleep(RETRY_S)  # the node says so itself, and a plan loses nothing by waiting
                continue
            except ChorusError as exc:
                _log.warning("a plan could not proceed", code=exc.code, reason=exc.message)
                await trio.sleep(RETRY_S)
                continue
            pending = next_plan_ms([p for p in own if not p.may_proceed(ctx.now_ms)], ctx.me)
            # A storm of messages costs one look, not one each.
            await trio.sleep(COALESCE_S)
            with trio.CancelScope() as scope:
                if pending is not None:
                    scope.deadline = looked_at + max(0, pending - ctx.now_ms) / 1000
                await self._changed.wait()

    def _own_plans(self, room: RoomState, ctx: ViewContext) -> list[Plan]:
        if not any(p.author == ctx.me for p in room.proposals.values()):
            return []
        return [p for p in views.room_plans(room, ctx, self.periods) if p.post.author == ctx.me]

    async def _proceed(self, plan: Plan) -> None:
        # The heads of those in the room are enough: an objection of anybody else counts as not seen.
        seen = [h for h in self._heads() if h.author in plan.participants][:MAX_SEEN]
        data = ProceedData(room=plan.post.data.room, plan=plan.post.hash, heard=plan.heard[:MAX_SEEN], seen=tuple(seen))
        # One `proceed` for one set of stances, also when the fold hasn't caught up with the last one.
        op = derived_operation_id(plan.period_ends_ms, HMMM_PROCEED, plan.post.hash, *(p.hash for p in plan.stances))
        await self._appender.append([Draft(HMMM_PROCEED, data, op=op)])
        self._proceeded += 1
        _log.info("a plan proceeds", plan=plan.post.id, heard=len(plan.heard))


def room_id(text: str) -> str:
    """The room a person named; none is the meta-discussion, which operations ask to be named (``meta``).

    Raises:
        InvalidInput: no room can have this name.
    """
    room = text.strip() or META_ROOM
    if not is_room_id(room):
        raise InvalidInput(
            f"{room[:40]!r} can't name a room.",
            "Use 1 to 64 letters, digits and _ . # -, beginning with a letter or digit.",
        )
    return room


def _mentions(request: shapes.PostRequest) -> tuple[str, ...]:
    given = (normal(m.strip().removeprefix("@")) for m in request.mentions)
    named = tuple(dict.fromkeys([*given, *mentions_in(request.text)]))
    if any(not 0 < len(m) <= 80 or has_unseen(m) for m in named):
        raise InvalidInput(
            "A mention is a name of 1 to 80 characters, all of which can be seen.",
            "Write @agent, @role:name or @expertise:name.",
        )
    return named[:MAX_MENTIONS]


def _hops(parent: Post | None, me: Member, ctx: ViewContext) -> int:
    """Replies among agents since a person last spoke."""
    author = ctx.member(parent.author) if parent else None
    if parent is None or me.kind == Kind.HUMAN or (author is not None and author.kind == Kind.HUMAN):
        return 0
    return min(parent.data.hop_count + 1, MAX_HOPS)
