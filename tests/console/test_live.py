"""What is shown follows what is so: names, banners, footers, amber, and where enter on an item of attention leads."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core import shapes as s
from chorus_hap.actions import FOOTERS, Registry
from chorus_hap.names import Names
from chorus_hap.panes.attention import target_of
from chorus_hap.panes.decisions import decision_lines, decision_row
from chorus_hap.panes.overview import decision_rows
from chorus_hap.themes import UNICODE
from chorus_hap.widgets.lines import Line
from tests.console.conftest import Drive, Driven
from tests.console.fake import (
    ME,
    PEERS,
    FakeSource,
    at,
    decisions,
    leader,
    log_entry,
    members,
    message,
    status,
    traffic,
)

pytestmark = pytest.mark.console

LATE = "12D3KooWLatexxxxxxxxxxxxxxxxxxxxxxxxxxxxxxNmaVg6"


def _late(name: str = "zoe") -> s.MemberInfo:
    return msgspec.structs.replace(members()[0], peer_id=LATE, agent_id=name, leader=False)


# --- names that come later --------------------------------------------------------------------------------------------


def test_a_name_that_comes_later_replaces_the_short_id_everywhere(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        said = log_entry(
            900, author="…NmaVg6", key=f"{LATE}/0/1", type="act", text="…NmaVg6 became a voter (act 4)", at=at(0)
        )
        c.node.stream("log", [said])
        c.node.stream("traffic", [traffic(9000, sender=LATE, text="hello from …NmaVg6")])
        await c.press("9")
        await c.see("…NmaVg6 became a voter")
        c.node.push("members", (*members(), _late()))
        await c.see("zoe became a voter")
        assert "NmaVg6" not in c.screen()
        await c.press("3")
        await c.see("hello from zoe")
        assert "NmaVg6" not in c.screen()
        await c.press("1")
        await c.see("zoe became a voter")
        await c.press("9", "enter")
        await c.see("zoe via")
        await c.press("escape")
        c.node.push("members", (*members(), _late("zoe-2")))
        await c.see("zoe-2 became a voter")

    drive(job, size=(160, 48))


def test_only_a_member_whose_end_is_its_own_is_put_in() -> None:
    names = Names()
    names.learn((_late(), msgspec.structs.replace(_late("yan"), peer_id="12D3KooWother" + LATE[-6:])))
    assert names("…NmaVg6 came") == "…NmaVg6 came"
    names.learn((_late(),))
    assert names("…NmaVg6 came, …NmaVg6x not") == "zoe came, …NmaVg6x not"
    assert names("zoe (…NmaVg6) asks") == "zoe (…NmaVg6) asks"
    assert names(LATE) == "zoe"


@given(st.text())
def test_any_text_without_a_short_id_stays(text: str) -> None:
    names = Names()
    names.learn((_late(),))
    assert names(text) == text or LATE in text or "…NmaVg6" in text


# --- banners and footers ----------------------------------------------------------------------------------------------


def test_the_banner_and_all_that_says_read_only_follow_speak_at_once(drive: Drive) -> None:
    node = FakeSource()
    node.slices["status"] = status(peer_id=PEERS["agent-b"], agent_id="agent-b", kind="agent")

    async def job(c: Driven) -> None:
        await c.press("6")
        await c.see(":speak allows changes", "read-only")
        assert "v vote" not in c.screen()
        await c.press("colon")
        await c.type("speak\n")
        await c.press("y")
        assert "allows changes" not in c.screen()
        assert "read-only" not in c.screen()
        assert "v vote" in c.screen()
        assert "you speak as agent-b (agent)" in c.screen()
        c.node.push("status", status(peer_id=PEERS["agent-b"], agent_id="renamed", kind="agent"))
        await c.see("you speak as renamed (agent)")
        c.node.push("status", status())
        await c.wait(lambda: "you speak as" not in c.screen())

    drive(job, node=node)


@pytest.mark.parametrize("pane", FOOTERS)
def test_a_footer_names_only_what_can_be_done_now(drive: Drive, pane: str) -> None:
    registry = Registry()
    changing = [
        f"{registry.shown_key(i)} {registry.actions[i].footer}" for i in FOOTERS[pane] if registry.actions[i].changes
    ]

    async def job(c: Driven) -> None:
        c.app.go(pane)
        await c.wait(lambda: c.app.pane_name == pane)
        footer = c.app.key_bar

        def shown() -> str:
            return "".join(text for text, _ in footer.line(160))

        assert all(word in shown() for word in changing)
        for state in ("away", "starting"):
            c.app.store.connect(state)
            await c.wait(lambda: not any(word in shown() for word in changing))
            c.app.store.connect("attached")
            await c.wait(lambda: all(word in shown() for word in changing))
        c.app.read_only = "This console is read-only."
        assert not any(word in shown() for word in changing)

    drive(job)


def test_what_changes_while_it_is_shown_is_shown(drive: Drive) -> None:
    """Unread, policy, pause, leader, owned or attached: none of them waits for a restart."""

    async def job(c: Driven) -> None:
        await c.press("4")
        c.node.push("status", status(policy="invite"))
        await c.see("admission invite")
        c.node.push("status", status(policy="open", leader=leader("agent-c", 8)))
        await c.see("admission open", "agent-c (term 8")
        await c.press("q")
        await c.see("Q  quit and leave the node running")
        c.app.store.connect("attached", owned=False)
        await c.wait(lambda: "leave the node running" not in c.screen())

    drive(job)


# --- amber ------------------------------------------------------------------------------------------------------------

_OPEN = decisions()[0]
CASES = {
    "owed": (_OPEN, True),
    "not eligible": (msgspec.structs.replace(_OPEN, may_vote="You were enrolled after it was proposed."), True),
    "closed": (
        msgspec.structs.replace(_OPEN, state="approved", may_vote="It is approved; votes are no longer taken."),
        True,
    ),
    "closing": (msgspec.structs.replace(_OPEN, state="closing"), True),
    "withdrawn": (msgspec.structs.replace(_OPEN, state="withdrawn"), True),
    "voted": (msgspec.structs.replace(_OPEN, your_vote="approve"), True),
    "read-only": (_OPEN, False),
}


def _amber(lines: list[Line]) -> list[str]:
    return [
        text
        for line in lines
        for text, role in line
        if "warn" in role and any(w in text for w in ("not", "vote", "left"))
    ]


@pytest.mark.parametrize("case", CASES)
def test_amber_marks_only_a_vote_that_can_still_be_cast(case: str) -> None:
    from datetime import UTC, datetime

    decision, changes = CASES[case]
    decision = msgspec.structs.replace(decision, time_left_s=30.0)
    row = decision_row(decision, UNICODE, datetime.now(UTC), 0.0, changes)
    cells = [cell if isinstance(cell, list) else [cell] for cell in row.cells[3:]]
    brief = [[cell] for r in decision_rows((decision,), UNICODE, changes) for cell in r.cells[3:]]
    shown = [_amber(cells), _amber(decision_lines(decision, 80, UNICODE, 0.0, changes)), _amber(brief)]
    assert all(bool(found) is (case == "owed") for found in shown), shown


@pytest.mark.parametrize("case", [case for case in CASES if case != "read-only"])
def test_a_card_is_amber_only_where_one_can_do_something(drive: Drive, case: str) -> None:
    decision = msgspec.structs.replace(CASES[case][0], time_left_s=600.0)
    node = FakeSource()
    node.slices["decisions"] = (decision,)

    async def job(c: Driven) -> None:
        await c.press("6", "v")
        await c.see("May you?")
        assert not [t for line in c.app.screen._facts(80) for t, role in line if "warn" in role]  # type: ignore[attr-defined]

    drive(job, node=node)


# --- where attention leads --------------------------------------------------------------------------------------------

ITEMS = {
    "vote": (s.Attention(id="vote:q9zt6b5n", at=at(1), kind="vote", text="Vote", target="decision:q9zt6b5n"), "de-list", "q9zt6b5n"),
    "escalation": (
        s.Attention(id="escalation:msg00001:msg00002", at=at(1), kind="escalation", text="x", target="room:cache/msg00002", urgent=True),
        "hm-thread", "msg00002",
    ),
    "escalation of an older node": (
        s.Attention(id="escalation:msg00001:msg00003", at=at(1), kind="escalation", text="x", target="room:cache", urgent=True),
        "hm-thread", "msg00003",
    ),
    "mention": (s.Attention(id="mention:msg00004", at=at(1), kind="mention", text="x", target="room:cache/msg00004"), "hm-thread", "msg00004"),
    "approval": (s.Attention(id=f"waiting:{LATE}", at=at(1), kind="approval", text="x", target=f"members:{LATE}"), "me-roster", LATE),
    "fork": (
        s.Attention(id=f"fork:{PEERS['agent-c']}/0", at=at(1), kind="fork", text="x", target=f"members:{PEERS['agent-c']}", urgent=True),
        "me-roster", PEERS["agent-c"],
    ),
    "fork of an older node": (
        s.Attention(id=f"fork:{PEERS['agent-a']}/0", at=at(1), kind="fork", text="x", target="members", urgent=True), "me-roster", PEERS["agent-a"],
    ),
    "minority": (s.Attention(id="minority", at=at(1), kind="minority", text="x", target="election", urgent=True), "el-voters", ""),
    "note": (s.Attention(id="note:n", at=at(1), kind="note", text="n", target="attention:note:n"), "at-list", "note:n"),
}  # fmt: skip


@pytest.mark.parametrize("start", ["exclamation_mark", "1"], ids=["attention", "overview"])
@pytest.mark.parametrize("kind", ITEMS)
def test_enter_on_what_waits_leads_to_the_very_thing(drive: Drive, kind: str, start: str) -> None:
    item, box, key = ITEMS[kind]
    node = FakeSource()
    node.slices["attention"] = (item,)
    node.slices["waiting"] = (
        s.WaitingInfo(peer_id=LATE, agent_id="zoe", role="agent", kind="agent", since=at(9), host="h"),
    )

    async def job(c: Driven) -> None:
        for number in range(60, 90):  # so that the room's end is far away
            c.node.rooms["cache"].append(message(number, "agent-b", "later " * 30, thread=f"msg{number:05d}", at=at(0)))
        await c.press(start, "enter")
        await c.wait(lambda: bool(c.app.screen.query(f"#{box}")) and (not key or c.box(box).key == key))  # type: ignore[attr-defined]
        if box == "hm-thread":
            thread = c.box(box)
            await c.wait(lambda: thread.top <= thread.cursor_lines().start < thread.top + thread.body_height)

    drive(job, node=node)


def test_a_filter_that_hides_the_thing_gives_way(drive: Drive) -> None:
    node = FakeSource()
    node.slices["attention"] = (ITEMS["vote"][0],)

    async def job(c: Driven) -> None:
        await c.press("6", "slash")
        await c.type("nothing-has-this\n")
        await c.press("exclamation_mark", "enter")
        await c.wait(lambda: c.box("de-list").key == "q9zt6b5n")  # type: ignore[attr-defined]

    drive(job, node=node)


def test_every_kind_has_a_place() -> None:
    assert all(target_of(item)[0] in FOOTERS for item, _, _ in ITEMS.values())
    assert ME
