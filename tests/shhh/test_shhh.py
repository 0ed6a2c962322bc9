"""SHHH: every rule is proven by its examples, matching is linear, redaction settles, and the door refuses and records."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.errors import ConfigError, SecretFound
from agent_core.feeds.model import Draft
from agent_core.shhh import engine
from agent_core.shhh.door import Door
from agent_core.shhh.engine import Engine
from agent_core.shhh.model import Rule, Severity, builtin_rules, example, parse_rules

RULES = {rule.id: rule for rule in builtin_rules()}
KEY = b"k" * 32
GITHUB = example("ghp_<a36>")
JWT = example("eyJ<b30>.eyJ<b60>.<b43>")


class Note(msgspec.Struct, frozen=True, kw_only=True):
    room: str
    tags: tuple[str, ...] = ()
    salt: bytes = b""


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rule_finds_its_examples(rule: Rule) -> None:
    for text in map(example, rule.match):
        hits = Engine([rule]).scan(f"before {text}\nafter")
        assert len(hits) == 1, f"{rule.id} misses {text!r}"
        assert any(finding.rule for finding in engine.find(text))
    for text in map(example, rule.no_match):
        assert not Engine([rule]).scan(text), f"{rule.id} wrongly finds something in {text!r}"


def test_every_severity_and_family_is_there() -> None:
    assert {rule.severity for rule in RULES.values()} >= {Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL}
    assert {tag for rule in RULES.values() for tag in rule.tags} >= {
        "key",
        "cloud",
        "forge",
        "model",
        "token",
        "generic",
    }
    assert all(word == word.lower() for rule in RULES.values() for word in rule.keywords)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_redaction_settles_and_takes_the_whole_secret(rule: Rule) -> None:
    for text in map(example, rule.match):
        once = engine.redact(text)
        assert "[REDACTED:" in once
        assert engine.redact(once) == once
        assert engine.find(once) == ()


@given(
    st.lists(st.one_of(st.text(max_size=30), st.sampled_from([example(t) for r in RULES.values() for t in r.match])))
)
def test_redaction_settles_on_any_mixture(pieces: list[str]) -> None:
    once = engine.redact("".join(pieces))
    assert engine.redact(once) == once


def test_places_are_in_characters() -> None:
    findings = engine.find(f"eins\nzwei 💥é {GITHUB} drei\n{JWT}\nßß {GITHUB}")
    assert [(f.rule, f.line, f.column, f.length) for f in findings] == [
        ("github-token", 2, 9, len(GITHUB)),
        ("jwt", 3, 1, len(JWT)),
        ("github-token", 4, 4, len(GITHUB)),
    ]


def test_lone_surrogates_do_no_harm() -> None:
    assert engine.redact(f"\ud800 {GITHUB} \udfff") == "\ud800 [REDACTED:github-token] \udfff"


@pytest.mark.parametrize(
    "unit",
    [
        "api_key=",
        "AKIA",
        "aws secret ",
        "-----BEGIN PRIVATE KEY-----\nAAAA",
        "eyJaaaaaaaaaaa.",
        "bearer ",
        "x://a:",
        "machine a login b ",
        "discord: aaaaaaaaaaaaaaaaaaaaaaaa.aaaaaa.",
        "twilio twilio ",
        "password:",
        "sk-sk-ant-gl",
        f"{GITHUB} ",
    ],
)
def test_hostile_input_takes_linear_time(unit: str) -> None:
    def cost(size: int) -> float:
        text = unit * (size // len(unit))
        start = time.process_time()
        engine.find(text)
        return time.process_time() - start

    cost(1000)  # compile
    small, large = min(cost(50_000), cost(50_000)), min(cost(400_000), cost(400_000))
    # Eight times the text: a quadratic matcher would need sixty-four times as long.
    assert large < max(small, 0.002) * 24


def test_custom_rules() -> None:
    rules = parse_rules(
        '[[rule]]\nid="mine"\nseverity="low"\ntitle="mine"\npattern="MY-[0-9]+"\nkeywords=["my-"]\nmatch=["MY-1"]\n'
    )
    assert Engine(rules).redact("a MY-12 b") == "a [REDACTED:mine] b"
    with pytest.raises(ConfigError, match="isn't RE2"):
        Engine([msgspec.structs.replace(rules[0], pattern="(?=x)")]).scan("my-")
    with pytest.raises(ConfigError, match="twice"):
        parse_rules(
            "\n".join(['[[rule]]\nid="a"\nseverity="low"\ntitle="a"\npattern="a"\nkeywords=[]\nmatch=["a"]'] * 2)
        )
    with pytest.raises(ConfigError, match="can't be used"):
        parse_rules("[[rule]]\nid = 3")


# --- the door ---------------------------------------------------------------------------------------------------------


def test_a_critical_secret_refuses_the_draft_and_names_rule_and_line() -> None:
    door = Door(KEY)
    with pytest.raises(SecretFound) as refusal:
        door.draft(Draft(type="hmmm.message", data=Note(room="r"), body=f"one\ntwo\n{GITHUB}".encode()))
    assert "line 3" in refusal.value.message
    assert "github-token" in refusal.value.message
    assert GITHUB not in str(refusal.value)
    assert door.statistics().blocked == 1


def test_others_are_redacted_in_body_and_header() -> None:
    door = Door(KEY)
    draft = Draft(
        type="x", data=Note(room=JWT, tags=("a", f"b {JWT}"), salt=b"\0\1"), body=f"see {JWT}".encode(), op="o"
    )
    clean = door.draft(draft)
    assert clean.data == Note(room="[REDACTED:jwt]", tags=("a", "b [REDACTED:jwt]"), salt=b"\0\1")
    assert clean.body == b"see [REDACTED:jwt]"
    assert clean.op == "o"
    with pytest.raises(SecretFound, match="room"):
        door.draft(Draft(type="x", data=Note(room=GITHUB)))


def test_what_is_clean_passes_untouched() -> None:
    door = Door(KEY)
    draft = Draft(type="x", data=Note(room="r"), body=b"\xff\x00 binary token")
    assert door.draft(draft) is draft
    assert door.payload(b'{"a": 1}') == b'{"a": 1}'
    assert door.text("hello") == "hello"


def test_binary_bodies_are_searched_and_otherwise_kept() -> None:
    clean = Door(KEY).payload(b"\xff\xfe " + JWT.encode() + b" \x80")
    assert clean == b"\xff\xfe [REDACTED:jwt] \x80"


def test_log_lines_are_always_redacted_and_never_refused() -> None:
    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no")

    door = Door(KEY)
    clean = door.log({"event": f"got {GITHUB}", "n": 1, "deep": {"list": [JWT, None, b"x"]}, GITHUB: True})
    assert clean == {
        "event": "got [REDACTED:github-token]",
        "n": 1,
        "deep": {"list": ["[REDACTED:jwt]", None, "x"]},
        "[REDACTED:github-token]": True,
    }
    assert "could not be checked" in door.log({"event": Rude()})["event"]
    assert door.statistics().blocked == 0


def test_audit_tells_equal_secrets_and_holds_none() -> None:
    seen: list[object] = []
    door = Door(KEY, audit=seen.append)
    door.text(f"{JWT}\n{JWT}")
    first, second = door.records
    assert first.digest == second.digest
    assert (first.line, second.line) == (1, 2)
    assert seen == [first, second]
    assert JWT not in repr(door.records)
    assert Door(b"z" * 32).text(JWT) == "[REDACTED:jwt]"
    other = Door(b"z" * 32)
    other.text(JWT)
    assert other.records[0].digest != first.digest
    assert door.statistics().by_rule == {"jwt": 2}
