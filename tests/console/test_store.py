"""The store: latest wins for state, every item kept for streams, gaps noticed; and the filter's grammar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.shapes import SliceEvent, Status
from chorus_hap.actions import Registry
from chorus_hap.commands import parse_command
from chorus_hap.everywhere import printed
from chorus_hap.filter import parse
from chorus_hap.store import SILENT_S, Ring, Store
from chorus_hap.widgets.lines import clock, cut, plain, width_of, wrap, wrap_spans
from tests.console.fake import leader, log_entry, status


def _event(slice: str, rev: int, items: list[object], dropped: int = 0) -> SliceEvent:
    return SliceEvent(
        slice=slice, rev=rev, items=tuple(msgspec.Raw(msgspec.json.encode(i)) for i in items), dropped=dropped
    )


def test_state_is_the_latest_and_older_revisions_change_nothing() -> None:
    store = Store()
    heard: list[str] = []
    stop = store.listen("status", heard.append)
    store.snapshot("status", {"rev": 5, "value": msgspec.to_builtins(status(term=7))})
    raw = msgspec.Raw(msgspec.json.encode(status(term=6)))
    assert store.apply(SliceEvent(slice="status", rev=4, value=raw))
    assert isinstance(store.value("status"), Status)
    assert store.value("status").term == 7
    stop()
    store.put("status", status(term=8), 6)
    assert heard == ["status"]


def test_a_gap_in_a_stream_is_noticed_and_counted_drops_are_none() -> None:
    store = Store()
    store.snapshot("log", {"rev": 10, "items": [msgspec.to_builtins(log_entry(1))], "dropped": 0})
    assert store.apply(_event("log", 12, [log_entry(2), log_entry(3)]))
    assert store.apply(_event("log", 20, [log_entry(4)], dropped=7))
    assert store.ring("log").dropped == 7
    assert not store.apply(_event("log", 25, [log_entry(5)], dropped=7))
    assert store.apply(_event("log", 25, [log_entry(5)], dropped=7)), "the snapshot has it"


def test_a_new_node_process_counts_anew_and_replaces_what_is_held() -> None:
    store = Store()
    store.put("status", status(term=7), 90)
    store.new_session()
    assert store.value("status").term == 7
    assert store.apply(SliceEvent(slice="status", rev=1, value=msgspec.Raw(msgspec.json.encode(status(term=8)))))
    assert store.value("status").term == 8


def test_an_attached_node_that_tells_nothing_is_silent_until_it_speaks() -> None:
    now = [100.0]
    store = Store(clock=lambda: now[0])
    store.connect("attached")
    store.put("status", status(leader=leader(lease_left_s=60.0)))
    now[0] += SILENT_S + 1
    store.heed()
    assert store.connection.state == "silent"
    assert store.away
    assert store.leader()[1] is False, "what a silent node said of a leader is no fact"
    store.apply(SliceEvent(slice="status", rev=7, value=msgspec.Raw(msgspec.json.encode(status(term=8)))))
    assert store.live
    assert not store.away


def test_times_of_other_days_say_so_in_eight_columns() -> None:
    now = datetime(2026, 3, 5, 3, 0, tzinfo=UTC).astimezone()
    local = now.replace(hour=1, minute=2, second=3)

    def told(**back: int) -> str:
        return clock((local - timedelta(**back)).isoformat(), now=now)

    assert told() == "01:02:03"
    assert told(days=1) == (local - timedelta(days=1)).strftime("%a")[:2] + " 01:02"
    assert told(days=30).strip() == (local - timedelta(days=30)).strftime("%d %b")
    assert told(days=400) == (local - timedelta(days=400)).strftime("%b %Y")
    assert {len(told(days=n)) for n in (0, 1, 6, 7, 100, 400)} == {8}


@pytest.mark.parametrize(
    ("line", "words", "question"),
    [
        (":members revoke carol", ("members", "revoke", "carol", "--yes"), "Revoke carol?"),
        (":members revoke carol --yes", ("members", "revoke", "carol", "--yes"), ""),
        (":members revoke", ("members", "revoke"), ""),
        (":members revoke --help", ("members", "revoke", "--help"), ""),
        (":election resign", ("election", "resign"), "Resign as leader of"),
        (":cluster join 14633462", ("cluster", "join", "14633462"), "Move this home"),
        (":cluster recover", ("cluster", "recover"), ""),
        (":cluster recover --force-new", ("cluster", "recover", "--force-new"), "Found a cluster"),
        (":cluster share", ("cluster", "share"), ""),
        (":cluster policy approve", ("cluster", "policy", "approve"), ""),
        (":members invite", ("members", "invite"), ""),
    ],
)
def test_words_are_those_of_the_command_line_and_ask_before_what_cant_be_undone(
    line: str, words: tuple[str, ...], question: str
) -> None:
    found = parse_command(line, Registry())
    assert found.words == words
    assert found.question.startswith(question)
    assert bool(found.question) == bool(question)
    assert found.changes == ("--help" not in words)


def test_tables_are_left_whole_and_sentences_wrapped() -> None:
    text = "act  term  what\n0    1     founded network chorus\nA sentence that is longer than the page is."
    assert [plain(line) for line in printed(text, 24)] == [
        "act  term  what",
        "0    1     founded network chorus",
        "A sentence that is",
        "longer than the page is.",
    ]


def test_a_wrong_word_is_told_the_right_one() -> None:
    assert (
        parse_command("hmm post x y", Registry()).refusal
        == "There is no command 'hmm'. Did you mean :hmmm? :help lists all."
    )
    assert ":help" in parse_command("zzz", Registry()).refusal


def test_a_leaders_claim_lapses_here_without_news() -> None:
    now = [100.0]
    store = Store(clock=lambda: now[0])
    store.connect("attached")
    store.put("status", status(leader=leader(lease_left_s=10.0, lease_age_s=1.0)))
    assert store.leader()[1]
    now[0] += 9.9
    told, certain = store.leader()
    assert certain
    assert told is not None
    assert round(told.lease_age_s, 1) == 10.9
    now[0] += 0.2
    assert not store.leader()[1]


@given(st.integers(1, 20), st.lists(st.integers(), max_size=60), st.integers(0, 70))
def test_a_rings_numbers_never_change(capacity: int, items: list[int], since: int) -> None:
    ring: Ring[int] = Ring(capacity)
    ring.extend(items)
    assert ring.total == len(items)
    assert ring.since(since) == [(n, i) for n, i in enumerate(items) if n >= since and n >= len(items) - capacity]


def test_the_filter_grammar() -> None:
    row = ("agent-b hmmm.message Deploy tonight", {"from": "agent-b", "type": "hmmm.message"})
    for source, passes in (
        ("deploy", True), ("deploy !tonight", False), ("!night", False), ("/dep.oy/", True), ("!/^agent-c/", True), ("from:agent-b", True),
        ("from:agent-c", False), ("!from:agent-c deploy", True), ("type:/^hmmm/", True), ('"deploy tonight"', True), ("12:04", False), ("", True),
    ):  # fmt: skip
        assert parse(source).matches(*row) is passes, source
    assert "no regular expression" in parse("/(/").problem


@given(st.text(max_size=80))
def test_no_filter_and_no_command_raises(text: str) -> None:
    parse(text).matches(text, {"a": text})
    parse_command(text, Registry())


@given(st.text(max_size=200), st.integers(2, 40))
def test_wrapped_lines_fit(text: str, width: int) -> None:
    assert all(width_of([(line, "")]) <= width for line in wrap(text, width))
    assert all(width_of(line) <= width for line in wrap_spans([(text, "a"), (text, "b")], width))
    assert width_of([(cut(text, width), "")]) <= max(width, 0) or not text.isprintable()
    assert "\x1b" not in plain(wrap_spans([(text, "a")], width)[0])


def test_keys_are_remapped_by_id_and_clashes_are_told() -> None:
    registry = Registry({"compose": "ctrl+n", "nonsense": "x"})
    action = registry.at("ctrl+n", "overview")
    assert action is not None
    assert action.id == "compose"
    assert registry.at("n", "overview") is None
    assert registry.problems == ["console.keys names no action 'nonsense'."]
    assert "keeps it" in Registry({"propose": "n"}).problems[0]
    assert Registry().problems == []
