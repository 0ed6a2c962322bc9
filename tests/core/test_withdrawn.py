"""What an author withdrew with its clock counts nowhere, in whatever order it comes, save what a committed cut names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.decisions.model import DECISION_VOTE, ClosePayload, VoteData
from agent_core.election.acts import ACT, ACT_COMMIT, Ack, ActData, ActKind, CommitData, ack_message
from agent_core.feeds.heads import FEED_EPOCH, SETTLING, EpochData, Withdrawn
from agent_core.feeds.model import Draft, Entry, Head
from agent_core.feeds.withdrawals import Withdrawal, Withdrawals
from agent_core.folds import FoldSet
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData
from agent_core.roster.fold import MemberPayload, RevokePayload
from agent_core.roster.model import Member
from agent_core.simulated.search_fakes import EPOCH_MS, Counted, FakeSigner, FakeVerifier, founded, make_entry
from agent_core.ucxl.model import UCXL_PUT, PutData

CLUSTER, FOUNDING = founded(1)
NOW_MS, LATER_MS = EPOCH_MS + 1_000_000, EPOCH_MS + 4_600_000
DECISION = "ab" * 32
PLACE = "ucxl://b:agent@p:t/x"


class Source:
    """A store in memory, of several epochs."""

    def __init__(self) -> None:
        self.feeds: dict[tuple[str, int], list[Entry]] = {}
        self.taken = Withdrawals()
        self.forks: dict[tuple[str, int], int] = {}

    def heads(self) -> Sequence[Head]:
        return [Head(author=a, epoch=e, size=len(f), root="00" * 32) for (a, e), f in self.feeds.items()]

    def entries(self, author: str, epoch: int, start: int = 0, end: int | None = None) -> Iterator[Entry]:
        return iter(self.feeds[author, epoch][start:end])

    def size(self, author: str, epoch: int) -> int:
        return len(self.feeds.get((author, epoch), ()))

    def settling(self) -> Iterator[Entry]:
        return (e for feed in self.feeds.values() for e in feed if e.header.type in SETTLING)

    def fork_limit(self, author: str, epoch: int) -> int | None:
        return self.forks.get((author, epoch))

    def withdrawals(self, author: str, epoch: int) -> Sequence[Withdrawal]:
        return self.taken.of(author, epoch)

    def root_at(self, author: str, epoch: int, size: int) -> bytes | None:
        return bytes(32) if size <= self.size(author, epoch) else None

    def store(self, entry: Entry) -> None:
        feed = self.feeds.setdefault(entry.key[:2], [])
        assert entry.header.seq == len(feed)
        feed.append(entry)
        if entry.header.seq == 0:
            self.taken.take(entry)


def an_act(number: int, prev: str, seq: int, kind: str, payload: msgspec.Struct) -> list[Entry]:
    raw = msgspec.Raw(msgspec.json.encode(payload))
    data = ActData(cluster=CLUSTER, term=1, number=number, prev=prev, kind=kind, payload=raw)
    entry = make_entry("p0", seq, EPOCH_MS + seq, Draft(ACT, data))
    hash = entry.hash.hex()
    sig = FakeSigner("p0", Counted()).sign(ack_message(CLUSTER, 1, number, hash))
    commit = CommitData(cluster=CLUSTER, term=1, number=number, hash=hash, acks=(Ack("p0", sig),))
    return [entry, make_entry("p0", seq + 1, EPOCH_MS + seq + 1, Draft(ACT_COMMIT, commit))]


def said(room: str) -> Draft:
    return Draft(HMMM_MESSAGE, MessageData(room=room, intent="update"))


#: What is withdrawn: one of each kind that is folded.
KINDS = (
    said("r"),
    Draft(DECISION_VOTE, VoteData(decision=DECISION, choice="approve")),
    Draft(UCXL_PUT, PutData(address=PLACE)),
)
OLD = [make_entry("b", 0, NOW_MS - 500, said("r"))]
OLD += [make_entry("b", n + 1, LATER_MS + n, draft) for n, draft in enumerate(KINDS)]
OPENING = Draft(FEED_EPOCH, EpochData(reason="clock", withdrawn=(Withdrawn(epoch=0, seq=1, size=4),)))
NEW = [make_entry("b", 0, NOW_MS, OPENING, 1)]
NEW += [make_entry("b", n + 1, NOW_MS + 1 + n, draft, 1) for n, draft in enumerate(KINDS)]
PREV = [e for e in FOUNDING if e.header.type == ACT][-1].hash.hex()
ADMIT = an_act(1, PREV, len(FOUNDING), ActKind.MEMBER_ADD, MemberPayload(member=Member(peer_id="b", agent_id="b")))
CUT = ClosePayload(decision=DECISION, cut=(Head(author="b", epoch=0, size=3, root="00" * 32),))
CLOSE = an_act(2, ADMIT[0].hash.hex(), len(FOUNDING) + 2, ActKind.DECISION_CLOSE, CUT)


class World:
    def __init__(self, wall_ms: int = NOW_MS) -> None:
        self.source, self.wall_ms = Source(), wall_ms
        for entry in FOUNDING:
            self.source.store(entry)
        self.folds = FoldSet(CLUSTER, FakeVerifier(Counted()), self.source, self.held)

    def held(self, entry: Entry) -> bool:
        return int(entry.header.hlc[:12], 16) > self.wall_ms + 120_000

    def arrive(self, *entries: Entry) -> None:
        for entry in entries:
            self.source.store(entry)
        self.folds.apply(entries)

    def counted(self) -> list[tuple[int, int]]:
        """Epoch and number of all that counts in any fold."""
        folds = self.folds
        keys = [post.key for room in folds.rooms.rooms.values() for post in room.posts.values()]
        keys += [ballot.key for ballot in folds.decisions.votes(DECISION)]
        keys += [v.key for graph in folds.ucxl.graphs.values() for v in graph.versions.values()]
        return sorted((key.epoch, key.seq) for key in keys)


@given(st.permutations([0] * len(OLD) + [1] * len(NEW) + [2] + [3]), st.sampled_from([NOW_MS, LATER_MS + 3_600_000]))
def test_any_order_comes_to_the_same(order: list[int], wall_ms: int) -> None:
    world = World(wall_ms)
    feeds = {0: iter(OLD), 1: iter(NEW)}
    acts = iter((ADMIT, CLOSE))
    for which in order:
        world.arrive(*([next(feeds[which])] if which in feeds else next(acts)))
    # The cut of the committed close names two of the withdrawn ones: they have decided something.
    assert world.counted() == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]
    again = FoldSet(CLUSTER, FakeVerifier(Counted()), world.source, world.held)
    assert again.rooms.canonical() == world.folds.rooms.canonical()


@pytest.mark.parametrize("wall_ms", [NOW_MS, LATER_MS, LATER_MS + 3_600_000])
def test_without_a_cut_nothing_of_it_counts_at_any_time(wall_ms: int) -> None:
    world = World(wall_ms)
    world.arrive(*ADMIT)
    world.arrive(*OLD)
    world.arrive(*NEW)
    assert world.counted() == [(0, 0), (1, 1), (1, 2), (1, 3)]


def test_a_wall_that_is_put_back_takes_back_what_waits_again() -> None:
    world = World(LATER_MS)
    world.arrive(*ADMIT)
    world.arrive(*OLD)
    assert len(world.counted()) == 4
    world.wall_ms = NOW_MS
    world.folds.put_back()
    assert world.counted() == [(0, 0)]


def test_what_an_epoch_that_doesnt_stand_withdraws_stands() -> None:
    world = World(LATER_MS)
    world.arrive(*ADMIT)
    world.arrive(*OLD)
    cut = (Head(author="b", epoch=0, size=4, root="00" * 32),)
    world.arrive(
        *an_act(2, ADMIT[0].hash.hex(), len(FOUNDING) + 2, ActKind.MEMBER_REVOKE, RevokePayload(peer_id="b", heads=cut))
    )
    world.arrive(*NEW)
    assert world.counted() == [(0, 0), (0, 1), (0, 2), (0, 3)], "it was revoked before it renewed its log"


def test_only_earlier_epochs_are_withdrawn_from_and_never_their_first_entry() -> None:
    taken = Withdrawals()
    of = tuple(Withdrawn(epoch=e, seq=0, size=9) for e in (0, 1, 2, 3, -1))
    taken.take(make_entry("b", 0, NOW_MS, Draft(FEED_EPOCH, EpochData(reason="clock", withdrawn=of)), 2))
    assert taken.limit("b", 0) == 0
    assert taken.limit("b", 1) == 1
    assert all(taken.limit("b", e) is None for e in (2, 3, -1))
