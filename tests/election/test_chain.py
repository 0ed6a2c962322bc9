"""The chain of acts: a pure function of the set of acts and acknowledgements held."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_core.election.acts import ACT, ACT_COMMIT, Ack, ActData, CommitData, ack_message
from agent_core.election.chain import ActChain, held_act, parse_act
from agent_core.feeds.model import Draft, Entry
from agent_core.roster.fold import GenesisPayload, MemberPayload, PolicyPayload, VoterPayload
from agent_core.roster.model import Member, Policy
from agent_core.simulated.search_fakes import EPOCH_MS, Counted, FakeSigner, FakeVerifier, founded, make_entry
from tests.support.permute import assert_order_free

CLUSTER, FEED = founded(3)


def make(cluster: str = CLUSTER) -> ActChain:
    return ActChain(cluster, FakeVerifier(Counted()))


class Writer:
    """Writes acts and commits into one feed."""

    def __init__(self, author: str, seq: int = 0) -> None:
        self.author, self.seq = author, seq

    def put(self, type: str, data: msgspec.Struct) -> Entry:
        entry = make_entry(self.author, self.seq, EPOCH_MS + self.seq, Draft(type, data))
        self.seq += 1
        return entry

    def act(self, number: int, prev: str, kind: str, payload: msgspec.Struct, term: int = 1) -> Entry:
        raw = msgspec.Raw(msgspec.json.encode(payload))
        return self.put(ACT, ActData(cluster=CLUSTER, term=term, number=number, prev=prev, kind=kind, payload=raw))

    def commit(self, act: Entry, *voters: str, number: int | None = None, forged: bool = False) -> Entry:
        held = held_act(act)
        assert held is not None
        at = held.number if number is None else number
        message = ack_message(CLUSTER, held.term, at, held.hash)
        acks = tuple(Ack(v, b"forged" if forged else FakeSigner(v, Counted()).sign(message)) for v in voters)
        return self.put(ACT_COMMIT, CommitData(cluster=CLUSTER, term=held.term, number=at, hash=held.hash, acks=acks))


def base() -> tuple[ActChain, Writer, int, str]:
    chain = make()
    chain.apply(FEED)
    return chain, Writer("p1"), chain.tip_number + 1, chain.tip_hash


POLICY = PolicyPayload(policy=Policy.INVITE)


def test_the_founders_feed_makes_three_voters() -> None:
    chain, *_ = base()
    assert chain.voters == ("p0", "p1", "p2")
    assert chain.roster is not None
    assert chain.roster.cluster_id == CLUSTER
    assert [a.number for a in chain.committed] == list(range(5))
    assert chain.roster_at(2) is not None
    assert chain.roster_at(2).voters == ("p0", "p1")  # type: ignore[union-attr]
    assert chain.roster_at(99) is None
    assert chain.promoted_at("p2") == 4


def test_a_commit_needs_a_majority_of_true_signatures() -> None:
    chain, writer, number, prev = base()
    act = writer.act(number, prev, "policy", POLICY)
    chain.apply([act, writer.commit(act, "p0"), writer.commit(act, "p0", "p1", forged=True)])
    assert chain.tip_number == number - 1
    chain.apply([writer.commit(act, "stranger", "other", "third")])
    assert chain.tip_number == number - 1
    chain.apply([writer.commit(act, "p1")])  # together with the first they are a majority
    assert chain.tip_number == number


def test_a_later_commit_covers_what_precedes_it_by_the_links() -> None:
    chain, writer, number, prev = base()
    first = writer.act(number, prev, "policy", POLICY)
    second = writer.act(number + 1, first.hash.hex(), "policy", POLICY, term=2)
    chain.apply([writer.commit(second, "p0", "p2"), second])
    assert chain.tip_number == number - 1
    chain.apply([first])
    assert [a.hash for a in chain.committed[-2:]] == [first.hash.hex(), second.hash.hex()]


def test_voters_change_when_the_voters_before_agreed() -> None:
    chain, writer, number, prev = base()
    drop = writer.act(number, prev, "voter.remove", VoterPayload(peer_id="p2"))
    chain.apply([drop, writer.commit(drop, "p0", "p2")])
    assert chain.voters == ("p0", "p1")
    after = writer.act(number + 1, drop.hash.hex(), "policy", POLICY)
    chain.apply([after, writer.commit(after, "p0")])
    assert chain.tip_number == number


def test_two_uncommitted_changes_of_voters_are_not_taken_in_one_step() -> None:
    chain, writer, number, prev = base()
    one = writer.act(number, prev, "voter.remove", VoterPayload(peer_id="p2"))
    two = writer.act(number + 1, one.hash.hex(), "voter.remove", VoterPayload(peer_id="p1"))
    chain.apply([one, two, writer.commit(two, "p0", "p1", "p2")])
    assert chain.tip_number == number - 1
    chain.apply([writer.commit(one, "p0", "p1")])
    assert chain.voters == ("p0",)


def test_an_act_of_another_cluster_or_place_is_nothing() -> None:
    chain, writer, number, prev = base()
    wrong_place = writer.act(number + 3, prev, "policy", POLICY)
    chain.apply([wrong_place, writer.commit(wrong_place, "p0", "p1")])
    act = writer.act(number, prev, "policy", POLICY)
    chain.apply([act, writer.commit(act, "p0", "p1", number=number + 1)])
    assert chain.tip_number == number - 1


def test_adopting_a_cluster_looks_again_at_what_is_held() -> None:
    chain = make("")
    chain.apply(FEED)
    assert chain.roster is None
    chain.adopt(CLUSTER)
    expected = make()
    expected.apply(FEED)
    assert chain.canonical() == expected.canonical()


def test_what_came_by_the_stream_is_kept_apart_until_its_entry_comes() -> None:
    chain, writer, number, prev = base()
    act = writer.act(number, prev, "policy", POLICY)
    commit = writer.commit(act, "p0", "p1")
    held, data = parse_act(act.raw), commit.data(CommitData)
    assert held is not None
    assert data is not None
    chain.learn([held], [data])
    assert chain.tip_number == number
    assert chain.loose() == ((act.raw,), (data,))
    again = make()
    again.apply(FEED)
    again.learn([held], [data])
    assert again.canonical() == chain.canonical()
    chain.apply([act, commit])
    assert chain.loose() == ((), ())


def test_what_no_commit_proves_is_not_kept() -> None:
    chain, writer, number, prev = base()
    held = parse_act(writer.act(number, prev, "policy", POLICY).raw)
    assert held is not None
    chain.learn([held], [])
    assert chain.get(held.hash) is None


def test_a_void_act_that_came_with_the_one_that_won_is_let_go() -> None:
    chain, writer, number, prev = base()
    won = writer.act(number, prev, "policy", POLICY)
    void = writer.act(number, prev, "policy", PolicyPayload(policy=Policy.APPROVE))
    data = writer.commit(won, "p0", "p1").data(CommitData)
    held = [parse_act(won.raw), parse_act(void.raw)]
    assert data is not None
    chain.learn([h for h in held if h is not None], [data])
    assert chain.tip_hash == won.hash.hex()
    assert chain.get(void.hash.hex()) is None


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"null", b'{"v":1}', b"[" * 5000, FEED[2].raw],
    ids=["empty", "object", "null", "v", "deep", "commit"],
)
def test_noise_is_no_act(raw: bytes) -> None:
    assert parse_act(raw) is None


def _entries() -> list[Entry]:
    _, writer, number, prev = base()
    entries = list(FEED)
    two = Writer("p2")
    voters: tuple[str, ...] = ("p0", "p1", "p2")
    payloads: list[tuple[str, msgspec.Struct, tuple[str, ...]]] = [
        ("member.add", MemberPayload(member=Member(peer_id="p3", agent_id="d")), voters),
        ("voter.add", VoterPayload(peer_id="p3"), (*voters, "p3")),
        ("policy", POLICY, (*voters, "p3")),
        ("voter.remove", VoterPayload(peer_id="p0"), ("p1", "p2", "p3")),
        ("policy", POLICY, ("p1", "p2", "p3")),
    ]
    for i, (kind, payload, after) in enumerate(payloads):
        author = writer if i % 2 else two
        act = author.act(number, prev, kind, payload, term=1 + i // 2)
        void = two.act(number, prev, "policy", PolicyPayload(policy=Policy.APPROVE), term=1 + i // 2)
        entries += [act, void, author.commit(act, *voters), two.commit(void, voters[0])]
        number, prev, voters = number + 1, act.hash.hex(), after
    return entries


ENTRIES = _entries()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_order_of_arrival_is_nothing(data: st.DataObject) -> None:
    whole = make()
    whole.apply(ENTRIES)
    assert whole.tip_number == 9
    assert whole.voters == ("p1", "p2", "p3")
    assert_order_free(make, ENTRIES, data)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_part_proves_a_prefix_of_what_the_whole_proves(data: st.DataObject) -> None:
    whole, part = make(), make()
    whole.apply(ENTRIES)
    part.apply(data.draw(st.lists(st.sampled_from(ENTRIES))))
    assert [a.hash for a in part.committed] == [a.hash for a in whole.committed[: len(part.committed)]]


def anew(chain: ActChain, writer: Writer, last: int, last_hash: str = "") -> Entry:
    """The genesis of a cluster in place of another one, of which an act is named as the last."""
    founder = Member(peer_id=writer.author, agent_id=writer.author)
    genesis = GenesisPayload(
        random="11" * 32,
        network="search",
        policy=Policy.OPEN,
        founder=founder,
        replaces=chain.cluster_id,
        last=last,
        last_hash=last_hash or chain.held(last).hash,
    )
    raw = msgspec.Raw(msgspec.json.encode(genesis))
    return writer.put(ACT, ActData(cluster="", term=0, number=0, kind="genesis", payload=raw))


def test_a_cluster_in_place_of_a_lost_one_takes_over_its_members_and_acts_but_no_voter() -> None:
    chain, writer, number, _ = base()
    genesis = anew(chain, writer, number - 1)
    new = make(genesis.hash.hex())
    new.apply([genesis])
    assert new.roster is None, "what it replaces isn't proven here yet"
    new.apply(FEED)
    assert new.roster is not None
    assert set(new.roster.members) == {"p0", "p1", "p2"}
    assert new.voters == ("p1",)
    assert new.lineage == {CLUSTER, new.cluster_id}
    assert [a.number for a in new.acts] == [*range(number), 0]
    assert len(new.committed) == 1
    assert new.roster_of(CLUSTER, 2) == chain.roster_at(2)
    assert new.roster_of("ab" * 32, 2) is None


def test_acts_beyond_the_one_that_a_new_genesis_names_dont_count() -> None:
    chain, writer, number, prev = base()
    cut = number - 2
    genesis = anew(chain, writer, cut)
    later = writer.act(number, prev, "policy", POLICY)
    new = make(genesis.hash.hex())
    new.apply([*FEED, later, writer.commit(later, "p0", "p1"), genesis])
    assert [a.number for a in new.acts] == [*range(cut + 1), 0]
    assert new.roster_of(CLUSTER, cut + 1) is None
    assert new.roster is not None
    assert new.roster.policy is Policy.OPEN


def test_a_new_genesis_that_names_an_act_which_never_was_founds_nothing() -> None:
    chain, writer, number, _ = base()
    genesis = anew(chain, writer, number - 1, "cd" * 32)
    new = make(genesis.hash.hex())
    new.apply([*FEED, genesis])
    assert new.roster is None


def test_a_cluster_recovered_twice_has_both_in_its_lineage() -> None:
    chain, writer, number, _ = base()
    first = anew(chain, writer, number - 1)
    second_chain = make(first.hash.hex())
    second_chain.apply([*FEED, first])
    second = anew(second_chain, Writer("p2"), 0)
    new = make(second.hash.hex())
    new.apply([second, first, *FEED])
    assert new.voters == ("p2",)
    assert new.lineage == {CLUSTER, first.hash.hex(), second.hash.hex()}
    assert [a.number for a in new.acts] == [*range(number), 0, 0]
    assert new.roster_of(CLUSTER, 1) == chain.roster_at(1)
