"""The console's sentences about the truth: who leads, what works, how the start goes. Pure functions of the store."""

from __future__ import annotations

from dataclasses import dataclass

from chorus_hap.store import Store
from chorus_hap.themes import Glyphs
from chorus_hap.widgets.lines import Line, Span, ago, clock, cut, plural, short, spread, width_of

#: The start-up walk (SPEC section 16).
STAGES = ("starting", "store", "identity", "listening", "looking for peers", "member", "ready")


def leader_words(store: Store, glyphs: Glyphs, name_width: int = 24, brief: bool = False) -> Line:
    """Who leads: a fact while a lease confirms it, else what was last known and how old that is."""
    leader, certain = store.leader()
    if leader is None:
        return [("no leader", "warn")]
    name = cut(leader.agent_id or leader.peer_id[-6:], name_width)
    own = store.status is not None and store.status.peer_id == leader.peer_id
    if certain:
        return [
            (f"{glyphs.lead} ", "warn"),
            (name, "text bold"),
            (" (you" if own else " (", "dim"),
            (", " if own else "", "dim"),
            (f"term {leader.term}, {short(leader.lease_age_s) if brief else ago(leader.lease_age_s)})", "dim"),
        ]
    if brief:
        return [("last known ", "warn"), (name, "warn bold"), (f", {short(leader.lease_age_s)} ago", "warn")]
    heard = " (you), sure until" if own else ", heard"
    return [("last known leader ", "warn"), (name, "warn bold"), (f"{heard} {ago(leader.lease_age_s)} ago", "warn")]


def still_works(store: Store) -> str:
    """What works and what doesn't without a majority of the voters; empty when there is one."""
    status = store.status
    if status is None or store.away or not status.voters.total or status.voters.spare >= 0:
        return ""
    if status.state in ("idle", "discovering"):  # it has only begun to look for them
        return ""
    voters = status.voters
    return (
        f"Only {voters.reachable} of {plural(voters.total, 'voter')} can be reached; {voters.quorum} make a majority. "
        "Reading, messages, votes and addresses work and are kept; they reach the others when they are back. "
        "Nobody can be elected, no decision closes and nobody is admitted until then."
    )


def voters_words(store: Store) -> str:
    """How near the cluster is to not being able to decide."""
    status = store.status
    if status is None or not status.voters.total:
        return "no voters yet"
    voters = status.voters
    head = f"voters {voters.reachable}/{voters.total} reachable"
    if store.away:
        return f"{head} when the node last told, {ago(store.age_s('status'))} ago"
    if voters.spare < 0:
        return f"{head}; {plural(-voters.spare, 'more is', 'more are')} needed for a majority"
    if voters.total == 1:
        return f"{head}; you alone decide"
    if voters.spare == 0:
        return f"{head}; losing 1 more stops elections"
    return f"{head}; {voters.spare} more may go before elections stop"


def start_words(store: Store) -> str:
    """Where the start is, one short phrase; empty once the node is ready."""
    connection = store.connection
    status = store.status
    age = store.clock() - connection.since
    if connection.state == "starting":
        return connection.reason or "starting"
    if connection.state == "silent":
        return f"node silent for {ago(store.silence_s)}"
    if connection.state == "away":
        return f"node away for {ago(age)}"
    if connection.state in ("failed", "stopped"):
        return "no node"
    if status is None:
        return "attached"
    return "" if status.stage == "ready" else status.stage


@dataclass(frozen=True, slots=True)
class _Part:
    full: Line
    brief: Line


def state_span(store: Store) -> Span:
    """The node's place in the election; nobody is called a follower of a leader that no lease confirms."""
    status = store.status
    if status is None:
        return ("", "")
    if status.state == "no_quorum" or (status.voters.total and status.voters.spare < 0 and status.state == "follower"):
        return ("no majority", "bad bold")
    if status.state == "follower" and not store.leader()[1]:
        return ("no leader", "warn")
    return (status.state.replace("_", " "), "good" if status.state in ("leader", "follower") else "warn")


def status_line(store: Store, width: int, glyphs: Glyphs, read_only: bool = False) -> Line:
    """``you · cluster · leader (term, lease age) · voters reachable · peers · node state · !n`` in ``width`` columns."""
    status = store.status
    waiting = len(store.items("attention"))
    right: Line = [(f"!{waiting} ", "warn bold")] if waiting else []
    if read_only:
        right.insert(0, (" read-only ", "warn"))
    stage = start_words(store)
    if status is None:
        line: Line = [(" chorus-hap ", "text bold"), (" · ", "faint"), (stage or "starting", "accent")]
        return spread(line, right, width)
    name_width = 24 if width >= 110 else 14
    state: Span
    if store.away:
        state = (stage, "bad bold")
    elif status.offline or (store.connection.state == "starting" and store.as_of):
        state = (f"{stage or 'offline'}, as of {clock(store.as_of or status.as_of, seconds=False)}", "accent")
    elif stage:
        state = (stage, "bad bold" if stage == "degraded" else "accent")
    elif status.underway:
        state = (status.underway[0].brief, "accent")
    else:
        state = state_span(store)
    if status.ahead is not None and not store.away:
        return _ahead_line(status.ahead.text, cut(status.agent_id, 10), right, width)
    voters = status.voters
    voter_role = "bad bold" if voters.spare < 0 else "warn" if voters.spare == 0 and voters.total > 1 else "text"
    brief_state = (state[0].removeprefix("node "), state[1]) if store.away else state
    parts = [
        _Part([(cut(status.agent_id, name_width), "you bold")], [(cut(status.agent_id, 10), "you bold")]),
        _Part([(cut(status.network or "no cluster", name_width), "text")], [(cut(status.network or "-", 8), "text")]),
        _Part(leader_words(store, glyphs, name_width), leader_words(store, glyphs, 12, brief=True)),
        _Part(
            [("voters ", "dim"), (f"{voters.reachable}/{voters.total}", voter_role)],
            [(f"v{voters.reachable}/{voters.total}", voter_role)],
        ),
        _Part([(plural(status.peers, "peer"), "text")], [(f"p{status.peers}", "text")]),
        _Part([state], [brief_state]),
    ]
    if not status.cluster_id and status.network:
        parts[1] = _Part([(cut(status.network, name_width), "text"), (" (not a member)", "warn")], parts[1].brief)
    room = width - width_of(right) - 1
    full = _joined([p.full for p in parts])
    for shortened in (2, 1, 0, 3, 4, 5):
        if width_of(full) <= room:
            break
        parts[shortened] = _Part(parts[shortened].brief, parts[shortened].brief)
        full = _joined([p.full for p in parts])
    for dropped in (1, 3):  # the network, then the peers: the node's state is the last word and must be read
        if width_of(full) > room:
            del parts[dropped]
            full = _joined([p.full for p in parts])
    return spread(full, right, width)


def _ahead_line(sentence: str, name: str, right: Line, width: int) -> Line:
    """A log that is ahead of its clock: nothing else matters as much, so the sentence has the line."""
    room = width - width_of(right) - 1
    line: Line = [(" ", ""), (name, "you bold"), (" · ", "faint"), (sentence, "bad bold")]
    if width_of(line) > room:
        line = [(" ", ""), (cut(sentence, max(1, room - 1)), "bad bold")]
    return spread(line, right, width)


def _joined(parts: list[Line]) -> Line:
    line: Line = [(" ", "")]
    for number, part in enumerate(parts):
        if number:
            line.append((" · ", "faint"))
        line += part
    return line
