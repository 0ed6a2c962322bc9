"""The pure rules: founding, enrolling, yielding, and whom to make a voter."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent_core.election.acts import ActKind
from agent_core.roster.machine import (
    MAX_VOTERS,
    Electorate,
    Enrol,
    Found,
    Meeting,
    Situation,
    Stay,
    VoterChange,
    Wait,
    departed,
    foreign,
    next_step,
    voter_change,
)
from agent_core.roster.model import Authority, Member, Roster, VoterUse

A, B, C = "aa" * 32, "bb" * 32, "cc" * 32


def at(now_s: float = 0, **fields: Any) -> Situation:
    return Situation(me="me", now_ms=round(now_s * 1000), since_ms=0, **fields)


def peer(name: str, cluster: str = "", **fields: Any) -> Meeting:
    return Meeting(name, name, cluster, **fields)


def test_alone_it_founds_after_the_grace_or_at_once_when_told_or_when_there_is_nobody_to_look_for() -> None:
    assert next_step(at(9.9)) == Wait(10_000)
    assert next_step(at(10)) == Found()
    assert next_step(at(found_now=True)) == Found()
    assert next_step(at(nobody_to_look_for=True)) == Found()


def test_a_commands_node_never_founds() -> None:
    for fields in ({}, {"found_now": True}, {"nobody_to_look_for": True}):
        assert isinstance(next_step(at(100, may_found=False, **fields)), Wait)


def test_who_finds_a_cluster_enrols_there_and_never_founds_beside_it() -> None:
    assert next_step(at(met=(peer("p", A),))) == Enrol("p", A)
    assert isinstance(next_step(at(100, met=(peer("p", A),), avoid=frozenset({A}))), Wait)
    assert isinstance(next_step(at(100, met=(peer("p", A, moving=True),))), Wait)


def test_the_larger_cluster_is_asked_first_and_there_the_leader() -> None:
    met = (peer("w", B, members=2), peer("x", A, members=3, leader="y"), peer("y", A, members=3, leader="y"))
    assert next_step(at(met=met)) == Enrol("y", A)


def test_of_newcomers_that_found_only_each_other_the_least_founds_first() -> None:
    assert next_step(at(10, met=(peer("zz"),))) == Found()
    assert next_step(at(10, met=(peer("aa"),))) == Wait(20_000)
    assert next_step(at(20, met=(peer("aa"),))) == Found()


def test_a_lone_founder_yields_to_a_larger_cluster_and_of_two_the_greater_id_yields() -> None:
    assert next_step(at(cluster=A, lone=True, met=(peer("p", B, members=2),))) == Enrol("p", B)
    assert next_step(at(cluster=B, lone=True, met=(peer("p", A, lone=True),))) == Enrol("p", A)
    assert next_step(at(cluster=A, lone=True, met=(peer("p", B, lone=True),))) == Stay()


def test_larger_clusters_never_merge_and_both_say_so() -> None:
    situation = at(
        cluster=B, met=(peer("p", A, members=5), peer("q", A, members=5), peer("r", B), peer("s", C, lone=True))
    )
    assert next_step(situation) == Stay()
    assert [m.cluster for m in foreign(situation)] == [A]


def test_who_is_told_to_join_a_cluster_asks_there_and_nowhere_else() -> None:
    met = (peer("p", A, members=9), peer("q", B, members=2), peer("r", B, members=2, leader="r"))
    assert next_step(at(cluster=C, goal=B, met=met)) == Enrol("r", B)
    assert next_step(at(cluster=C, goal=B, lone=True, met=met)) == Enrol("r", B)
    assert next_step(at(cluster=C, goal=B, met=met[:1])) == Wait(500)
    assert next_step(at(cluster=C, goal=B, met=met, avoid=frozenset({B}))) == Wait(500)
    assert next_step(at(cluster=B, goal=B, met=met)) == Stay()


@given(st.lists(st.sampled_from([A, B, C]), min_size=2, max_size=4, unique=True))
def test_of_lone_founders_that_all_see_each_other_exactly_one_stays(clusters: list[str]) -> None:
    def step(mine: str) -> object:
        met = tuple(peer(c[:2], c, lone=True) for c in clusters if c != mine)
        return next_step(at(cluster=mine, lone=True, met=met))

    assert [c for c in clusters if step(c) == Stay()] == [min(clusters)]


def roster(voters: int, others: int = 0) -> Roster:
    names = [f"v{n}" for n in range(voters)] + [f"m{n}" for n in range(others)]
    members = {n: Member(peer_id=n, agent_id=n, voter=n.startswith("v")) for n in names}
    return Roster(cluster_id=A, network="chorus", version=0, members=MappingProxyType(members))


def electorate(voters: int, others: int = 0, **fields: Any) -> Electorate:
    of = roster(voters, others)
    everybody = frozenset(of.members)
    defaults: dict[str, Any] = {"online": everybody, "caught_up": everybody, "uses": {}}
    return Electorate(of, "v0", **{**defaults, **fields})


def test_caught_up_daemons_are_promoted_one_at_a_time_to_seven() -> None:
    uses = {"m0": VoterUse.FULL, "m1": VoterUse.FULL}
    assert voter_change(electorate(3, 2, uses=uses)) == VoterChange(ActKind.VOTER_ADD, "m0", "caught up")
    assert voter_change(electorate(MAX_VOTERS, 2, uses=uses)) is None
    behind = electorate(3, 2, uses=uses, caught_up=frozenset({"m1"}))
    assert voter_change(behind) == VoterChange(ActKind.VOTER_ADD, "m1", "caught up")
    assert voter_change(electorate(3, 2, uses=uses, online=frozenset({"v0"}))) is None


def test_a_consoles_node_is_promoted_only_while_there_are_fewer_than_three_voters_and_a_commands_never() -> None:
    spare = {"m0": VoterUse.SPARE}
    change = voter_change(electorate(2, 1, uses=spare))
    assert change is not None
    assert (change.kind, change.peer_id) == (ActKind.VOTER_ADD, "m0")
    assert voter_change(electorate(3, 1, uses=spare)) is None
    assert voter_change(electorate(1, 1, uses={"m0": VoterUse.NEVER})) is None
    assert voter_change(electorate(1, 1)) is None


def test_a_daemon_comes_before_a_consoles_node() -> None:
    change = voter_change(electorate(1, 2, uses={"m0": VoterUse.SPARE, "m1": VoterUse.FULL}))
    assert change is not None
    assert change.peer_id == "m1"


def test_who_is_away_too_long_is_demoted_while_the_rest_makes_a_majority() -> None:
    rest = frozenset({"v0", "v1"})
    gone = electorate(3, online=rest, unseen_ms={"v2": 600_000})
    assert voter_change(gone) == VoterChange(ActKind.VOTER_REMOVE, "v2", "not seen for 10 min")
    assert voter_change(electorate(3, online=rest, unseen_ms={"v2": 599_999})) is None
    assert voter_change(electorate(3, online=frozenset({"v0"}), unseen_ms={"v1": 10**6, "v2": 10**6})) is None
    assert voter_change(electorate(2, online=frozenset({"v0"}), unseen_ms={"v1": 10**6})) is None


@given(
    voters=st.integers(1, 9),
    others=st.integers(0, 5),
    data=st.data(),
)
def test_a_change_never_takes_the_majority_away(voters: int, others: int, data: st.DataObject) -> None:
    of = roster(voters, others)
    names = sorted(of.members)
    online = frozenset(data.draw(st.lists(st.sampled_from(names)))) | {"v0"}
    uses = {n: data.draw(st.sampled_from(list(VoterUse))) for n in names}
    unseen = {n: data.draw(st.integers(0, 10**6)) for n in names if n not in online}
    change = voter_change(Electorate(of, "v0", online, uses, frozenset(names), unseen))
    if change is None:
        return
    assert change.peer_id != "v0"
    had = sum(1 for v in of.voters if v in online) >= of.quorum
    if change.kind is ActKind.VOTER_ADD:
        assert change.peer_id in online
        assert len(of.voters) < MAX_VOTERS
    else:
        assert had
        left = [v for v in of.voters if v != change.peer_id]
        assert sum(1 for v in left if v in online) >= len(left) // 2 + 1


def test_who_forgot_its_votes_is_demoted_and_promoted_by_an_act_that_says_so() -> None:
    doubts = {"v2": "mark"}
    change = voter_change(electorate(3, doubts=doubts))
    assert change is not None
    assert (change.kind, change.peer_id) == (ActKind.VOTER_REMOVE, "v2")
    again = electorate(2, 1, doubts={"m0": "mark"}, uses={"m0": VoterUse.FULL})
    assert voter_change(again) == VoterChange(ActKind.VOTER_ADD, "m0", "caught up", trusts="mark")
    of = roster(3)
    trusted = msgspec.structs.replace(of.members["v2"], trusted="mark")
    told = msgspec.structs.replace(of, members=MappingProxyType({**of.members, "v2": trusted}))
    assert voter_change(Electorate(told, "v0", online=frozenset(told.members), doubts=doubts)) is None, (
        "an old greeting"
    )


def test_who_forgot_is_not_demoted_where_the_others_are_no_majority() -> None:
    assert voter_change(electorate(2, doubts={"v1": "mark"})) is None
    assert voter_change(electorate(3, doubts={"v2": "mark"}, online=frozenset({"v0", "v2"}))) is None


def test_who_moved_goes_first_then_the_longest_absent_and_neither_the_leader_nor_an_absent_voter_or_master() -> None:
    record = {p: Member(peer_id=p, agent_id=p) for p in ("me", "a", "b", "c", "v", "m", "gone")}
    record["v"] = msgspec.structs.replace(record["v"], voter=True)
    record["m"] = msgspec.structs.replace(record["m"], authority=Authority.MASTER)
    record["gone"] = msgspec.structs.replace(record["gone"], evicted=())
    roster = Roster(cluster_id=A, network="n", version=1, members=MappingProxyType(record))
    away = {"me": 900_000, "a": 120_000, "b": 300_000, "c": 10_000, "v": 900_000, "m": 900_000, "gone": 900_000}
    moved = {"c": B, "me": B, "gone": B, "stranger": B, "a": "\x1b[2J" + B}

    def due(evict_after_ms: int) -> list[tuple[str, str]]:
        found = departed(roster, "me", moved=moved, unseen_ms=away, evict_after_ms=evict_after_ms)
        return [(d.member.peer_id, d.reason) for d in found]

    there = [("a", "moved to cluster [2Jbbbbb"), ("c", "moved to cluster bbbbbbbb")]
    assert due(0) == there
    assert due(60_000) == [*there, ("b", "not seen for 5 min")]
