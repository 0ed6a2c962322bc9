"""The ``:`` line completes, explains, names what is near a wrong word, and asks about what it names."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core import shapes as s
from chorus_hap.actions import ACTIONS, Registry
from chorus_hap.cli.app import subcommands
from chorus_hap.cli.table import COMMANDS
from chorus_hap.commands import ASKED, SCRIPTED, command_words, completions, described, parse_command
from chorus_hap.store import Store
from chorus_hap.subjects import subject
from chorus_hap.widgets.chrome import Prompt
from chorus_hap.wizard.dialogs import Confirm
from tests.console.conftest import Drive, Driven
from tests.console.fake import ME, PEERS, FakeSource, at, decisions, election, log_entry, members, status

pytestmark = pytest.mark.console

GROUPS = {command.name: subcommands(command) for command in COMMANDS if command.group}


def _lookup(name: str) -> Sequence[str]:
    kind, _, group = name.partition(":")
    return (
        GROUPS[group]
        if kind == "commands" and group in GROUPS
        else {"themes": ["dark", "light"], "rooms": ["a b", "cache"]}.get(kind, [])
    )


@pytest.mark.parametrize("word", command_words())
def test_every_beginning_of_every_word_completes_to_it(word: str) -> None:
    for end in range(len(word) + 1):
        assert word in completions(word[:end], _lookup)
        assert f"help {word}" in completions(f"help {word[:end]}", _lookup)
    for second in GROUPS.get(word, ()):
        for end in range(len(second) + 1):
            assert f"{word} {second}" in completions(f"{word} {second[:end]}", _lookup)


def test_what_the_store_knows_completes_quoted_as_a_shell_would() -> None:
    assert completions("hmmm show ", _lookup) == ["hmmm show 'a b'", "hmmm show cache"]
    assert completions("nothing at all ", _lookup) == []


@given(st.text(max_size=40))
def test_whatever_stands_there_completes_to_lines_that_begin_with_it(line: str) -> None:
    assert all(found.startswith(line) for found in completions(line, _lookup))


@pytest.mark.parametrize("word", sorted({*command_words(), *(a.id for a in ACTIONS if not a.hidden)}))
def test_help_explains_every_word(word: str) -> None:
    found = parse_command(f":help {word}", Registry())
    assert not found.refusal
    assert found.words == (word, "--help") or found.told.startswith(f":{word}: ")


def test_help_alone_lists_every_command_with_a_line_each(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("colon")
        await c.type("help\n")
        await c.see("Commands")
        for word, about in described():
            await c.see(f":{word}", about[:40])

    assert {command.name for command in COMMANDS} - {"watch"} == SCRIPTED
    drive(job, size=(160, 48))


@pytest.mark.parametrize("wrong", ["hmm", "decision", "stats", "quti", "overveiw", "zzzz", "elect", "peer"])
def test_a_wrong_word_names_the_nearest_and_help(wrong: str) -> None:
    refusal = parse_command(wrong, Registry()).refusal
    assert ":help lists all." in refusal
    assert wrong == "zzzz" or "Did you mean :" in refusal
    assert ":help" in parse_command(f"help {wrong}", Registry()).refusal


def test_tab_completes_and_never_closes_the_line(drive: Drive) -> None:
    async def job(c: Driven) -> None:
        await c.press("colon")
        prompt = c.app.screen.query_one(Prompt)
        await c.wait(lambda: c.app._second_words)
        await c.type("hm")
        await c.press("tab")
        assert prompt.value == "hmmm "
        await c.press("tab")
        await c.see("post  rooms  show  watch")
        seen = {prompt.value}
        for _ in range(3):
            await c.press("tab")
            seen.add(prompt.value)
        assert seen == {"hmmm post", "hmmm rooms", "hmmm show", "hmmm watch"}
        prompt.value = "zzz"
        for key in ("tab", "tab", "shift+tab"):
            await c.press(key)
            assert prompt.has_focus
            assert prompt.value == "zzz"
        prompt.value = "hmmm show ca"
        await c.press("tab")
        assert prompt.value == "hmmm show cache "
        await c.press("escape", "6", "slash")
        await c.type("x")
        await c.press("tab")
        assert prompt.has_focus

    drive(job)


# --- what a question names --------------------------------------------------------------------------------------------


def _store() -> Store:
    store = Store()
    store.put("status", status())
    store.put("election", election())
    store.put("members", members())
    store.put("decisions", decisions())
    store.put(
        "waiting", (s.WaitingInfo(peer_id=ME, agent_id="carol", role="agent", kind="agent", since=at(9), host="h"),)
    )
    store.put(
        "ucxl",
        (
            s.AddressInfo(
                address="ucxl://a:b@c:d/e",
                versions=3,
                at=at(1),
                author="a",
                size=1,
                hash="h",
                siblings=0,
                deleted=False,
            ),
        ),
    )
    store.ring("log").extend([log_entry(7)])
    return store


#: What is selected or typed, and what the question must have.
NAMES = {
    "renew": ("", "the log of alice"),
    "approve": ("carol", "carol (…AAAAAA)"), "refuse": (ME, "carol (…AAAAAA)"), "revoke": (PEERS["agent-a"], "agent-a (…AAAAAA)"),
    "evict": ("agent-b", "agent-b (…BBBBBB)"), "demote": ("agent-c", "agent-c (…CCCCCC)"), "trigger": ("", "chorus (agent-b leads, term 7)"),
    "resign": ("", "chorus (agent-b leads, term 7)"), "withdraw": ("dcs7k2qa", "“Adopt TinyLFU in the search cache” (2 votes so far)"),
    "delete": ("ucxl://a:b@c:d/e", "ucxl://a:b@c:d/e (3 versions stay readable in history)"), "purge": ("e0000007", "e0000007 by alice (“what entry 7 says”)"),
}  # fmt: skip


@pytest.mark.parametrize("action", [a for a in ACTIONS if a.dangerous], ids=lambda action: action.id)
def test_every_question_names_what_it_acts_on(action) -> None:  # type: ignore[no-untyped-def]
    key, name = NAMES[action.id]
    assert "{}" in action.dangerous
    assert subject(_store(), action.id, key) == name


@pytest.mark.parametrize("verb", ASKED, ids=" ".join)
def test_every_typed_command_asks_by_name(verb: tuple[str, str]) -> None:
    key, name = NAMES[ASKED[verb]]
    store = _store()
    found = parse_command(" ".join([*verb, key]), Registry(), lambda action, word: subject(store, action, word))
    assert name in found.question
    assert found.changes
    assert parse_command(" ".join([*verb, key]), Registry()).question, "nothing known of it is no reason not to ask"


@pytest.mark.parametrize("line", ["cluster recover --force-new", "cluster policy open", "cluster join 14633462"])
def test_what_moves_a_home_or_opens_a_cluster_is_asked_by_name(line: str) -> None:
    store = _store()
    question = parse_command(line, Registry(), lambda action, word: subject(store, action, word)).question
    assert "14633462" in question if "join" in line else "chorus" in question


@pytest.mark.parametrize(
    ("pane", "key", "name"),
    [("7", "D", "ucxl://"), ("2", "t", "chorus (agent-b leads, term 7)"), ("2", "R", "chorus (agent-b leads, term 7)"), ("9", "P", "e0000059 by alice"),
     ("4", "X", "agent-b (…BBBBBB)"), ("4", "E", "agent-b (…BBBBBB)"), ("4", "minus", "agent-b (…BBBBBB)")],
)  # fmt: skip
def test_every_key_asks_by_name(drive: Drive, pane: str, key: str, name: str) -> None:
    async def job(c: Driven) -> None:
        await c.press(pane)
        await c.pilot.pause()
        await c.press(key)
        await c.wait(lambda: isinstance(c.app.screen, Confirm))
        assert name in c.app.screen.question  # type: ignore[attr-defined]

    drive(job, node=FakeSource())


def test_what_is_typed_ahead_of_the_line_belongs_to_it(drive: Drive) -> None:
    """A burst of keys, as a paste or a script sends it: no pane may take them for its own."""

    async def job(c: Driven) -> None:
        from textual import events

        for key, character in (("colon", ":"), *((k, k) for k in "help"), ("enter", None)):
            c.app.post_message(events.Key(key, character))
        await c.see("Commands", ":hmmm")
        assert c.app.pane_name == "overview"
        assert len(c.app.screen_stack) == 2

    drive(job, size=(120, 36))
