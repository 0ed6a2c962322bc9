"""The Election pane and what of the cluster's troubles is seen elsewhere: who leads must be read at a glance, on every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent_core import shapes as s
from tests.console.conftest import Driven
from tests.console.fake import ME, FakeSource, election, leader, status

Drive = Callable[..., None]
SIZES = pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
AGENT = {"agent_id": "agent-b", "kind": "agent", "role": "agent"}
REVOKED = "This node was revoked from cluster k3v7q2md by agent-a: its key was copied. Nothing it writes reaches the others any more."


@SIZES
def test_all_voters_and_whole_names_are_seen(drive: Drive, size: tuple[int, int]) -> None:
    """On an agent's home, where a banner takes a line."""
    node = FakeSource()
    node.slices["status"] = status(**AGENT)

    async def job(c: Driven) -> None:
        await c.press("2")
        await c.see("you speak as agent-b", "Voters", "Timeline")
        lines = c.screen().split("\n")
        for name, total in (("agent-a", "0.71"), ("agent-b", "0.84"), ("agent-c", "0.55")):
            assert any(f"● {name}" in line or f"★ {name}" in line for line in lines if total in line), c.screen()
        assert any("7  agent-b" in line and "heartbeat timeout" in line for line in lines), c.screen()

    drive(job, node=node, size=size)


def test_a_pane_that_is_taken_down_box_by_box_is_painted_no_more(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("2")
        await c.see("Timeline")
        assert c.app.pane is not None
        await c.app.query_one("#el-leader").remove()
        assert c.app.pane is None
        c.app._tick()

    drive(job)


def test_a_score_is_explained_part_by_part(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("2", "enter")
        await c.see(
            "Score of agent-b", "abilities, and whether it may vote", "0.90 × 0.30  0.27", "0.80 × 0.20  0.16", "0.84"
        )
        await c.press("escape", "tab", "enter")
        await c.see("Certificate of term 7")

    drive(job)


def test_a_tall_and_wide_terminal_explains_the_score_of_whom_the_cursor_is_on(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("2")
        await c.see("Score of agent-b, as reckoned here", "not measured: the same for everybody")
        await c.press("down")
        await c.see("Score of agent-a, as reckoned here")

    drive(job, size=(160, 48))


def test_nobody_is_a_follower_of_a_leader_that_no_lease_confirms(drive: Drive) -> None:
    node = FakeSource()
    gone = leader(certain=False, lease_age_s=42.0, lease_left_s=0.0)
    voters = s.Voters(total=5, reachable=2, quorum=3)
    node.slices["status"] = status(leader=gone, voters=voters)
    node.slices["election"] = election(leader=gone, voters=voters)

    async def job(c: Driven) -> None:
        await c.press("2")
        await c.see("This node no majority", "nobody is admitted until then.", "last known leader agent-b, heard ")
        assert "follower" not in c.screen()

    drive(job, node=node)


def test_a_leader_that_was_cut_off_says_until_when_it_was_sure(drive: Drive) -> None:
    node = FakeSource()
    mine = leader("alice", certain=False, lease_age_s=8.0, lease_left_s=0.0)
    node.slices["status"] = status(leader=mine, voters=s.Voters(total=3, reachable=1, quorum=2), state="no_quorum")

    async def job(c: Driven) -> None:
        await c.see("last known leader alice (you), sure until ")

    drive(job, node=node, size=(160, 48))


@pytest.mark.parametrize(
    ("changes", "last"),
    [
        ({"state": "no_quorum", "voters": s.Voters(total=5, reachable=2, quorum=3)}, "no majority"),
        ({"state": "idle", "stage": "revoked", "voters": s.Voters(total=5, reachable=0, quorum=3)}, "revoked"),
    ],
)
def test_the_nodes_state_is_read_whole_on_the_smallest_status_line(
    drive: Drive, changes: dict[str, Any], last: str
) -> None:
    node = FakeSource()
    node.slices["status"] = status(**AGENT, **changes, leader=leader(certain=False, lease_age_s=21.0, lease_left_s=0.0))

    async def job(c: Driven) -> None:
        await c.see("read-only", "!2")
        line = c.screen().split("\n")[0]
        assert last in line, line
        assert "last known agent-b, " in line

    drive(job, node=node)


@SIZES
def test_troubles_dont_push_the_leader_off_the_overview(drive: Drive, size: tuple[int, int]) -> None:
    node = FakeSource()
    address = f"/ip4/127.0.0.1/tcp/43161/p2p/{ME}"
    notes = tuple(f"No connection to {address}: no answer within {n} s. Trying again in the background." for n in "123")
    node.slices["status"] = status(notes=notes)

    async def job(c: Driven) -> None:
        await c.see("No connection to /ip4/127.0.0.1")
        assert any("Leader     ★ agent-b (term 7" in line for line in c.screen().split("\n")), c.screen()

    drive(job, node=node, size=size)


def test_who_was_revoked_reads_that_first_and_in_full(drive: Drive) -> None:
    node = FakeSource()
    node.slices["status"] = status(stage="revoked", notes=(REVOKED, "No connection to somebody."))
    node.slices["attention"] = (
        s.Attention(id="note:other", at="2026-01-01T00:00:00Z", kind="note", text="Something else.", target="attention:note:other", urgent=False),
        s.Attention(id=f"note:{REVOKED}", at="2026-01-01T00:00:00Z", kind="revoked", text=REVOKED, target=f"attention:note:{REVOKED}", urgent=True),
    )  # fmt: skip

    async def job(c: Driven) -> None:
        await c.see("This node was revoked", "Nothing it writes reaches the others any more.")
        box = c.screen().split("\n")
        assert "revoked" in box[3], "before all else"
        await c.press("enter")
        await c.see("Waiting for you · 2", "reaches the others any more.")
        assert "leads to" not in c.screen(), "it is here in full already"

    drive(job, node=node)


def test_the_only_newcomer_is_approved_from_attention_wherever_the_cursor_is(drive: Drive) -> None:
    node = FakeSource()
    waits = s.WaitingInfo(peer_id="12D3KooWNNNNNN", agent_id="agent-n", role="agent", kind="agent", since="2026-01-01T00:00:00Z", host="", capabilities=())  # fmt: skip
    node.slices["waiting"] = (waits,)

    async def job(c: Driven) -> None:
        await c.press("!", "G", "a")
        await c.see("Let agent-n (…NNNNNN) in?")

    drive(job, node=node)
