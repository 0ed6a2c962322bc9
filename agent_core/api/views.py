"""Views that no one domain owns: members, connections, and log lines. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from agent_core.api.parts import Entries
from agent_core.clock import ZERO, Ahead, rfc3339
from agent_core.election.acts import ACT
from agent_core.election.chain import held_act
from agent_core.errors import InvalidInput, NotFound
from agent_core.feeds.model import Entry, EntryKey, Missing
from agent_core.lookalikes import skeleton
from agent_core.nearest import nearest
from agent_core.network import Peer
from agent_core.requests import by_prefix
from agent_core.roster.history import told
from agent_core.shapes import ClockState, LogEntry, MemberInfo, PeerInfo, WaitingInfo
from agent_core.views import ViewContext, Waiting
from agent_core.wire.envelope import one_line
from agent_core.wire.families.cooee import CooeeWaiting

_TEXT_CHARS = 160
#: How far back an entry may be named by its short id; further ones by ``author/epoch/seq``.
_NAMED_ENTRIES = 5000


def members(ctx: ViewContext, entries: Entries, leader: str = "") -> tuple[MemberInfo, ...]:
    """The roster, active members first, each group by name.

    Args:
        leader: peer id of the leader that is certain now, if there is one.
    """
    if ctx.roster is None:
        return ()
    counts = entry_counts(entries)
    rows = [
        MemberInfo(
            peer_id=member.peer_id,
            agent_id=ctx.name(member.peer_id),
            role=member.role,
            kind=member.kind.value,
            authority=member.authority.value,
            voter=member.voter,
            online=member.peer_id in ctx.online or member.peer_id == ctx.me,
            leader=member.peer_id == leader,
            last_seen=_seen(ctx, entries.latest_hlc(member.peer_id)),
            entries=counts[member.peer_id],
            revoked=member.revoked is not None,
            you=member.peer_id == ctx.me,
            evicted=member.evicted is not None and member.revoked is None,
        )
        for member in ctx.roster.members.values()
    ]
    return tuple(sorted(rows, key=lambda row: (row.revoked or row.evicted, row.agent_id, row.peer_id)))


def waiting(found: Iterable[CooeeWaiting], ctx: ViewContext) -> tuple[WaitingInfo, ...]:
    """The newcomers that wait for approval, the first to ask first; what they say of themselves is kept on one line."""
    return tuple(
        WaitingInfo(
            peer_id=w.peer_id,
            agent_id=_newcomer(w, ctx),
            role=one_line(w.role, 64),
            kind=w.kind,
            since=rfc3339(w.since_ms),
            host=one_line(w.host, 120),
            capabilities=tuple(one_line(c, 64) for c in w.capabilities),
        )
        for w in found
    )


def _newcomer(who: CooeeWaiting, ctx: ViewContext) -> str:
    name = one_line(who.agent_id, 64)
    return ctx.roster.label(name, who.peer_id) if ctx.roster is not None else name


def find_member(text: str, known: Mapping[str, str], what: str = "member") -> str:
    """The peer id of somebody named by agent id, or by the beginning or the end of its peer id.

    Args:
        text: what a person typed.
        known: names by peer id.
        what: the sort of thing, for messages.

    Raises:
        NotFound: nobody is called so.
        InvalidInput: several are, or nothing was named.
    """
    wanted = text.strip().lstrip("…")
    if not wanted:
        raise InvalidInput(f"No {what} was named.", "Give its name, or the last six characters of its peer id.")
    found = [p for p, name in known.items() if wanted in (p, name)]
    if not found:
        # Look-alikes of the name, too: whom the eye takes for one another is named by peer id.
        look = skeleton(wanted)
        alike = [p for p, name in known.items() if skeleton(name.partition("~")[0]) == look]
        found = alike if len(alike) > 1 else []
    found = found or [p for p in known if len(wanted) >= 4 and (p.endswith(wanted) or p.startswith(wanted))]
    if len(found) > 1:
        ends = ", ".join(f"…{p[-6:]}" for p in sorted(found)[:5])
        raise InvalidInput(f"{wanted[:64]!r} names several: {ends}.", "Give the end of the peer id.")
    if not found:
        raise NotFound(
            f"No {what} is called {wanted[:64]!r}.",
            nearest(wanted, known.values(), "`chorus-hap members` lists members, `members pending` newcomers."),
        )
    return found[0]


def connections(ctx: ViewContext, entries: Entries, peers: Iterable[Peer]) -> tuple[PeerInfo, ...]:
    """The live connections, by name; those that were turned away come last."""
    counts = entry_counts(entries)
    rows = [
        PeerInfo(
            peer_id=peer.peer_id,
            agent_id=ctx.name(peer.peer_id) if ctx.member(peer.peer_id) else "",
            addresses=peer.addresses,
            direction=peer.direction,
            connected_s=max(0.0, (ctx.now_ms - peer.connected_at_ms) / 1000) if peer.connected_at_ms else 0.0,
            rtt_ms=peer.rtt_ms,
            score=peer.score,
            entries=counts[peer.peer_id],
            member=ctx.roster is not None and ctx.roster.is_member(peer.peer_id),
            refused=peer.offences,
            graylisted_s=round(peer.graylisted_s, 1),
        )
        for peer in peers
    ]
    return tuple(sorted(rows, key=lambda row: (not row.direction, row.agent_id, row.peer_id)))


def clock_state(ahead: Ahead | None) -> ClockState | None:
    """What people are told of a log that is ahead of its clock."""
    if ahead is None:
        return None
    return ClockState(
        until=rfc3339(ahead.until_ms), by_s=round(ahead.by_ms / 1000, 1), text=ahead.sentence, next=ahead.next
    )


def held_until(waiting: Waiting) -> str:
    """When the last of what waits counts, as RFC 3339; empty if nothing waits."""
    return rfc3339(waiting.until_ms) if waiting.count else ""


def log_entry(entry: Entry, ctx: ViewContext) -> LogEntry:
    """One entry as a line of the log."""
    header = entry.header
    text, missing = ctx.text(entry.key) if header.body else ("", Missing.NONE.value)
    counts_at = ctx.waits_until(entry)
    return LogEntry(
        id=entry.id,
        key=str(entry.key),
        at=ctx.at(header.hlc),
        author=ctx.name(header.author),
        type=header.type,
        via=header.via,
        text=_one_line(text) or _gist(entry, ctx),
        body=missing or "present",
        held=bool(counts_at),
        counts_at=counts_at,
        withdrawn=ctx.waiting.withdrawn(entry),
    )


def log(entries: Iterable[Entry], ctx: ViewContext) -> tuple[LogEntry, ...]:
    """Entries as lines of the log, in the order given."""
    return tuple(log_entry(entry, ctx) for entry in entries)


def find_entry(text: str, entries: Entries) -> EntryKey:
    """The key of an entry named by ``author/epoch/seq`` or by any unique prefix of a recent one's short id.

    Raises:
        NotFound: there is none.
        InvalidInput: several begin so.
    """
    match text.strip().split("/"):
        case [author, epoch, seq] if epoch.isdecimal() and seq.isdecimal() and len(epoch + seq) < 30:
            key = EntryKey(author, int(epoch), int(seq))
            if entries.entry(key) is not None:
                return key
    recent = {entry.id: entry.key for entry in entries.tail(_NAMED_ENTRIES)}
    return recent[by_prefix(text, recent, "entry")]


def find_feed(author: str, epoch: int | None, entries: Entries, ctx: ViewContext) -> tuple[str, int]:
    """The feed that was named: by default this node's, and an author's newest epoch.

    Args:
        author: a peer id, or an agent id that one member only has.

    Raises:
        NotFound: nothing of it is held here.
        InvalidInput: several members have that name.
    """
    named = author.strip() or ctx.me
    held = [head for head in entries.heads() if head.author == named]
    if not held:
        members = ctx.roster.members if ctx.roster else {}
        twins = [p for p, member in members.items() if named in (ctx.name(p), member.agent_id)]
        if len(twins) > 1:
            raise InvalidInput(f"Several members are called {named[:60]!r}.", f"Name one of {', '.join(twins)}.")
        held = [head for head in entries.heads() if head.author in twins]
    if not held:
        names = {ctx.name(head.author) for head in entries.heads()}
        raise NotFound(
            f"Nothing is held here of an author {named[:60]!r}.",
            nearest(named, sorted(names), "`chorus-hap members` lists the members."),
        )
    epochs = sorted(head.epoch for head in held)
    if epoch is not None and epoch not in epochs:
        raise NotFound(
            f"{ctx.name(held[0].author)} has no epoch {epoch} here.",
            f"Held {'is' if len(epochs) == 1 else 'are'} {', '.join(map(str, epochs[-8:]))}.",
        )
    return held[0].author, epochs[-1] if epoch is None else epoch


def entry_counts(entries: Entries) -> defaultdict[str, int]:
    """How many entries are held of each author."""
    counts: defaultdict[str, int] = defaultdict(int)
    for head in entries.heads():
        counts[head.author] += head.size
    return counts


def forked(ctx: ViewContext, entries: Entries) -> Sequence[tuple[str, int, int]]:
    """Proven forks of members' feeds: peer id, epoch, and how many entries precede the divergence."""
    found = ((head.author, head.epoch, entries.fork_limit(head.author, head.epoch)) for head in entries.heads())
    return [(author, epoch, limit) for author, epoch, limit in found if limit is not None and ctx.member(author)]


def _seen(ctx: ViewContext, hlc: str) -> str:
    return ctx.at(hlc) if hlc > ZERO else ""


def _one_line(text: str) -> str:
    line = " ".join(text[: 4 * _TEXT_CHARS].split())
    return line if len(line) <= _TEXT_CHARS else line[: _TEXT_CHARS - 1] + "…"


def _gist(entry: Entry, ctx: ViewContext) -> str:
    """What an entry without a body is about: what an act does, or the plain values of its data."""
    if entry.header.type == ACT and (held := held_act(entry)):
        return _one_line(f"{told(held.act, ctx)} (act {held.act.number})")
    data = entry.data(_Plain)
    values = data.words() if data else ()
    return _one_line(" · ".join(values))


class _Plain(msgspec.Struct, frozen=True):
    """The data fields worth a line, of whatever type the entry is."""

    choice: str = ""
    option: str = ""
    address: str = ""
    room: str = ""
    title: str = ""
    reason: str = ""
    kind: str = ""

    def words(self) -> tuple[str, ...]:
        return tuple(value for value in msgspec.structs.astuple(self) if value)
