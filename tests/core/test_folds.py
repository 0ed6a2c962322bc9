"""Which entries count: members' only, up to a revocation or a fork, from the move of a lone founder on, in any order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent_core.decisions.model import ClosePayload
from agent_core.election.acts import ACT, ACT_COMMIT, Ack, ActData, ActKind, CommitData, ack_message
from agent_core.feeds.heads import SETTLING
from agent_core.feeds.model import Draft, Entry, Head
from agent_core.feeds.withdrawals import Withdrawal, Withdrawals
from agent_core.folds import FoldSet
from agent_core.hmmm.model import HMMM_MESSAGE, MessageData
from agent_core.roster.fold import MemberPayload, RevokePayload
from agent_core.roster.model import ROSTER_SHARE, ROSTER_YIELD, Member, ShareData, YieldData
from agent_core.simulated.search_fakes import EPOCH_MS, Counted, FakeSigner, FakeVerifier, founded, make_entry

CLUSTER, FOUNDING = founded(1)
HELD_FROM_MS = EPOCH_MS + 1_000_000


class Source:
    """A store in memory whose feeds only grow."""

    def __init__(self) -> None:
        self.feeds: dict[str, list[Entry]] = {}
        self.forks: dict[str, int] = {}
        self.taken = Withdrawals()

    def heads(self) -> Sequence[Head]:
        return [Head(author=a, epoch=0, size=len(f), root="00" * 32) for a, f in self.feeds.items()]

    def entries(self, author: str, epoch: int, start: int = 0, end: int | None = None) -> Iterator[Entry]:
        return iter(self.feeds[author][start:end])

    def size(self, author: str, epoch: int) -> int:
        return len(self.feeds[author])

    def settling(self) -> Iterator[Entry]:
        return (e for feed in self.feeds.values() for e in feed if e.header.type in SETTLING)

    def fork_limit(self, author: str, epoch: int) -> int | None:
        return self.forks.get(author)

    def withdrawals(self, author: str, epoch: int) -> Sequence[Withdrawal]:
        return self.taken.of(author, epoch)

    def root_at(self, author: str, epoch: int, size: int) -> bytes | None:
        return bytes(32) if size <= len(self.feeds[author]) else None


class World:
    """One node's store and folds, and a hand that writes everybody's feeds."""

    def __init__(self) -> None:
        self.source = Source()
        self.written: dict[str, list[Entry]] = {"p0": list(FOUNDING)}
        self.number = sum(e.header.type == ACT for e in FOUNDING) - 1
        self.prev = [e for e in FOUNDING if e.header.type == ACT][-1].hash.hex()
        self.folds = FoldSet(
            CLUSTER, FakeVerifier(Counted()), self.source, lambda e: e.header.hlc >= _hlc(HELD_FROM_MS)
        )
        self.arrive(FOUNDING)

    def write(self, author: str, type: str, data: msgspec.Struct, at_ms: int = 0) -> Entry:
        feed = self.written.setdefault(author, [])
        feed.append(make_entry(author, len(feed), at_ms or EPOCH_MS + 10_000 + len(feed), Draft(type, data)))
        return feed[-1]

    def act(self, kind: str, payload: msgspec.Struct) -> list[Entry]:
        self.number += 1
        raw = msgspec.Raw(msgspec.json.encode(payload))
        data = ActData(cluster=CLUSTER, term=1, number=self.number, prev=self.prev, kind=kind, payload=raw)
        entry = self.write("p0", ACT, data)
        self.prev = entry.hash.hex()
        sig = FakeSigner("p0", Counted()).sign(ack_message(CLUSTER, 1, self.number, self.prev))
        commit = CommitData(cluster=CLUSTER, term=1, number=self.number, hash=self.prev, acks=(Ack("p0", sig),))
        return [entry, self.write("p0", ACT_COMMIT, commit)]

    def say(self, author: str, room: str = "r", at_ms: int = 0) -> Entry:
        return self.write(author, HMMM_MESSAGE, MessageData(room=room, intent="update"), at_ms)

    def arrive(self, entries: Sequence[Entry]) -> None:
        """Stored, then folded."""
        for entry in entries:
            feed = self.source.feeds.setdefault(entry.header.author, [])
            assert entry.header.seq == len(feed)
            feed.append(entry)
        self.folds.apply(entries)

    @property
    def said(self) -> set[str]:
        rooms = self.folds.rooms.rooms
        return {str(post.key) for room in rooms.values() for post in room.posts.values()}


def _hlc(ms: int) -> str:
    return f"{ms:012x}.0000"


def admit(world: World, peer_id: str) -> list[Entry]:
    return world.act(ActKind.MEMBER_ADD, MemberPayload(member=Member(peer_id=peer_id, agent_id=peer_id)))


def test_a_strangers_entries_count_once_it_is_a_member() -> None:
    world = World()
    early = world.say("b")
    world.arrive([early])
    assert world.said == set()
    world.arrive(admit(world, "b"))
    assert world.said == {str(early.key)}
    late = world.say("b")
    world.arrive([late])
    assert world.said == {str(early.key), str(late.key)}
    assert world.folds.folded("b", 0) == 2


def test_a_revocation_takes_back_what_lies_beyond_its_cut() -> None:
    world = World()
    world.arrive(admit(world, "b"))
    first, second = world.say("b"), world.say("b")
    world.arrive([first, second])
    cut = (Head(author="b", epoch=0, size=1, root="00" * 32),)
    world.arrive(world.act(ActKind.MEMBER_REVOKE, RevokePayload(peer_id="b", heads=cut)))
    assert world.said == {str(first.key)}


def test_a_fork_counts_up_to_its_divergence() -> None:
    world = World()
    world.arrive(admit(world, "b"))
    first, second = world.say("b"), world.say("b")
    world.arrive([first, second])
    world.source.forks["b"] = 1
    world.folds.forked("b", 0)
    assert world.said == {str(first.key)}
    world.arrive([world.say("b")])
    assert world.said == {str(first.key)}


def test_what_a_lone_founder_wrote_before_it_moved_stays_its_own() -> None:
    world = World()
    world.arrive(admit(world, "b"))
    world.arrive([world.say("b")])
    moved = world.write("b", ROSTER_YIELD, YieldData(old="c0", new=CLUSTER, act=1))
    after = world.say("b")
    world.arrive([moved, after])
    assert world.said == {str(after.key)}
    elsewhere = world.write("b", ROSTER_YIELD, YieldData(old=CLUSTER, new="c9", act=1))
    world.arrive([elsewhere])
    assert world.said == {str(after.key)}


def test_what_a_member_wrote_before_it_moved_counts_once_it_says_so() -> None:
    world = World()
    world.arrive(admit(world, "b"))
    before = world.say("b")
    moved = world.write("b", ROSTER_YIELD, YieldData(old="c0", new=CLUSTER, act=1))
    after = world.say("b")
    world.arrive([before, moved, after])
    assert world.said == {str(after.key)}
    world.arrive([world.write("b", ROSTER_SHARE, ShareData(cluster="c9"))])
    assert world.said == {str(after.key)}, "that was said to others"
    world.arrive([world.write("b", ROSTER_SHARE, ShareData(cluster=CLUSTER))])
    assert world.said == {str(before.key), str(after.key)}


def test_what_a_member_writes_in_another_cluster_doesnt_count_until_it_is_back() -> None:
    world = World()
    world.arrive(admit(world, "b"))
    here = world.say("b")
    gone = world.write("b", ROSTER_YIELD, YieldData(old=CLUSTER, new="c9", act=1))
    elsewhere = world.say("b")
    world.arrive([here, gone, elsewhere])
    assert world.said == {str(here.key)}
    back = world.write("b", ROSTER_YIELD, YieldData(old="c9", new=CLUSTER, act=1))
    again = world.say("b")
    world.arrive([back, again])
    assert world.said == {str(here.key), str(again.key)}
    assert world.folds.folded("b", 0) == 5


def evict(world: World, author: str, size: int) -> list[Entry]:
    """A committed eviction that lets so much of a feed stand."""
    heads = (Head(author=author, epoch=0, size=size, root="00" * 32),)
    return world.act(ActKind.MEMBER_EVICT, RevokePayload(peer_id=author, heads=heads))


def test_who_moved_into_another_cluster_has_left_until_it_is_evicted_or_back() -> None:
    world = World()
    world.arrive(admit(world, "b"))
    moves = [("c0", "c9"), ("c9", CLUSTER), (CLUSTER, "c1"), ("c1", "c2"), ("c2", CLUSTER), (CLUSTER, "c3")]
    left = []
    for old, new in moves:
        world.arrive([world.write("b", ROSTER_YIELD, YieldData(old=old, new=new, act=1))])
        left.append(world.folds.moved_out.get("b"))
    assert left == [None, None, "c1", "c1", None, "c3"]
    world.arrive(evict(world, "b", len(moves)))
    assert world.folds.moved_out == {}
    world.arrive(admit(world, "b"))
    assert world.folds.moved_out == {}, "the entry of its coming back is still on its way"
    world.arrive([world.write("b", ROSTER_YIELD, YieldData(old="c3", new=CLUSTER, act=1))])
    assert world.folds.moved_out == {}
    world.arrive([world.write("b", ROSTER_YIELD, YieldData(old=CLUSTER, new="c4", act=1))])
    assert world.folds.moved_out == {"b": "c4"}
    again = FoldSet(CLUSTER, FakeVerifier(Counted()), world.source)
    assert again.moved_out == {"b": "c4"}, "read anew it is the same"


def close(world: World, author: str, size: int) -> list[Entry]:
    """A committed close whose cut names so much of a feed."""
    cut = (Head(author=author, epoch=0, size=size, root="00" * 32),)
    return world.act(ActKind.DECISION_CLOSE, ClosePayload(decision="ab" * 32, cut=cut))


def test_who_moved_in_once_hides_nothing_by_saying_so_again() -> None:
    world = World()
    world.arrive(admit(world, "b"))
    world.arrive([world.write("b", ROSTER_YIELD, YieldData(old="c0", new=CLUSTER, act=1)), world.say("b")])
    before = world.said
    rooms = world.folds.rooms
    world.arrive([world.write("b", ROSTER_YIELD, YieldData(old="c0", new=CLUSTER, act=1))])
    assert world.said == before
    assert world.folds.rooms is rooms, "a member made everybody fold everything anew"


def test_what_a_close_counted_is_not_taken_back_by_a_yield_written_later() -> None:
    world = World()
    world.arrive(admit(world, "b"))
    vote = world.say("b")
    world.arrive([vote])
    world.arrive(close(world, "b", 1))
    world.arrive([world.write("b", ROSTER_YIELD, YieldData(old="c0", new=CLUSTER, act=1))])
    assert world.said == {str(vote.key)}
    assert world.folds.folded("b", 0) == 2


def test_what_a_close_counted_is_not_taken_back_by_a_fork_shown_later() -> None:
    world = World()
    world.arrive(admit(world, "b"))
    first, vote, after = world.say("b"), world.say("b"), world.say("b")
    world.arrive([first, vote, after])
    world.arrive(close(world, "b", 2))
    world.source.forks["b"] = 0
    world.folds.forked("b", 0)
    assert world.said == {str(first.key), str(vote.key)}


def test_what_a_close_counted_is_folded_where_the_fork_was_known_first() -> None:
    world = World()
    world.arrive(admit(world, "b"))
    world.source.forks["b"] = 0
    vote = world.say("b")
    world.arrive([vote])
    assert world.said == set()
    world.arrive(close(world, "b", 1))
    assert world.said == {str(vote.key)}


def test_what_a_close_counted_is_not_taken_back_by_a_revocation() -> None:
    world = World()
    world.arrive(admit(world, "b"))
    vote = world.say("b")
    world.arrive([vote, world.say("b")])
    world.arrive(close(world, "b", 1))
    world.arrive(world.act(ActKind.MEMBER_REVOKE, RevokePayload(peer_id="b", heads=())))
    assert world.said == {str(vote.key)}


def test_a_held_entry_and_what_follows_it_wait() -> None:
    world = World()
    now, ahead = world.say("p0"), world.say("p0", at_ms=HELD_FROM_MS + 5)
    world.arrive([now, ahead])
    assert world.said == {str(now.key)}
    assert world.folds.folded("p0", 0) == len(FOUNDING) + 1


@given(st.integers(0, 10_000))
def test_the_folds_depend_on_the_set_of_entries_only(seed: int) -> None:
    rng = random.Random(seed)
    story = World()
    for who in ("b", "c"):
        story.say(who)
    admit(story, "b")
    story.say("b")
    story.write("b", ROSTER_YIELD, YieldData(old="c0", new=CLUSTER, act=1))
    story.say("b")
    admit(story, "c")
    story.say("c")
    close(story, "c", 2)
    story.write("c", ROSTER_YIELD, YieldData(old="c0", new=CLUSTER, act=1))
    admit(story, "d")
    story.say("d")
    story.write("d", ROSTER_YIELD, YieldData(old=CLUSTER, new="c9", act=1))
    story.say("d")
    story.act(
        ActKind.MEMBER_REVOKE, RevokePayload(peer_id="c", heads=(Head(author="c", epoch=0, size=1, root="00" * 32),))
    )
    story.say("p0")

    node = World()
    waiting = {author: feed[len(node.source.feeds.get(author, ())) :] for author, feed in story.written.items()}
    while waiting := {a: rest for a, rest in waiting.items() if rest}:
        author = rng.choice(sorted(waiting))
        count = rng.randint(1, len(waiting[author]))
        node.arrive(waiting[author][:count])
        waiting[author] = waiting[author][count:]

    afresh = FoldSet(CLUSTER, FakeVerifier(Counted()), node.source)
    assert node.folds.rooms.canonical() == afresh.rooms.canonical()
    assert node.said == {"b/0/3", "c/0/0", "c/0/1", "d/0/0", str(story.written["p0"][-1].key)}
