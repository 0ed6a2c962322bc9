"""Acts to rosters: one voter at most changes with each, and what can't be read changes nothing."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.election.acts import Act, ActKind
from agent_core.feeds.model import Head
from agent_core.roster.fold import (
    GenesisPayload,
    MemberPayload,
    PolicyPayload,
    RevokePayload,
    VoterPayload,
    after,
)
from agent_core.roster.model import Authority, Member, Policy, Roster
from tests.support.clusters import act

FOUNDER = Member(peer_id="p0", agent_id="founder", authority=Authority.MASTER)
GENESIS = act(0, ActKind.GENESIS, GenesisPayload(random="00", network="n", policy=Policy.OPEN, founder=FOUNDER), "c1")
NAMES = ("p0", "p1", "p2", "p3")


def member(name: str, **fields: Any) -> MemberPayload:
    return MemberPayload(member=Member(peer_id=name, agent_id=name, **fields))


def roster(*acts: tuple[str, msgspec.Struct]) -> Roster:
    now = after(None, GENESIS)
    for number, (kind, payload) in enumerate(acts, 1):
        now = after(now, act(number, kind, payload))
    assert now is not None
    return now


def test_the_founder_is_the_only_voter_of_a_cluster_named_by_the_geneses_hash() -> None:
    now = roster()
    assert (now.cluster_id, now.voters, now.quorum, now.version) == ("c1", ("p0",), 1, 0)


def test_a_member_is_added_without_a_vote_whatever_the_act_says() -> None:
    now = roster((ActKind.MEMBER_ADD, member("p1", voter=True)))
    assert now.is_member("p1")
    assert now.voters == ("p0",)
    assert now.version == 1


def test_changing_a_member_neither_makes_nor_unmakes_a_voter() -> None:
    now = roster((ActKind.MEMBER_CHANGE, member("p0", role="operator", voter=False)))
    assert now.voters == ("p0",)
    assert now.members["p0"].role == "operator"


def test_voters_come_and_go_but_the_last_one_stays() -> None:
    add = ((ActKind.MEMBER_ADD, member("p1")), (ActKind.VOTER_ADD, VoterPayload(peer_id="p1")))
    assert roster(*add).voters == ("p0", "p1")
    assert roster(*add, (ActKind.VOTER_REMOVE, VoterPayload(peer_id="p0"))).voters == ("p1",)
    assert roster((ActKind.VOTER_REMOVE, VoterPayload(peer_id="p0"))).voters == ("p0",)
    assert roster((ActKind.VOTER_ADD, VoterPayload(peer_id="stranger"))).voters == ("p0",)


def test_a_revoked_member_keeps_what_the_act_names_and_is_no_voter_again() -> None:
    head = Head(author="p1", epoch=0, size=3, root="ab")
    now = roster(
        (ActKind.MEMBER_ADD, member("p1")),
        (ActKind.VOTER_ADD, VoterPayload(peer_id="p1")),
        (ActKind.MEMBER_REVOKE, RevokePayload(peer_id="p1", heads=(head,))),
        (ActKind.VOTER_ADD, VoterPayload(peer_id="p1")),
    )
    assert now.members["p1"].revoked == (head,)
    assert not now.is_member("p1")
    assert now.voters == ("p0",)
    assert "p1" not in now.eligible(Authority.READ_ONLY)


def test_the_policy_changes() -> None:
    assert roster((ActKind.POLICY, PolicyPayload(policy=Policy.INVITE))).policy is Policy.INVITE


@pytest.mark.parametrize("kind", [*ActKind, "later.kind"])
@pytest.mark.parametrize("payload", [b"{}", b"[1]", b'{"member":7}', b'{"member":{"peer_id":"x","kind":"robot"}}'])
def test_what_cant_be_read_changes_nothing(kind: str, payload: bytes) -> None:
    before = roster()
    assert after(before, act(1, kind, payload)) == before


def test_a_second_genesis_changes_nothing_and_nothing_precedes_the_first() -> None:
    before = roster()
    other = act(1, ActKind.GENESIS, GenesisPayload(random="1", network="x", policy=Policy.OPEN, founder=FOUNDER), "c2")
    assert after(before, other) is before
    assert after(None, act(0, ActKind.MEMBER_ADD, member("p1"))) is None


payloads = st.one_of(
    st.builds(
        lambda kind, name, voter: (kind, member(name, voter=voter)),
        st.sampled_from([ActKind.MEMBER_ADD, ActKind.MEMBER_CHANGE]),
        st.sampled_from(NAMES),
        st.booleans(),
    ),
    st.builds(
        lambda kind, name: (kind, VoterPayload(peer_id=name)),
        st.sampled_from([ActKind.VOTER_ADD, ActKind.VOTER_REMOVE]),
        st.sampled_from(NAMES),
    ),
    st.builds(lambda name: (ActKind.MEMBER_REVOKE, RevokePayload(peer_id=name, heads=())), st.sampled_from(NAMES)),
)


@given(st.lists(payloads, max_size=20))
def test_each_act_changes_at_most_one_voter_and_some_voter_stays(acts: list[tuple[str, msgspec.Struct]]) -> None:
    now = roster()
    for number, (kind, payload) in enumerate(acts, 1):
        one: Act = act(number, kind, payload)
        then = after(now, one)
        assert then is not None
        assert len(set(then.voters) ^ set(now.voters)) <= 1
        assert then.voters
        assert {p for p, m in now.members.items() if not m.active} <= {
            p for p, m in then.members.items() if not m.active
        }
        now = then


@given(st.permutations([("p1", Authority.DECISION), ("p2", Authority.SUGGESTION), ("p3", Authority.COORDINATION)]))
def test_acts_on_different_members_give_the_same_members_in_any_order(order: list[tuple[str, Authority]]) -> None:
    steps = [(ActKind.MEMBER_ADD, member(name, authority=level)) for name, level in order]
    steps += [(ActKind.VOTER_ADD, VoterPayload(peer_id=name)) for name, _ in reversed(order)]
    expected = roster(
        *(
            [(ActKind.MEMBER_ADD, member(n, authority=a)) for n, a in sorted(order)]
            + [(ActKind.VOTER_ADD, VoterPayload(peer_id=n)) for n, _ in sorted(order)]
        )
    )
    assert dict(roster(*steps).members) == dict(expected.members)
    assert list(itertools.chain(roster(*steps).voters)) == list(expected.voters)
