"""Rooms as people see them: the list, one room in thread order, who stands where, and what waits for a person."""

from __future__ import annotations

from collections import Counter

import msgspec

from agent_core import shapes
from agent_core.errors import NotFound
from agent_core.hmmm.fold import RoomsFold, RoomState
from agent_core.hmmm.machine import Escalation, Periods, Plan, Standing, escalations, plans
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData, Post, Stance
from agent_core.nearest import nearest
from agent_core.roster.model import Kind
from agent_core.views import ViewContext

#: How much of the last message the list of rooms shows, characters.
EXCERPT_CHARS = 120


def rooms(fold: RoomsFold, ctx: ViewContext, periods: Periods) -> tuple[shapes.Room, ...]:
    """All rooms with a message, the liveliest first."""
    last = [(name, post) for name in fold.names() if (post := fold.last(name))]
    lively = sorted(last, key=lambda found: found[1].order, reverse=True)
    escalated = {t.id for t in fold.watched() if room_escalations(t, room_plans(t, ctx, periods), ctx)}
    held = Counter(post.data.room for post, _ in held_posts(ctx))
    silent: list[tuple[str, Post | None]] = [(name, None) for name in sorted(held) if fold.last(name) is None]
    return tuple(
        _room(fold, ctx, periods, name, post, name in escalated, held[name]) for name, post in (*lively, *silent)
    )


def held_posts(ctx: ViewContext) -> list[tuple[Post, str]]:
    """The messages whose time hasn't come, and when that is: shown as such, and counted nowhere."""
    found = []
    for entry in ctx.waiting.entries(HMMM_MESSAGE):
        data = entry.data(MessageData)
        if data is not None:
            post = Post(entry.hash.hex(), entry.id, entry.key, entry.order, entry.header.via, data)
            found.append((post, ctx.waits_until(entry)))
    return found


def _room(
    fold: RoomsFold, ctx: ViewContext, periods: Periods, name: str, last: Post | None, escalated: bool, held: int
) -> shapes.Room:
    """One room as the list shows it. A room without messages is empty, not an error."""
    thread = fold.plan_thread(name)
    plans = room_plans(thread, ctx, periods) if thread else []
    text, missing = ctx.text(last.key) if last else ("", "")
    return shapes.Room(
        id=name,
        messages=fold.count(name),
        participants=tuple(sorted(map(ctx.name, fold.participants(name)))),
        last_at=ctx.at(last.hlc) if last else "",
        last_text=f"({missing})" if missing else " ".join(text[: 4 * EXCERPT_CHARS].split())[:EXCERPT_CHARS],
        escalated=escalated,
        plan=plans[-1].standing if plans else Standing.NONE,
        held=held,
    )


def view(fold: RoomsFold, ctx: ViewContext, id: str, periods: Periods, limit: int | None = None) -> shapes.RoomView:
    """A room opened: threads by their first message, replies under what they answer.

    Args:
        fold: all rooms.
        ctx: the surroundings.
        id: the room; one that nobody has written to is empty.
        periods: the objection periods.
        limit: the newest so many messages; all of them without one.
    """
    room, newest = fold.newest(id, limit)
    stances = {
        room.posts[on].id: _count([p.data.stance for p in by.values()])
        for on, by in room.stances.items()
        if on in room.posts
    }
    escalated = any(room_escalations(t, room_plans(t, ctx, periods), ctx) for t in fold.watched() if t.id == id)
    held = {post.hash: until for post, until in held_posts(ctx) if post.data.room == id and post.hash not in room.posts}
    for post, _ in held_posts(ctx) if held else ():
        if post.hash in held:
            room.add(post)  # beside the others from here on: what was counted above leaves them out
    shown = (room.posts[hash] for hash in room.roots if hash in newest or hash in held)
    messages = tuple(msgspec.structs.replace(message(room, post, ctx), held=held.get(post.hash, "")) for post in shown)
    return shapes.RoomView(
        room=_room(fold, ctx, periods, id, fold.last(id), escalated, len(held)), messages=messages, stances=stances
    )


def known(fold: RoomsFold, ctx: ViewContext, id: str) -> str:
    """The room, if anybody ever wrote to it.

    Raises:
        NotFound: nobody did; names the nearest ones.
    """
    if fold.last(id) is None and all(post.data.room != id for post, _ in held_posts(ctx)):
        raise NotFound(
            f"There is no room {id[:64]!r} here.",
            nearest(id, fold.names(), "`chorus-hap hmmm rooms` lists them; one opens with its first message."),
        )
    return id


def message(room: RoomState, post: Post, ctx: ViewContext) -> shapes.Message:
    """One message. Its parent is empty where that isn't known here."""
    text, missing = ctx.text(post.key)
    member = ctx.member(post.author)
    parent = room.posts.get(post.data.parent)
    return shapes.Message(
        id=post.id,
        key=str(post.key),
        at=ctx.at(post.hlc),
        author=ctx.name(post.author),
        author_peer=post.author,
        kind=member.kind if member else "",
        via=post.via,
        room=room.id,
        thread=room.roots[post.hash].id,
        parent=parent.id if parent else "",
        intent=post.data.intent,
        text=text,
        missing="" if missing == "no body" else missing,
        citations=tuple(
            shapes.Citation(address=c.address, reason=c.reason, version=c.version) for c in post.data.citations
        ),
        mentions=tuple(ctx.roster.mentioned(m) for m in post.data.mentions) if ctx.roster else post.data.mentions,
        stance=post.data.stance,
        weight=post.data.weight,
        you=post.author == ctx.me,
    )


def room_plans(room: RoomState, ctx: ViewContext, periods: Periods) -> list[Plan]:
    """The room's plans under this roster."""
    names = {m.agent_id for m in ctx.roster.members.values() if m.kind == Kind.HUMAN} if ctx.roster else set()
    return plans(room, lambda peer: _is_human(ctx, peer), lambda name: name.split("~")[0] in names, periods)


def room_escalations(room: RoomState, found: list[Plan], ctx: ViewContext) -> list[Escalation]:
    """The room's threads that need a person."""
    proceeding = frozenset(p.post.hash for p in found if p.standing is Standing.PROCEEDING)
    return escalations(room, lambda peer: _is_human(ctx, peer), proceeding, ctx.now_ms)


def attention(fold: RoomsFold, ctx: ViewContext, periods: Periods) -> tuple[shapes.Attention, ...]:
    """What waits here: threads that need a person, and messages that name this one and that it hasn't answered."""
    found: list[shapes.Attention] = []
    for room in fold.watched():
        for escalation in room_escalations(room, room_plans(room, ctx, periods), ctx):
            found.append(
                shapes.Attention(
                    id=f"escalation:{escalation.root.id}:{escalation.at.id}",
                    at=ctx.at(escalation.at.hlc),
                    kind="escalation",
                    text=f"{room.id}: {ctx.name(escalation.root.author)}’s thread needs a person, {escalation.why}",
                    target=f"room:{room.id}/{escalation.at.id}",
                    urgent=True,
                )
            )
        found.extend(_mentions(room, ctx))
    return tuple(sorted(found, key=lambda a: (a.at, a.id), reverse=True))


def _mentions(room: RoomState, ctx: ViewContext) -> list[shapes.Attention]:
    me = ctx.member(ctx.me)
    if me is None:
        return []
    names = {
        me.agent_id,
        f"{me.agent_id}~{ctx.me[-6:]}",
        ctx.name(ctx.me),
        f"role:{me.role}",
        *(f"expertise:{c}" for c in me.capabilities),
    }
    found = []
    for thread in room.threads.values():
        answered = max((p.order for p in thread if p.author == ctx.me), default=None)
        for post in thread:
            named = not names.isdisjoint(post.data.mentions) and post.author != ctx.me
            if named and (answered is None or post.order > answered):
                found.append(
                    shapes.Attention(
                        id=f"mention:{post.id}",
                        at=ctx.at(post.hlc),
                        kind="mention",
                        text=f"{room.id}: {ctx.name(post.author)} mentions you",
                        target=f"room:{room.id}/{post.id}",
                    )
                )
    return found


def _is_human(ctx: ViewContext, peer: str) -> bool:
    member = ctx.member(peer)
    return member is not None and member.kind == Kind.HUMAN


def _count(stances: list[str]) -> shapes.Stances:
    return shapes.Stances(
        agree=stances.count(Stance.AGREE),
        disagree=stances.count(Stance.DISAGREE),
        abstain=stances.count(Stance.ABSTAIN),
    )
