"""Commands against a scripted node: what goes to stdout, what to stderr, which status comes back."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_core.errors import NoQuorum, Refused, Unavailable
from chorus_hap import cli
from chorus_hap.cli import output
from tests.support.fake_node import FakeNode

STATUS = {
    "peer_id": "12D3me",
    "agent_id": "agent-a",
    "role": "agent",
    "kind": "agent",
    "authority": "coordination",
    "network": "chorus",
    "cluster_id": "c" * 64,
    "leader": {"peer_id": "12D3b", "agent_id": "agent-b", "term": 3, "certain": True, "lease_age_s": 1.0},
    "term": 3,
    "state": "follower",
    "stage": "ready",
    "voters": {"total": 3, "reachable": 2, "quorum": 2},
    "peers": 2,
    "addresses": ["/ip4/127.0.0.1/tcp/1/p2p/12D3me"],
    "entries": 9,
    "uptime_s": 75.0,
    "version": "0",
    "home": "/h",
    "mode": "daemon",
}
POSTED = {"id": "abcdefgh", "key": "12D3me/0/1", "delivered": 1, "room": "r"}
MESSAGE = {
    "id": "m1",
    "key": "a/0/1",
    "at": "2026-01-01T00:00:00.000Z",
    "author": "agent-b",
    "author_peer": "12D3b",
    "kind": "agent",
    "via": "service",
    "room": "r",
    "thread": "m1",
    "parent": "",
    "intent": "question",
    "text": "what\nnow\x1b[2J?",
}
ROOM = {"id": "r", "messages": 1, "participants": ["agent-b"], "last_at": MESSAGE["at"], "last_text": "what now"}
DECISION = {
    "id": "d2345678",
    "title": "Use feeds",
    "description": "",
    "kind": "code",
    "address": "ucxl://a:b@c:d/x",
    "proposer": "agent-b",
    "proposer_peer": "12D3b",
    "options": ["approve", "reject"],
    "rule": "majority",
    "quorum": 0.5,
    "deadline": "2026-01-01T01:00:00Z",
    "at": "2026-01-01T00:00:00Z",
    "state": "open",
    "outcome": "",
    "provisional": True,
    "tally": {"approve": 1, "reject": 0},
    "eligible": 3,
    "votes": [],
    "may_vote": "",
    "your_vote": "",
    "time_left_s": 65.0,
    "waiting_for": ["agent-a"],
}

Go = Callable[..., tuple[int, str, str]]


@pytest.fixture
def go(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Go:
    """Runs a command on a home of its own: status, stdout, stderr."""
    monkeypatch.setenv("CHORUS_HOME", str(tmp_path / "home"))

    def run(*words: str) -> tuple[int, str, str]:
        status = cli.main(words)
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return run


def node(tmp_path: Path, answers: dict[str, Any] | None = None, events: list[Any] | None = None) -> FakeNode:
    return FakeNode(tmp_path / "home", {"status": STATUS, **(answers or {})}, events)


def test_status_is_one_object_with_what_scripts_rely_on(tmp_path: Path, go: Go) -> None:
    with node(tmp_path):
        status, out, err = go("status", "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert out.count("\n") == 1
    needed = "peer_id agent_id role kind cluster_id leader term state peers addresses entries uptime_s"
    assert set(needed.split()) <= set(told)
    assert told["leader"]["peer_id"] == "12D3b"


def test_status_for_people_has_no_colours_in_a_pipe(tmp_path: Path, go: Go) -> None:
    with node(tmp_path):
        status, out, _ = go("status")
    assert status == 0
    assert "agent-b (term 3" in out
    assert "losing 1 more stops elections" in out
    assert "\x1b" not in out


def test_a_leader_without_a_lease_is_not_said_as_a_fact(tmp_path: Path, go: Go) -> None:
    leader = STATUS["leader"] | {"certain": False, "lease_age_s": 42.0}  # type: ignore[operator]
    with node(tmp_path, {"status": STATUS | {"leader": leader}}):
        _, out, _ = go("status")
    assert "last known leader agent-b (term 3), heard 42 s ago" in out


def test_flags_work_on_both_sides_of_the_command(tmp_path: Path, go: Go) -> None:
    with FakeNode(tmp_path / "other", {"status": STATUS}):
        first = go("--json", "--home", str(tmp_path / "other"), "status")
        second = go("status", f"--home={tmp_path / 'other'}", "--json")
    assert first == second
    assert first[0] == 0


def test_without_a_node_reading_starts_nothing(tmp_path: Path, go: Go) -> None:
    status, out, err = go("status")
    assert (status, out) == (3, "")
    assert "nothing to read" in err
    assert not (tmp_path / "home").exists()


def test_a_command_never_founds_a_cluster(tmp_path: Path, go: Go) -> None:
    status, out, _ = go("hmmm", "post", "r", "hi", "--json")
    assert status == 3
    assert json.loads(out)["error"]["code"] == "no_node"
    assert "never founds" in json.loads(out)["error"]["message"]
    assert not (tmp_path / "home").exists()


def test_nothing_to_watch_without_a_node(go: Go) -> None:
    for words in (("election", "watch"), ("hmmm", "watch"), ("decisions", "watch"), ("watch", "--attention")):
        assert go(*words)[0] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stats"], "Did you mean `status`?"),
        (["hmmm", "pst"], "post"),
        (["hmmm"], "Missing command"),
        (["cluster"], "It is one of join, recover, policy, share."),
        (["hmmm", "post", "r"], "Missing argument"),
        (["status", "--nope"], "--nope"),
        (["status", "--timeout", "soon"], "no number of seconds"),
        (["status", "--home"], "needs a value"),
        (["status", "--json=yes"], "takes no value"),
        (["--json"], "A command is missing"),
        (["patch", "list"], "not in this version"),
        (["watch"], "What is to be watched"),
        (["config", "show", "elecction.timeout_s"], "Did you mean `election.timeout_s`?"),
    ],
)
def test_wrong_words_are_usage(go: Go, words: list[str], said: str) -> None:
    status, out, err = go(*words)
    assert status == 2
    assert said in out + err
    assert "Traceback" not in err


def test_a_refusal_is_one_object(tmp_path: Path, go: Go) -> None:
    def refuse(params: dict[str, Any]) -> None:
        raise Refused("A reject needs a reason.", "Give one with --reason.")

    with node(tmp_path, {"decisions.vote": refuse}):
        status, out, err = go("decide", "vote", "d2", "reject", "--json")
        assert (status, err) == (1, "")
        assert json.loads(out) == {
            "error": {"code": "refused", "message": "A reject needs a reason.", "next": "Give one with --reason."}
        }
        status, out, err = go("decide", "vote", "d2", "reject")
        assert (status, out) == (1, "")
        assert "A reject needs a reason.\n  Give one with --reason." in err


def test_posting(tmp_path: Path, go: Go) -> None:
    with node(tmp_path, {"hmmm.post": POSTED}) as fake:
        status, out, _ = go(
            *("hmmm", "post", "r", "two", "words", "--intent", "question", "--reply-to", "m1"),
            *("--cite", "ucxl://a:b@c:d/x=because", "--op-id", "0190-x"),
        )
    assert status == 0
    assert out == "posted abcdefgh in r  (held by 1 other member)\n"
    (sent,) = fake.named("hmmm.post")
    assert sent["text"] == "two words"
    assert (sent["intent"], sent["reply_to"], sent["op_id"], sent["wait_s"]) == ("question", "m1", "0190-x", 0.0)
    assert sent["citations"] == [{"address": "ucxl://a:b@c:d/x", "reason": "because", "version": ""}]


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_dash_is_standard_input(tmp_path: Path, go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, "zwei\nZeilen é\n".encode())
    with node(tmp_path, {"hmmm.post": POSTED}) as fake:
        assert go("hmmm", "post", "r", "-")[0] == 0
    assert fake.named("hmmm.post")[0]["text"] == "zwei\nZeilen é"


@pytest.mark.parametrize(
    ("data", "code"), [(b"x" * 10_000_000, "too_large"), (b"\xff\xfe", "invalid_input"), (b"\n", "invalid_input")]
)
def test_what_cannot_be_a_message_is_said(
    tmp_path: Path, go: Go, monkeypatch: pytest.MonkeyPatch, data: bytes, code: str
) -> None:
    stdin(monkeypatch, data)
    with node(tmp_path, {"hmmm.post": POSTED}) as fake:
        _, out, _ = go("hmmm", "post", "r", "-", "--json")
    assert json.loads(out)["error"]["code"] == code
    assert fake.named("hmmm.post") == []


def test_text_behind_two_dashes_may_look_like_flags(tmp_path: Path, go: Go) -> None:
    with node(tmp_path, {"hmmm.post": POSTED}) as fake:
        assert go("hmmm", "post", "r", "--", "--json", "is", "a", "flag")[0] == 0
    assert fake.named("hmmm.post")[0]["text"] == "--json is a flag"


def test_waiting_for_delivery_asks_again_with_the_same_id(tmp_path: Path, go: Go) -> None:
    with node(tmp_path, {"hmmm.post": POSTED | {"delivered": 0}}) as fake:
        assert go("hmmm", "post", "r", "hi")[0] == 0  # attached: not waited for
        status, out, err = go("hmmm", "post", "r", "hi", "--wait", "--timeout", "7")
        fake.answers["status"] = STATUS | {"lone": True}
        lone = go("hmmm", "post", "r", "hi", "--wait", "--json")
    assert (status, out) == (4, "")
    assert "kept in this home as abcdefgh" in err
    assert "when a node next runs here" in err
    _, first, again, *_ = fake.named("hmmm.post")
    assert first["op_id"] == again["op_id"] != ""
    assert (first["wait_s"], again["wait_s"]) == (0.0, 7.0)
    assert lone[0] == 0
    assert json.loads(lone[1])["id"] == "abcdefgh"
    assert "cluster of one" in lone[2]


def test_a_node_without_a_cluster_is_waited_for_and_then_said(tmp_path: Path, go: Go) -> None:
    with node(tmp_path, {"status": STATUS | {"cluster_id": ""}, "hmmm.post": POSTED}) as fake:
        status, _, err = go("hmmm", "post", "r", "hi", "--timeout", "0.2")
    assert status == 3
    assert "belongs to no cluster yet" in err
    assert fake.named("hmmm.post") == []


def test_help_is_a_word_too(go: Go) -> None:
    assert go("help", "hmmm", "post")[1] == go("hmmm", "post", "--help")[1] != ""
    assert go("help")[1] == go("--help")[1]


def test_read_only_changes_nothing(tmp_path: Path, go: Go) -> None:
    with node(tmp_path, {"hmmm.post": POSTED, "election.resign": {}}) as fake:
        assert go("hmmm", "post", "r", "hi", "--read-only")[0] == 1
        assert go("election", "resign", "--read-only")[0] == 1
        assert go("status", "--read-only")[0] == 0
    assert fake.named("hmmm.post") == []


def test_a_node_that_is_starting_is_waited_for(tmp_path: Path, go: Go) -> None:
    asked = 0

    def rooms(params: dict[str, Any]) -> Any:
        nonlocal asked
        asked += 1
        if asked < 3:
            fake.answers["status"] = STATUS | {"stage": "identity"}
            raise Unavailable("The node is starting.")
        return [ROOM]

    with node(tmp_path, {"hmmm.rooms": rooms}) as fake:
        status, out, _ = go("hmmm", "rooms", "--json")
    assert (status, json.loads(out)["id"]) == (0, "r")


def test_a_part_that_is_down_is_said_at_once(tmp_path: Path, go: Go) -> None:
    def down(params: dict[str, Any]) -> None:
        raise Unavailable("Rooms are being rebuilt.")

    with node(tmp_path, {"hmmm.rooms": down}):
        assert go("hmmm", "rooms")[0] == 1


def test_rooms_and_messages(tmp_path: Path, go: Go) -> None:
    view = {"room": ROOM, "messages": [MESSAGE], "stances": {"m1": {"agree": 2}}}
    with node(tmp_path, {"hmmm.rooms": [ROOM], "hmmm.show": view}):
        assert "what now" in go("hmmm", "rooms")[1]
        status, out, _ = go("hmmm", "show", "r")
        assert json.loads(go("hmmm", "show", "r", "--json")[1])["messages"][0]["text"] == MESSAGE["text"]
    assert status == 0
    assert "  what\n  now·[2J?" in out  # what a peer sends is shown, never obeyed
    assert "+2 -0 =0" in out


def test_an_empty_list_prints_nothing(tmp_path: Path, go: Go) -> None:
    with node(tmp_path, {"hmmm.rooms": [], "decisions.list": []}):
        assert go("hmmm", "rooms", "--json") == (0, "", "")
        status, out, err = go("decisions", "list")
    assert (status, out) == (0, "")
    assert "No decisions yet" in err


def test_decisions(tmp_path: Path, go: Go) -> None:
    with node(
        tmp_path,
        {
            "decisions.list": [DECISION],
            "decisions.show": DECISION,
            "decisions.propose": POSTED,
            "decisions.vote": POSTED,
        },
    ) as fake:
        assert "approve 1 reject 0 of 3 (provisional)" in go("decisions", "list")[1]
        assert go("decisions", "list", "--state", "closing", "--json")[1] == ""
        assert "agent-a" in go("decide", "show", "d2")[1]
        assert go("decisions", "propose", "Use feeds", "--deadline", "10m", "--option", "a", "--option", "b")[0] == 0
        assert go("decisions", "vote", "d2", "approve", "--reason", "sound")[0] == 0
    (proposed,) = fake.named("decisions.propose")
    assert (proposed["title"], proposed["deadline"], proposed["options"]) == ("Use feeds", "10m", ["a", "b"])
    (voted,) = fake.named("decisions.vote")
    assert (voted["id"], voted["choice"], voted["reason"]) == ("d2", "approve", "sound")


VERSION = {
    "hash": "h" * 64,
    "key": "a/0/1",
    "at": "2026-01-01T00:00:00Z",
    "author": "agent-b",
    "size": 3,
    "media": "text/plain",
    "deleted": False,
    "parents": [],
    "latest": True,
    "sibling": False,
}


def test_addresses(tmp_path: Path, go: Go) -> None:
    address = "ucxl://a:b@c:d/notes.md"
    body = b"\x00\xffraw\n"
    content = {"address": address, "version": VERSION, "data": base64.b64encode(body).decode()}
    posted = POSTED | {"address": address, "version": "h" * 64}
    (tmp_path / "notes.md").write_bytes(body)
    with node(
        tmp_path,
        {
            "ucxl.get": lambda p: content | ({"missing": "purged"} if p["version"] else {}),
            "ucxl.put": posted,
            "ucxl.log": [VERSION],
            "ucxl.ls": [],
            "ucxl.diff": {"address": address, "old": VERSION, "new": VERSION, "text": "-a\n+b\n"},
        },
    ) as fake:
        assert "purged" in go("ucxl", "get", address, "--version", "h")[2]
        assert go("ucxl", "put", address, str(tmp_path / "notes.md"), "--if-match", "none")[0] == 0
        assert "latest" in go("ucxl", "log", address)[1]
        assert go("ucxl", "diff", address)[1] == "-a\n+b\n"
        assert "No such address" in go("ucxl", "ls", "ucxl://any:any@x:any/")[2]
        status, _, err = go("ucxl", "put", address, str(tmp_path / "absent"))
    assert status == 1
    assert "absent: No such file" in err
    (sent,) = fake.named("ucxl.put")
    assert base64.b64decode(sent["data"]) == body
    assert (sent["media"], sent["if_match"]) == ("text/markdown", "none")


def test_get_prints_the_bytes_as_they_are(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    body = b"\x00\xff\x1b[2J no newline at the end"
    content = {"address": "ucxl://a:b@c:d/x", "version": VERSION, "data": base64.b64encode(body).decode()}
    with FakeNode(tmp_path, {"ucxl.get": content}):
        assert cli.main(["ucxl", "get", "ucxl://a:b@c:d/x", "--home", str(tmp_path)]) == 0
    assert capfdbinary.readouterr().out == body


def test_verify_fails_when_a_feed_does(tmp_path: Path, go: Go) -> None:
    good = {"ok": True, "feeds": 2, "entries": 5, "bodies": 3}
    with node(tmp_path, {"log.verify": good}) as fake:
        assert go("log", "verify")[0] == 0
        status, _, err = go("log", "purge", "A/0/3")
        assert status == 1
        assert "for good" in err
        assert "--yes" in err
        assert not fake.named("log.purge")
        fake.answers["log.purge"] = POSTED
        assert go("log", "purge", "A/0/3", "--yes")[0] == 0
        (sent,) = fake.named("log.purge")
        assert sent["key"] == "A/0/3"
        assert sent["op_id"]
        fake.answers["log.verify"] = good | {"ok": False, "bad": "a/0/3: the hash differs"}
        status, out, _ = go("log", "verify")
    assert status == 1
    assert "a/0/3" in out


def test_watching_prints_what_is_new_and_ends_when_the_node_does(tmp_path: Path, go: Go) -> None:
    def view(*ids: str) -> dict[str, Any]:
        return {"room": ROOM, "messages": [MESSAGE | {"id": id, "text": id} for id in ids]}

    snapshot = {"room:r": {"rev": 1, "value": view("old", "last")}}
    events = [{"slice": "room:r", "rev": 2, "value": view("old", "last", "new")}]
    with node(tmp_path, {"subscribe": snapshot}, events) as fake:
        fake.hang_up_after_subscribe = True
        status, out, err = go("hmmm", "watch", "r", "--json", "--last", "1")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["id"] for line in lines[:2]] == ["last", "new"]
    assert status == 3  # the node is gone, and that is said
    assert lines[2]["error"]["code"] == "no_node"
    assert err == ""


def test_an_interrupt_is_130(tmp_path: Path, go: Go) -> None:
    def interrupt(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    with node(tmp_path), pytest.MonkeyPatch.context() as patch:
        patch.setattr("chorus_hap.cli.run.Run.read", interrupt)
        assert go("status")[0] == 130


def test_no_traceback_reaches_a_person(tmp_path: Path, go: Go) -> None:
    secret = "ghp_" + "a1B2" * 9

    def explode(*args: object, **more: object) -> None:
        raise RuntimeError(f"token {secret}")

    with node(tmp_path), pytest.MonkeyPatch.context() as patch:
        patch.setattr("chorus_hap.cli.run.Run.read", explode)
        status, out, err = go("status")
    assert (status, out) == (1, "")
    assert "nobody foresaw" in err
    assert "Traceback" not in err
    assert secret not in err
    kept = (tmp_path / "home" / "log" / "command.log").read_text()
    assert "Traceback" in kept
    assert secret not in kept


def test_exit_codes_of_the_table(tmp_path: Path, go: Go) -> None:
    def no_quorum(params: dict[str, Any]) -> None:
        raise NoQuorum("No majority.")

    with node(tmp_path, {"election.trigger": no_quorum}):
        assert go("election", "trigger")[0] == 1


def test_config_show_tells_origins(tmp_path: Path, go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.toml").write_text("[election]\n\ntimeout_s = 20\n")
    monkeypatch.setenv("CHORUS_P2P_PORT", "9123")
    status, out, _ = go("config", "show", "--origin", "--json", "--network", "lab")
    assert status == 0
    told = json.loads(out)
    assert told["election.timeout_s"] == {"value": 20.0, "origin": "file:3"}
    assert told["p2p.port"] == {"value": 9123, "origin": "env CHORUS_P2P_PORT"}
    assert told["cluster.network"] == {"value": "lab", "origin": "flag"}
    assert told["api.port"]["origin"] == "default"
    assert "file:3" in go("config", "show", "election", "--origin")[1]
    (tmp_path / "home" / "config.toml").write_text("[election]\ntimeout = 20\n")
    status, _, err = go("config", "show")
    assert status == 2
    assert "election.timeout_s" in err


def test_doctor(tmp_path: Path, go: Go) -> None:
    status, out, _ = go("doctor", "--json", *(f"--set={p}.port=0" for p in ("p2p", "api", "health", "metrics")))
    told = json.loads(out)
    assert status == 0
    assert told["ok"] is True
    assert {c["name"] for c in told["checks"]} >= {
        "python",
        "home",
        "keys",
        "disk",
        "clock",
        "node",
        "settings",
        "terminal",
    }
    with node(tmp_path):
        assert "answers: agent-a" in go("doctor")[1]
    key = tmp_path / "home" / "identity" / "ed25519"
    key.write_bytes(b"x")
    key.chmod(0o644)
    status, out, _ = go("doctor")
    assert status == 1
    assert "chmod go-rwx" in out


def test_doctor_sees_a_port_that_is_taken(tmp_path: Path, go: Go) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, out, _ = go("doctor", "--set", f"p2p.port={taken.getsockname()[1]}")
    assert status == 1
    assert "is in use" in out


def test_durations_and_widths() -> None:
    assert [output.span(s) for s in (0.44, 59, 61, 3600, 90061)] == ["0.4 s", "59 s", "1 min 1 s", "1 h", "1 d 1 h"]
    assert output.width_of("aé漢") == 4
    assert output.clean("a\x1b[31m\u202eb") == "a·[31m·b"
    assert output.one_line("a\n\tb  c") == "a b c"
