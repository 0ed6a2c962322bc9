"""The composition wizard, the vote card and the form for proposals, from the keyboard alone."""

from __future__ import annotations

import msgspec
import pytest

from agent_core import shapes as s
from agent_core.errors import Unavailable
from chorus_hap.wizard.compose import Compose
from chorus_hap.wizard.drafts import load
from chorus_hap.wizard.vote import VoteCard
from tests.console.conftest import Drive, Driven
from tests.console.fake import at, message

pytestmark = pytest.mark.console


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
def test_the_whole_way_by_keyboard(drive: Drive, size: tuple[int, int]) -> None:
    async def job(c: Driven) -> None:
        await c.press("n")
        await c.see("What do you want to say?")
        await c.press("ctrl+s")
        await c.see("Choose what you want to say.")
        await c.press("2", "ctrl+s")
        await c.see("In which room?")
        await c.type("billing")
        await c.press("ctrl+s")
        await c.see("Who should see it?")
        await c.press("space", "ctrl+s")
        await c.see("Preview")
        await c.type("Is *this* billed twice?")
        await c.press("ctrl+k")
        await c.type("trace")
        await c.press("enter")
        await c.type("the numbers")
        await c.press("enter")
        await c.see("1 citation")
        await c.press("ctrl+s")
        await c.see("What is signed and sent", "billing", "question", "a new one", "agent-a", "Leans on", "numbers")
        await c.press("ctrl+s")
        await c.see("Sent to billing as")
        await c.see("billing · 1 message")
        (sent,) = c.node.asked("hmmm.post")
        assert sent["room"] == "billing"
        assert sent["intent"] == "question"
        assert list(sent["mentions"]) == ["agent-a"]
        assert sent["text"] == "Is *this* billed twice?"
        assert sent["citations"][0]["reason"] == "the numbers"
        assert load(c.app.options.home, "") is None

    drive(job, size=size)


def test_r_on_a_message_opens_at_the_body_with_everything_set(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("5", "tab", "up", "up")
        await c.press("r")
        await c.see("Reply", "Preview")
        await c.type("Agreed.")
        await c.press("ctrl+s", "ctrl+s")
        await c.wait(lambda: c.node.asked("hmmm.post"))
        (sent,) = c.node.asked("hmmm.post")
        assert sent["reply_to"] == "msg00003"
        assert sent["room"] == "cache"
        assert sent["intent"] == "answer"

    drive(job)


def test_the_review_says_first_that_the_thread_grew(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("5", "tab", "home", "r")
        await c.type("Fine.")
        late = message(60, "agent-c", "Wait, one more thing.", thread="msg00001", parent="msg00001", at=at(0))
        c.node.rooms["cache"].append(late)
        await c.press("ctrl+s")
        await c.see("new here since you began", "agent-c: Wait, one")

    drive(job)


def test_a_secret_is_listed_with_line_and_rule(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("5", "tab", "r")
        await c.type("look:\nAKIAABCDEFGHIJKLMNOP")
        await c.see("line 2", "aws-access-key", "blocks sending")
        await c.press("ctrl+s")
        await c.see("This can't be sent; take it")

    drive(job)


def test_escape_leaves_the_field_and_the_draft_survives(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("n", "1", "ctrl+s")
        await c.type("cache")
        await c.press("ctrl+s", "ctrl+s")
        await c.type("half a thought")
        await c.press("escape")
        assert isinstance(c.app.screen, Compose)
        await c.press("escape")
        await c.wait(lambda: not isinstance(c.app.screen, Compose))
        kept = load(c.app.options.home, "")
        assert kept is not None
        assert kept.text == "half a thought"
        await c.press("n")
        await c.see("half a thought", "taken up")

    drive(job)


def test_a_draft_is_on_disk_while_it_is_typed_and_a_failed_send_keeps_it(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("5", "tab", "end", "r")
        await c.type("important")
        await c.wait(
            lambda: (load(c.app.options.home, "msg00005") or s.Posted(id="", key="", delivered=0)).text == "important"
        )
        c.node.fail["hmmm.post"] = Unavailable("The store is busy.", "Try again.")
        await c.press("ctrl+s", "ctrl+s")
        await c.see("Not sent: The store is busy. Try again. The draft is kept.")
        first = c.node.asked("hmmm.post")[0]["op_id"]
        del c.node.fail["hmmm.post"]
        await c.press("ctrl+s")
        await c.see("Sent to cache as")
        assert c.node.asked("hmmm.post")[1]["op_id"] == first, "a retry must not post twice"

    drive(job)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
def test_the_vote_card(drive: Drive, size: tuple[int, int]) -> None:
    async def job(c: Driven) -> None:
        await c.press("6", "v")
        await c.see(
            "Adopt TinyLFU in the search cache",
            "majority of the votes cast",
            "Time left",
            "provisional: 2 approve",
            "yes, one voice of 4",
            "agent-c, alice",
            "Nothing is chosen yet.",
            "3 ○ abstain",
            "^s or",
        )
        await c.press("ctrl+s")
        await c.see("Choose first; nothing is preselected.")
        await c.press("2", "ctrl+s")
        await c.see("A reject needs a reason")
        await c.type("too risky")
        await c.press("enter")
        await c.see("Voted reject.")
        (cast,) = c.node.asked("decisions.vote")
        assert (cast["id"], cast["choice"], cast["reason"]) == ("dcs7k2qa", "reject", "too risky")
        await c.press("v", "1")
        await c.see("reject → approve")
        await c.press("ctrl+s")
        await c.wait(lambda: len(c.node.asked("decisions.vote")) == 2)
        await c.see("reject → approve")

    drive(job, size=size)


def test_where_you_cannot_vote_the_card_says_why(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("6", "down", "v")
        await c.see("no: You were enrolled after it was proposed", "esc back")
        await c.press("ctrl+s", "escape")
        assert not c.node.asked("decisions.vote")

    drive(job)


def test_the_tally_moves_while_the_card_is_open(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("6", "v")
        await c.see("provisional: 2 approve")
        changed = tuple(
            msgspec.structs.replace(d, tally={"approve": 3, "reject": 0, "abstain": 0}) if d.id == "dcs7k2qa" else d
            for d in c.node.slices["decisions"]
        )
        c.node.push("decisions", changed)
        await c.see("provisional: 3 approve")
        assert isinstance(c.app.screen, VoteCard)

    drive(job)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
def test_a_proposal(drive: Drive, size: tuple[int, int]) -> None:
    async def job(c: Driven) -> None:
        await c.press("p")
        await c.see("Put to a vote", "^s propose", "Options, separated by commas", "emergency")
        await c.press("ctrl+s")
        await c.see("Give it a title.")
        await c.type("Freeze on Friday")
        await c.press("tab")
        await c.type("It is the release.")
        await c.press("tab", "l", "ctrl+s")
        await c.see("Proposed as newone22", "Decision newone22")
        (sent,) = c.node.asked("decisions.propose")
        assert (sent["title"], sent["description"], sent["kind"], sent["deadline"]) == (
            "Freeze on Friday",
            "It is the release.",
            "policy",
            "1h",
        )

    drive(job, size=size)
