"""Moving a home by its person's word: what is refused, and in which words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest

from agent_core.errors import Conflict, InvalidInput, NoQuorum, NotFound, NotLeader, Refused, TimedOut
from agent_core.network import DialResult
from agent_core.roster.machine import Meeting
from agent_core.roster.model import Authority, Lost, Member, Roster, VoterUse
from agent_core.roster.moving import Moving

OLD, NEW, NEAR = "0a" * 32, "0b" * 32, "0bcc" * 16


@dataclass
class Home:
    """A membership of which everything can be set."""

    voters: tuple[str, ...] = ("me", "b", "c")
    met: Sequence[Meeting] = (Meeting("n", "n", NEW), Meeting("m", "m", NEAR))
    online: frozenset[str] = frozenset({"me"})
    lets_go: bool = True
    masters: tuple[str, ...] = ("b",)
    refusal: str = ""
    bound: str = OLD
    peer_id: str = "me"
    voter_use: VoterUse = VoterUse.FULL
    dialled: DialResult = DialResult.SILENT
    done: list[Any] = field(default_factory=list)

    @property
    def roster(self) -> Roster | None:
        members = {
            p: Member(
                peer_id=p,
                agent_id=p,
                voter=p in self.voters,
                authority=Authority.MASTER if p in self.masters else Authority.COORDINATION,
            )
            for p in {"me", *self.voters}
        }
        return Roster(cluster_id=OLD, network="n", version=1, members=MappingProxyType(members)) if self.bound else None

    def set_voter_use(self, use: VoterUse) -> None:
        self.voter_use = use

    async def stop_voting(self, timeout_s: float) -> bool:
        self.voter_use = VoterUse.NEVER
        self.done.append("stopped voting")
        return self.lets_go

    async def go_to(self, cluster: str, timeout_s: float) -> str:
        self.done.append(cluster)
        self.bound = self.bound if self.refusal else cluster
        return self.refusal

    async def found_anew(self, lost: Lost) -> str:
        self.done.append(lost)
        return NEW

    async def append(self, drafts: Sequence[Any]) -> Sequence[Any]:
        self.done.extend(d.data for d in drafts)
        return ()

    async def dial(self, address: str) -> DialResult:
        return self.dialled

    async def resign(self) -> None:
        raise NotLeader("It doesn't lead.")

    def moving(self) -> Moving:
        return Moving(self, self, self.dial, self.resign, lambda: self.online, lambda: (7, "cd" * 32))


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ("0b", InvalidInput),  # too short
        (OLD[:8], Conflict),  # at home already
        ("ffff", NotFound),
        ("/ip4/127.0.0.1/tcp/1/p2p/12D3KooWAfmVgxWUSPUMyZ4hy2ZGoYfSCXdVbvLMPh5NwCdcWFvx", TimedOut),
        ("/ip4/127.0.0.1/tcp/1/p2p/x", InvalidInput),
    ],
)
async def test_a_cluster_that_isnt_one_in_reach_is_refused_and_nothing_changes(
    wanted: str, error: type[Exception]
) -> None:
    home = Home()
    with pytest.raises(error):
        await home.moving().join(wanted)
    assert home.done == []


async def test_a_beginning_that_two_clusters_share_is_refused() -> None:
    home = Home(met=(Meeting("n", "n", "0bcdaa" + "0" * 58), Meeting("m", "m", "0bcdbb" + "0" * 58)))
    with pytest.raises(InvalidInput, match="several"):
        await home.moving().join("0bcd")


async def test_a_voter_leaves_before_it_moves() -> None:
    home = Home()
    moved = await home.moving().join(NEW[:6])
    assert home.done == ["stopped voting", NEW]
    assert (moved.cluster_id, moved.left) == (NEW, OLD)
    assert home.voter_use is VoterUse.FULL, "it may be promoted where it is now"


async def test_a_voter_that_nobody_can_let_go_stays_unless_forced() -> None:
    home = Home(lets_go=False)
    with pytest.raises(NoQuorum) as refused:
        await home.moving().join(NEW[:6])
    assert "--force" in refused.value.next
    assert home.bound == OLD
    assert home.voter_use is VoterUse.FULL
    await home.moving().join(NEW[:6], force=True)
    assert home.bound == NEW


async def test_the_only_master_stays_unless_forced_or_alone() -> None:
    home = Home(masters=("me",))
    with pytest.raises(Refused, match="only one of cluster 0a0a0a0a with authority master") as refused:
        await home.moving().join(NEW[:6])
    assert "--force" in refused.value.next
    assert (home.bound, home.done) == (OLD, [])
    await home.moving().join(NEW[:6], force=True)
    assert home.bound == NEW
    alone = Home(masters=("me",), voters=("me",))
    await alone.moving().join(NEW[:6])
    assert alone.bound == NEW


async def test_into_the_cluster_that_took_the_place_of_its_own_it_goes_without_leave() -> None:
    home = Home(met=(Meeting("n", "n", NEW, replaces=OLD),), lets_go=False)
    await home.moving().join(NEW[:6])
    assert home.done == [NEW]


async def test_a_refusal_of_the_other_cluster_is_told_and_the_home_stays() -> None:
    home = Home(refusal="It admits nobody.")
    with pytest.raises(Refused, match="admits nobody"):
        await home.moving().join(NEW[:6])
    assert home.bound == OLD


async def test_recovery_needs_a_lost_majority_and_a_word_that_it_is_meant() -> None:
    home = Home(online=frozenset({"me", "b"}))
    with pytest.raises(Refused, match="nothing to recover"):
        await home.moving().recover(force_new=True)
    home.online = frozenset({"me"})
    with pytest.raises(Refused, match=r"2 of 3 voters are out of reach \(b, c\).*number 7"):
        await home.moving().recover(force_new=False)
    assert home.done == []
    moved = await home.moving().recover(force_new=True)
    assert home.done == [Lost(cluster=OLD, last=7, last_hash="cd" * 32)]
    assert f"chorus-hap cluster join {NEW[:8]}" in moved.text


async def test_a_home_without_a_cluster_has_nothing_to_recover_or_to_show() -> None:
    home = Home(bound="")
    with pytest.raises(Refused):
        await home.moving().recover(force_new=True)
    with pytest.raises(Refused):
        await home.moving().share()
