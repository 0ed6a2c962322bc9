"""Letting in and sending away from the keyboard: what is asked first, what is called, and what the screen says."""

from __future__ import annotations

from typing import Any

import pytest

from agent_core import shapes as s
from agent_core.errors import Refused
from chorus_hap.wizard.dialogs import FirstRun
from tests.console.conftest import Drive, Driven
from tests.console.fake import PEERS, FakeSource, at, status

pytestmark = pytest.mark.console

NEW = "12D3KooWNewcomerxxxxxxxxxxxxxxxxxxxxxxxxxxxxxNNNNNN"
TOKEN = "chorus-ticket-" + "".join("abcdefghij"[n % 10] for n in range(290))


class Node(FakeSource):
    """A node whose cluster admits by approval, with one newcomer waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.slices["waiting"] = (
            s.WaitingInfo(
                peer_id=NEW, agent_id="agent-n", role="agent", kind="agent", since=at(90), host="Linux, 8 cores"
            ),
        )
        self.slices["status"] = status(policy="approve")

    def on_members_invite(self, given: dict[str, Any]) -> s.Ticket:
        return s.Ticket(token=TOKEN, expires_at=at(-3600))

    def _done(self, given: dict[str, Any]) -> s.RosterDone:
        return s.RosterDone(text=f"{given['id'][-6:]} done.", act=9, peer_id=given["id"])

    on_members_approve = on_members_refuse = on_members_revoke = on_members_demote = _done


def asked(c: Driven) -> list[tuple[str, dict[str, Any]]]:
    return [(method, given) for method, given in c.node.calls if method.startswith("members.")]


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
def test_a_newcomer_is_seen_and_approved(drive: Drive, size: tuple[int, int]) -> None:
    async def job(c: Driven) -> None:
        await c.press("4")
        await c.see("Roster · 4 members, 3 voters · 1 waiting", "agent-n", "…NNNNNN", "waits")
        await c.see("Linux, 8 cores", "a lets it in")
        await c.press("G", "a")  # the only one that waits is meant, wherever the cursor is
        await c.see("Let agent-n (…NNNNNN) in?")
        await c.press("n")
        assert not asked(c)
        await c.press("a", "y")
        await c.see("NNNNNN done.")
        assert asked(c) == [("members.approve", {"id": NEW})]
        assert all(len(line) <= size[0] for line in c.screen().split("\n"))

    drive(job, node=Node(), size=size)


def test_what_cant_be_undone_names_whom_it_is_about_and_is_asked_first(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("4")
        await c.see("agent-n")
        await c.press("G", "X")
        await c.see("Revoke ", "Its identity never comes back")
        await c.press("escape")
        assert not asked(c)
        await c.press("g", "j", "X", "y")
        await c.wait(lambda: bool(asked(c)))
        assert asked(c) == [("members.revoke", {"id": PEERS["agent-b"]})]
        c.node.fail["members.demote"] = Refused("agent-b is the only voter.", "Promote another first.")
        await c.press("minus", "y")
        await c.see("agent-b is the only voter.")

    drive(job, node=Node())


def test_a_typed_command_asks_like_its_key_and_says_yes_for_the_person(drive: Drive) -> None:
    ran: list[tuple[str, ...]] = []

    async def run(words: tuple[str, ...]) -> tuple[int, str, str]:
        ran.append(words)
        return 1, "", "chorus-hap: agent-b is here.\n  Stop its node first.\n"

    async def job(c: Driven) -> None:
        c.app.everywhere.run_command("members evict agent-b")
        await c.see("Evict agent-b (…BBBBBB)? When it comes back", "y  members evict")
        await c.press("n")
        assert not ran
        c.app.everywhere.run_command("members evict agent-b")
        await c.see("Evict agent-b (…BBBBBB)?")
        await c.press("y")
        await c.see("agent-b is here.\n  Stop its node first.")
        assert ran == [("members", "evict", "agent-b", "--yes")]

    drive(job, node=Node(), run=run)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
def test_who_was_refused_is_seen_with_why_and_for_how_long(drive: Drive, size: tuple[int, int]) -> None:
    node = FakeSource()
    bad = s.PeerInfo(
        peer_id="12D3KooWStrangerrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr7q", agent_id="", addresses=(), direction="", connected_s=0.0, rtt_ms=None,
        score=-120.0, entries=0, member=False, refused=(("gossip: bad signature", 41), ("flood", 3)), graylisted_s=540.0,
    )  # fmt: skip
    node.slices["peers"] = (bad, *node.slices["peers"])

    async def job(c: Driven) -> None:
        await c.press("4")
        await c.see("tab: 3 live connections, 1 graylisted")
        await c.press("tab")
        await c.see("Live connections · 3, 1 graylisted", "away", "-120")
        await c.press("G")
        await c.see("graylisted for 9 min: gossip: bad signature 41, flood 3")

    drive(job, node=node, size=size)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
def test_a_ticket_is_shown_whole_and_copied(drive: Drive, size: tuple[int, int]) -> None:
    async def job(c: Driven) -> None:
        await c.press("4", "i")
        await c.see("A ticket for one newcomer", "Hand it over in private", "chorus-hap --ticket TICKET")
        screen = c.screen()
        shown = "".join(ch for ch in screen if ch.isalnum() or ch == "-")
        assert TOKEN[:60].replace("_", "") in shown
        await c.press("y")
        assert c.app.clipboard == TOKEN

    drive(job, node=Node(), size=size)


def test_the_first_run_takes_a_ticket_and_says_what_is_wrong_with_one(drive: Drive) -> None:
    from agent_core.roster.warrants import Invitation, to_token
    from agent_core.wire.families.cooee import CooeeTicket

    ticket = CooeeTicket(cluster="5f" * 32, by=NEW, nonce="ab" * 16, expires_ms=1, role="reviewer", signature=b"x")
    token = to_token(Invitation(ticket=ticket, network="lab"))
    given: list[FirstRun] = []

    async def job(c: Driven) -> None:
        await c.see("Welcome to chorus-hap", "Ticket, if somebody invited you")
        await c.press("tab", "tab", "tab")
        await c.type("chorus-ticket-half")
        await c.press("enter")
        await c.see("That is no ticket, or a part of it is missing.")
        for _ in range(4):
            await c.press("backspace")
        c.app.screen.query_one("#ticket").value = token  # type: ignore[attr-defined]
        await c.press("enter")
        await c.see("This cluster")
        assert given == [FirstRun("alice-host", "reviewer", "lab", token)]

    drive(job, setup=FirstRun("alice-host", "operator", "chorus"), on_setup=given.append)
