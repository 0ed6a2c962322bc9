"""Each pane shows what it must, at both sizes, and its keys do what the footer says."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from agent_core import shapes as s
from agent_core.errors import Refused
from chorus_hap.panes.addresses import links_of
from chorus_hap.panes.ucxl import UcxlPane
from chorus_hap.widgets.grid import Grid
from chorus_hap.widgets.lines import clock
from chorus_hap.widgets.stream import StreamView
from tests.console.conftest import Drive, Driven
from tests.console.fake import ME, FakeSource, decisions, leader, log_entry, status, traffic

pytestmark = pytest.mark.console

SIZES = [(80, 24), (160, 48)]
LANDMARKS = {
    "1": ("This cluster", "Waiting for you · 2", "Adopt TinyLFU", "voters 3/3 reachable"),
    "2": (
        "agent-b (term 7",
        "of 15 s",
        "0.84",
        "Timeline",
        "heartbeat timeout",
        "agent-b leads: it had the best score",
    ),
    "3": ("Traffic", "reject: signature", "80 in all"),
    "4": ("Roster · 4 members, 3 voters", "architect", "alice you", "coordination"),
    "5": ("Rooms · 3", "cache · 5 messages", "disagree (blocking)", "Deploy window is tonight"),
    "6": ("Decisions · 2 open", "Adopt TinyLFU", "vote!", "provisional: 2 approve"),
    "7": ("Addresses · 3", "trace.md", "Versions · 2", "~~1", "Who decided it, and why"),
    "9": ("Log", "what entry 59 says", "128 entries held"),
    "!": ("Waiting for you · 2", "mention", "Adopt TinyLFU in the search cache: your vote"),
}


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x48"])
def test_every_pane_shows_its_landmarks(drive: Drive, size: tuple[int, int]) -> None:
    async def job(c: Driven) -> None:
        for key, texts in LANDMARKS.items():
            await c.press(key)
            await c.see(*texts)
            await c.see("alice · chorus · ★ agent-b (term 7", "voters 3/3", "follower", "!2")
            assert all(len(line) <= size[0] for line in c.screen().split("\n"))

    drive(job, size=size)


def test_keys_without_a_pane_say_so(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("8")
        await c.see("Tasks is not in this version.")
        await c.press("0")
        await c.see("Metrics is not in this version.")

    drive(job)


def test_alone_overview_gives_the_exact_command_and_copies_it(drive: Drive) -> None:
    node = FakeSource()
    node.slices["status"] = status(
        lone=True,
        voters=s.Voters(total=1, reachable=1, quorum=1),
        peers=0,
        leader=s.Leader(peer_id=ME, agent_id="alice", term=1, certain=True, lease_left_s=100),
    )

    async def job(c: Driven) -> None:
        await c.see(
            "You are a cluster of one and its leader. Bring a second node:", "--bootstrap", "alice (you, term 1"
        )
        await c.press("y")
        assert c.app.clipboard.startswith("chorus-hap --daemon --home ")
        assert f"--bootstrap /ip4/127.0.0.1/tcp/9000/p2p/{ME}" in c.app.clipboard

    drive(job, node=node)


def test_an_unconfirmed_leader_is_never_a_fact(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.see("★ agent-b (term 7")
        c.node.push("status", status(leader=leader(certain=False, lease_age_s=42.0, lease_left_s=0.0)))
        await c.see("last known leader agent-b, heard 42 s ago")
        assert "★ agent-b" not in c.screen()
        # A claim that was certain lapses by itself when no news come.
        c.node.push("status", status(leader=leader(lease_left_s=0.05)))
        await c.wait(lambda: "last known" in c.screen())

    drive(job)


def test_without_a_majority_it_says_what_still_works(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        c.node.push(
            "status",
            status(voters=s.Voters(total=3, reachable=1, quorum=2), state="no_quorum", leader=leader(certain=False)),
        )
        await c.see("Only 1 of 3 voters can be reached; 2 make a majority.", "no majority")
        await c.press("2")
        await c.see("Nobody can be elected")

    drive(job)


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x48"])
def test_a_node_that_catches_up_says_how_far_it_is_and_asks_nobody(drive: Drive, size: tuple[int, int]) -> None:
    node = FakeSource()
    text = "Catching up: 12,300 entries behind, 4,100/s from 2 peers."
    node.slices["status"] = status(underway=(s.Underway(kind="fetching", text=text, brief="12,300 behind"),))

    async def job(c: Driven) -> None:
        await c.see(text, "· 12,300 behind", "!2")

    drive(job, node=node, size=size)


def test_a_node_that_is_away_dims_the_panes_and_disables_actions_with_the_reason(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("6")
        await c.see("Adopt TinyLFU")
        c.app.store.connect("away", "starting it again")
        await c.see("away for")
        assert c.app.look.away
        await c.see("Adopt TinyLFU")
        await c.press("v")
        await c.see("The node is away; this works again as soon as it is back.")
        c.app.store.connect("attached")
        await c.wait(lambda: not c.app.look.away)
        await c.see("follower")

    drive(job)


def test_a_node_that_tells_nothing_is_not_believed(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.see("1 more may go")
        c.node.mute = True
        await c.wait(lambda: c.app.store.connection.state == "silent", 10)
        await c.see("silent for", "last known agent-b", "when the node last told", "s old")
        assert "1 more may go" not in c.screen()
        await c.press("p")
        await c.see("The node doesn't answer; this works again as soon as it does.")
        c.node.mute = False
        await c.wait(lambda: c.app.store.live)
        await c.see("1 more may go")
        assert "s old" not in c.screen()

    drive(job)


def test_a_node_that_cannot_start_is_one_sentence_with_its_fix(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        c.app.store.connect("failed", "Port 9000 is taken.", "Choose another with p2p.port.")
        await c.see("The node can't run", "Port 9000 is taken.", "Choose another with p2p.port.", "r  try again")
        await c.press("l")
        await c.see("The node wrote no log.")
        await c.press("escape")
        await c.press("r")
        assert c.node.retried == 1

    drive(job)


def test_pause_keeps_collecting_and_the_title_says_how_much(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("3")
        await c.see("message number 79")
        await c.press("space")
        c.node.stream("traffic", [traffic(1000 + i) for i in range(312)], dropped=40)
        await c.see("PAUSED +312", "dropped 40")
        assert "message number 1311" not in c.screen()
        await c.press("slash")
        await c.type("verdict:reject")
        await c.press("enter")
        await c.see("PAUSED +312 · filter: verdict:reject · dropped 40", "reject: signature")
        assert "message number 79" not in c.screen()
        await c.press("escape")
        await c.press("space")
        await c.see("message number 1311")

    drive(job)


def test_following_stops_when_one_scrolls_up_and_really_holds(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("9")
        await c.see("what entry 59 says")
        await c.press("pageup", "pageup")
        await c.see("not following")
        before = c.box("lo-stream").line(c.box("lo-stream").top, 80)
        c.node.stream("log", [log_entry(200 + i) for i in range(50)])
        await c.wait(lambda: c.box("lo-stream").total() == 110)
        assert c.box("lo-stream").line(c.box("lo-stream").top, 80) == before
        await c.press("f")
        await c.see("what entry 249 says")

    drive(job)


def test_a_filled_ring_paints_the_newest_line(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("3")
        for start in range(0, 24_000, 2_000):
            c.node.stream(
                "traffic", [traffic(start + i, text=f"line {start + i}", verdict="accept") for i in range(2_000)]
            )
            await c.pilot.pause(0.01)
        await c.see("line 23999")
        view = c.box("tr-stream")
        assert isinstance(view, StreamView)
        assert view.total() == 20_000

    drive(job)


def test_what_peers_send_cannot_steer_the_terminal(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("3")
        c.node.stream(
            "traffic", [traffic(500, text="e\x1b[2J\x07\u202e [b]markup[/]", sender="a\nb", verdict="accept")]
        )
        await c.see("e·[2J·· [b]markup[/]")
        assert "\x1b" not in c.screen()

    drive(job)


def test_filter_recalls_with_the_up_arrow_and_escape_never_discards(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("6", "slash")
        await c.type("rotate")
        await c.see("filter: rotate")
        await c.press("escape")
        assert c.box("de-list").total() == 1
        await c.press("escape")
        assert c.box("de-list").total() == 3
        await c.press("slash", "up")
        await c.see("filter: rotate")

    drive(job)


def test_single_letters_never_act_while_a_field_has_focus(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("6", "slash")
        await c.type("qnpv1")
        assert c.app.pane_name == "decisions"
        assert len(c.app.screen_stack) == 1
        await c.see("filter: qnpv1")

    drive(job)


def test_the_selection_stays_with_its_row_when_others_arrive(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("6", "down")
        grid = c.box("de-list")
        assert isinstance(grid, Grid)
        key = grid.key
        new = msgspec.structs.replace(decisions()[0], id="zzzz2222", title="A newer one", at="2099-01-01T00:00:00Z")
        c.node.push("decisions", (new, *c.node.slices["decisions"]))
        await c.see("A newer one")
        assert grid.key == key

    drive(job)


def test_members_tab_goes_between_roster_and_live_connections(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("4", "tab")
        await c.see("Live connections · 3", "outbound", "ms")
        await c.press("tab")
        await c.see("Roster · 4 members")

    drive(job)


def test_opening_what_waits_leads_there(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("!", "enter")
        await c.see("Decision dcs7k2qa")
        await c.press("!", "down", "enter")
        await c.see("cache · 5 messages")

    drive(job)


def test_ucxl_versions_and_diff(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("7")
        await c.see("with TinyLFU")
        await c.press("left_square_bracket")
        await c.wait(lambda: "with TinyLFU" not in c.screen())
        await c.press("right_square_bracket")
        await c.see("with TinyLFU")
        await c.press("d")
        await c.see("+- hit rate", "-- hit rate")

    drive(job)


def test_large_content_says_what_is_shown_and_is_not_edited_as_if_it_were_whole(drive: Drive) -> None:
    class Large(FakeSource):
        def on_ucxl_get(self, params: dict[str, Any]) -> s.Content:
            whole = super().on_ucxl_get(params)
            part = ("line é\n" * 80_000).encode()[: 512 << 10]
            version = msgspec.structs.replace(whole.version, size=1 << 20, media="text/plain")
            data = base64.b64encode(part).decode()
            return msgspec.structs.replace(whole, data=data, more=True, version=version)

    node = Large()

    async def job(c: Driven) -> None:
        await c.press("7")
        await c.app.show_pane("ucxl", "ucxl://agent-b:agent@search:cache/deploy/plan.txt")
        await c.see("The first 262 kB of 1.0 MB are shown", "chorus-hap ucxl get", "line é")
        await c.press("e")
        await c.see("too much for an editor")
        assert not any(method == "ucxl.put" for method, _ in node.calls)

    drive(job, node=node)


def test_an_address_leads_to_the_decision_on_it(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("7")
        await c.see("Who decided it, and why", "measured gain of 12")
        await c.press("o")
        await c.see("Decision dcs7k2qa", "Your vote")

    drive(job, size=(160, 48))


def test_several_links_are_asked_about(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        pane = c.app.pane
        assert pane is not None
        await c.press("7")
        await c.see("Who decided it, and why")
        content = await UcxlPane.ask(
            c.app.pane, "ucxl.get", s.Content, address="ucxl://agent-a:architect@search:cache/trace.md"
        )  # type: ignore[arg-type]
        cited = msgspec.structs.replace(content, cited_by=(*content.cited_by, "room:cache/m1"))
        assert [(link.pane, link.target) for link in links_of(cited, decisions())] == [
            ("decisions", "dcs7k2qa"),
            ("hmmm", "cache/m1"),
        ]
        c.app.pane._content = cited  # type: ignore[union-attr]
        await c.press("o")
        await c.see("Go where?", "message cache/m1")
        await c.press("down", "enter")
        await c.see("cache · 5 messages", "disagree (blocking)")

    drive(job, size=(160, 48))


def test_read_only_takes_every_change_away_and_says_why(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.see("read-only")
        for key in ("n", "p"):
            await c.press(key)
            await c.see("This console is read-only")
        await c.press("colon")
        await c.type("decide vote dcs7k2qa approve")
        await c.press("enter")
        assert len(c.app.screen_stack) == 1
        assert not [m for m, _ in c.node.calls if m not in ("ucxl.log", "ucxl.get")]

    drive(job, read_only=True)


def test_commands_lead_to_panes_run_scripts_or_say_what_is_absent(drive: Drive) -> None:
    ran: list[tuple[str, ...]] = []

    async def run(words: tuple[str, ...]) -> tuple[int, str, str]:
        ran.append(words)
        return 0, "room  messages\ncache 5\n", ""

    async def job(c: Driven) -> None:
        async def command(text: str) -> None:
            await c.press("colon")
            await c.type(text)
            await c.press("enter")

        await command("peers")
        await c.see("Live connections · 3")
        await command("patch list")
        await c.see(":patch is not in this version.")
        await command("hmmm rooms")
        await c.see("cache 5")
        await c.press("escape")
        await command("nonsense")
        await c.see("There is no command 'nonsense'")
        assert ran == [("hmmm", "rooms")]

    drive(job, run=run)


def test_quit_says_what_happens_and_Q_leaves_the_node(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("q")
        await c.see("Node ends (agent-b goes on leading).", "Q  quit and leave the node running")
        await c.press("escape")
        await c.press("q", "Q")
        await c.wait(lambda: c.node.left == [True])

    drive(job)


def test_a_key_checks_the_certificate_of_the_term_shown_and_says_so(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("2", "c")
        await c.see("Certificate of term 7", "agent-b led term 7: 3 of 3 voters", "signed", "agent-c")
        await c.press("escape", "tab", "down", "down", "c")
        await c.see("Certificate of term 5", "not good")

    drive(job)


def test_the_smallest_terminal_shows_the_voters(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("2")
        await c.see("Leader", "agent-a", "agent-b", "agent-c", "0.84")

    drive(job, size=(60, 18))


def test_a_dangerous_action_asks_first_and_a_refusal_is_shown(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("2", "R")
        await c.see("Resign as leader of chorus (agent-b leads, term 7)?", "voter takes over at once.")
        await c.press("n")
        assert not c.node.asked("election.resign")
        c.node.fail["election.resign"] = Refused("This node doesn't lead.", "Ask agent-b.")
        await c.press("R", "y")
        await c.see("This node doesn't lead. Ask agent-b.")

    drive(job)


def test_themes_switch_live_and_ascii_needs_nothing_else(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        for name in ("light", "high contrast", "colour-blind safe", "dark"):
            await c.press("T")
            await c.see(f"Theme: {name}")
        for key in LANDMARKS:
            await c.press(key)
            await c.see("alice")
        assert c.screen().isascii(), {ch for ch in c.screen() if not ch.isascii()}

    drive(job, ascii=True)


def test_a_terminal_too_small_is_told_so(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.see("50 × 12")
        await c.pilot.resize_terminal(80, 24)
        await c.see("This cluster")

    drive(job, size=(50, 12))


def test_the_first_paint_is_from_disk_and_says_as_of_when(drive: Drive) -> None:
    node = FakeSource()
    node.stay_away = True
    offline = {
        "as_of": "2026-01-02T09:41:00Z",
        "status": status(offline=True, as_of="2026-01-02T09:41:00Z", leader=None),
        "decisions": decisions(),
        "log": [log_entry(1)],
    }

    async def job(c: Driven) -> None:
        await c.see(f"as of {clock(str(offline['as_of']), seconds=False)}")
        await c.press("6")
        await c.see("Adopt TinyLFU")
        await c.press("v")
        await c.see("The node is not up yet")

    drive(job, node=node, load_offline=lambda: dict(offline))


def test_the_first_run_asks_one_screen(drive: Drive) -> None:
    from chorus_hap.wizard.dialogs import FirstRun

    given: list[FirstRun] = []

    async def job(c: Driven) -> None:
        await c.see("Welcome to chorus-hap", "alice-host", "operator")
        await c.press("enter")
        await c.see("This cluster")
        assert given == [FirstRun("alice-host", "operator", "chorus")]

    drive(job, setup=FirstRun("alice-host", "operator", "chorus"), on_setup=given.append)


def test_on_an_agents_home_it_says_whose_voice_it_is_and_starts_read_only(drive: Drive) -> None:
    node = FakeSource()
    node.slices["status"] = status(agent_id="agent-b", kind="agent", role="agent")

    async def job(c: Driven) -> None:
        await c.see("you speak as agent-b (agent)", "read-only")
        await c.press("n")
        await c.see("You would speak as agent-b (agent); `:speak` allows it.")
        await c.press("colon")
        await c.type("speak")
        await c.press("enter")
        await c.see("Speak as agent-b?")
        await c.press("y", "n")
        await c.see("What do you want to say?")

    drive(job, node=node)
