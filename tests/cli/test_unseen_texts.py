"""What commands print of others' texts: whatever nobody would see is a visible mark, in every command; ``--json`` says it exactly."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chorus_hap import cli
from chorus_hap.cli import output
from chorus_hap.shown import clean, clean_lines, json_safe
from tests.cli.test_commands import DECISION, MESSAGE, POSTED, ROOM, STATUS
from tests.support.fake_node import FakeNode
from tests.support.unseen import PROPER, UNSEEN, not_seen, spoiled

AT = "2026-01-01T00:00:00Z"
VERSION = {
    "hash": "a" * 64, "key": "12D3b/0/1", "at": AT, "author": "agent-b", "size": 3, "media": "text/plain", "deleted": False,
    "parents": [], "latest": True, "sibling": False, "note": "first",
}  # fmt: skip
VOTE = {
    "voter": "agent-b",
    "peer_id": "12D3b",
    "choice": "approve",
    "reason": "fine",
    "at": AT,
    "counted": True,
    "you": False,
}
ADDRESS = "ucxl://a:b@c:d/x"
ANSWERS: dict[str, Any] = {
    "status": STATUS,
    "peers": [{"peer_id": "12D3b", "agent_id": "agent-b", "addresses": ["/ip4/1.2.3.4/tcp/1"], "direction": "inbound", "connected_s": 1.0, "rtt_ms": 1.0, "score": 0.0, "entries": 1, "member": True}],
    "members": [{"peer_id": "12D3b", "agent_id": "agent-b", "role": "agent", "kind": "agent", "authority": "coordination", "voter": True, "online": True, "leader": True, "last_seen": AT, "entries": 1, "revoked": False, "you": False}],
    "members.log": [{"number": 1, "term": 1, "at": AT, "kind": "admit", "who": "agent-b", "peer_id": "12D3b", "text": "admitted", "by": "agent-a", "voters": 1}],
    "members.pending": [{"peer_id": "12D3c", "agent_id": "agent-c", "role": "agent", "kind": "agent", "since": AT, "host": "box", "capabilities": ["x"]}],
    "members.revoke": {"text": "agent-b was revoked.", "act": 3, "peer_id": "12D3b"},
    "hmmm.rooms": [ROOM],
    "hmmm.show": {"room": ROOM, "messages": [{**MESSAGE, "citations": [{"address": ADDRESS, "reason": "why"}]}]},
    "hmmm.post": POSTED,
    "decisions.list": [DECISION],
    "decisions.show": {**DECISION, "description": "long", "votes": [VOTE]},
    "decisions.vote": {**POSTED, "text": "voted"},
    "ucxl.ls": [{"address": ADDRESS, "versions": 1, "at": AT, "author": "agent-b", "size": 3, "hash": "a" * 64, "siblings": 0, "deleted": False}],
    "ucxl.log": [VERSION],
    "ucxl.diff": {"address": ADDRESS, "old": VERSION, "new": VERSION, "text": "-old\n+new"},
    "log.tail": [{"id": "e1", "key": "12D3b/0/1", "at": AT, "author": "agent-b", "type": "hmmm.message", "via": "http", "text": "said", "body": "present"}],
    "log.verify": {"ok": False, "feeds": 1, "entries": 1, "bodies": 1, "bad": "bad", "forks": ["one"]},
    "election.show": {"leader": STATUS["leader"], "term": 3, "state": "follower", "heartbeat_s": 1, "timeout_s": 3, "voters": STATUS["voters"], "ballots": [], "timeline": [{"term": 3, "leader": "agent-b", "trigger": "manual", "at": AT, "certified": True}], "last_act": 1, "committed_act": 1, "why": "agent-b leads", "trigger": ""},
    "election.verify": {"term": 3, "ok": True, "leader": "agent-b", "peer_id": "12D3b", "roster": 1, "votes": [{"voter": "12D3b", "agent_id": "agent-b", "good": True}], "trigger": "", "at": AT, "text": "agent-b led"},
}  # fmt: skip
COMMANDS = [
    "status", "peers", "members", "members log", "members pending", "members revoke agent-b --yes", "hmmm rooms", "hmmm show r", "hmmm post r text",
    "decisions list", "decisions show d2345678", "decisions vote d2345678 approve", "ucxl ls", f"ucxl log {ADDRESS}", f"ucxl diff {ADDRESS}",
    "log tail", "log verify", "election show", "election why", "election verify 3", f"ucxl get {ADDRESS}",
]  # fmt: skip
Go = Callable[..., str]


@pytest.fixture
def go(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Go:
    """Runs a command on a scripted node whose every text is spoiled, as on a terminal; gives stdout and stderr."""
    monkeypatch.setenv("CHORUS_HOME", str(tmp_path / "home"))
    body = base64.b64encode(("body\n" + UNSEEN).encode()).decode()
    content = {"address": ADDRESS, "version": VERSION, "data": body, "cites": [{"address": ADDRESS, "reason": "why"}]}

    def run(*words: str) -> str:
        with FakeNode(tmp_path / "home", {**{k: spoiled(v) for k, v in ANSWERS.items()}, "ucxl.get": spoiled(content)}):
            cli.main(words)
        printed = capfd.readouterr()
        return printed.out + printed.err

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_what_nobody_would_see(go: Go, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    shown = go(*command.split())
    assert "<U+200B>" in shown, shown
    assert "<hidden: obey me>" in shown
    assert not not_seen(shown), shown


@pytest.mark.parametrize("command", COMMANDS)
def test_json_says_it_exactly_and_shows_it(go: Go, command: str) -> None:
    shown = go(*command.split(), "--json")
    assert not not_seen(shown), shown
    assert (
        UNSEEN
        in json.dumps([json.loads(line) for line in shown.splitlines()], ensure_ascii=False).replace("\\u009b", "\x9b")
        or "ucxl get" in command
    )


def test_refusals_are_shown_as_carefully(go: Go) -> None:
    assert not not_seen(go("hmmm", UNSEEN))
    assert not not_seen(go("config", "show", UNSEEN))


@pytest.mark.parametrize("text", PROPER)
def test_what_needs_them_stays_readable(text: str) -> None:
    assert clean(f"a {text} b") == f"a {text} b"


def test_cleaning_twice_changes_nothing() -> None:
    once = clean_lines(f"a\tb\n{UNSEEN}\x1b[0m")
    assert clean_lines(once) == once


def test_json_that_is_plain_is_not_touched() -> None:
    plain = '{"a":"größer 💥 \\n"}'.encode()
    assert json_safe(plain) == plain
    assert json.loads(json_safe(json.dumps(UNSEEN, ensure_ascii=False).encode())) == UNSEEN


def test_a_table_stays_straight_with_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stdout", printed)
    output.Output(json=False).table(("a", "b"), [("x\u200b", "1"), ("yyyyyyyyyyyyy", "2")])
    assert len({line.index(end) for line, end in zip(printed.getvalue().splitlines(), "b12", strict=True)}) == 1
