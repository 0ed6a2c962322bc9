"""What waits for the person: votes, escalations and mentions, and what of the cluster isn't well. A pure view."""

from __future__ import annotations

from collections.abc import Iterator

from agent_core.api import views
from agent_core.api.parts import Sources
from agent_core.clock import rfc3339
from agent_core.decisions import views as decision_views
from agent_core.grammar import are, noun, plural
from agent_core.hmmm import views as room_views
from agent_core.roster.warrants import Verb, may
from agent_core.shapes import Attention, Status
from agent_core.views import ViewContext

MAX_ITEMS = 100
#: Election states in which it is normal that nobody leads and few are reached yet.
_SETTLING = frozenset({"idle", "discovering"})
#: Stages of a node that was sent away; the first of its notes says by whom and why.
_GONE = frozenset({"revoked", "evicted"})


def attention(sources: Sources) -> tuple[Attention, ...]:
    """Everything that waits, urgent things first, then the newest; ids stay the same while a thing waits."""
    context = sources.context()
    found = [
        *_cluster(sources.status(), rfc3339(context.now_ms)),
        *_forks(sources, context),
        *_waiting(sources, context),
        *decision_views.attention(sources.folds.decisions, context),
        *room_views.attention(sources.folds.rooms, context, sources.periods),
    ]
    found.sort(key=lambda item: item.at, reverse=True)
    found.sort(key=lambda item: not item.urgent)
    return tuple(found[:MAX_ITEMS])


def _cluster(status: Status, now: str) -> Iterator[Attention]:
    voters = status.voters
    if status.state in _SETTLING:
        pass  # it has only begun to look for the others
    elif status.cluster_id and not status.offline and voters.total and voters.spare < 0:
        yield Attention(
            id="minority",
            at=now,
            kind="minority",
            text=f"Only {voters.reachable} of {voters.total} voters can be reached, {voters.quorum} {are(voters.quorum)} needed: "
            "reading, posting and voting go on; nothing can be closed or enrolled.",
            target="election",
            urgent=True,
        )
    elif status.cluster_id and not status.offline and not _led(status):
        yield Attention(
            id="no-leader", at=now, kind="minority", text="Nobody leads at the moment.", target="election", urgent=False
        )
    for number, note in enumerate(status.notes):
        gone = number == 0 and status.stage in _GONE
        kind = status.stage if gone or status.stage == "degraded" else "note"
        yield Attention(id=f"note:{note}", at=now, kind=kind, text=note, target=f"attention:note:{note}", urgent=gone)


def _waiting(sources: Sources, context: ViewContext) -> Iterator[Attention]:
    """Newcomers, for those who may let them in."""
    roster = context.roster
    if roster is None or may(roster, context.me, Verb.APPROVE):
        return
    for who in views.waiting(sources.waiting(), context):
        yield Attention(
            id=f"waiting:{who.peer_id}",
            at=who.since,
            kind="approval",
            text=f"{who.agent_id} (…{who.peer_id[-6:]}) asks to join as {who.role}, on {who.host or 'a host it does not name'}.",
            target=f"members:{who.peer_id}",
            urgent=True,
        )


def _entries(size: int) -> str:
    return f"{plural(size, 'entry', 'entries')} {noun(size, 'counts', 'count')}"


def _led(status: Status) -> bool:
    return status.leader is not None and status.leader.certain


def _forks(sources: Sources, context: ViewContext) -> Iterator[Attention]:
    for peer_id, epoch, size in views.forked(context, sources.entries):
        yield Attention(
            id=f"fork:{peer_id}/{epoch}",
            at=rfc3339(context.now_ms),
            kind="fork",
            text=f"{context.name(peer_id)} signed two histories of epoch {epoch}: only its first {_entries(size)}.",
            target=f"members:{peer_id}",
            urgent=True,
        )
