"""One rule for names: what the system gives is made valid, what a person writes is refused with a suggestion, look-alikes are told apart."""

from __future__ import annotations

import getpass
import platform
import pwd
import socket
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.api.control import login_of
from agent_core.errors import ChorusError, InvalidInput
from agent_core.names import AGENT, CAPABILITY, MAX_NAME_CHARS, NETWORK, ROLE, NameRule, judged, made, objection
from agent_core.roster.settings import host_facts
from agent_core.settings import default_agent_id

RULES = [AGENT, ROLE, CAPABILITY, NETWORK]
#: What systems, directories and people call themselves.
SYSTEM_GIVES = [
    "CORP\\jdoe",
    "jdoe@corp.example",
    "Jane Doe",
    "Ren\udce9",
    "\udcff\udcfe",
    "x" * 300,
    "",
    "   ",
    "\x1b[31mred\x1b[0m",
    "\x1b]2;title\x07name",
    "a\nb",
    "..",
    "-rf",
    "$(id)",
    "user\u200b",
    "\u202eevil",
    "\u3164",
    "नमस्ते",
    "李雷",
    "Re\u0301ne\u0301",
    "Z\u0335\u0336\u0337\u0338\u0339\u0334algo",
    "a~b12345",
    "role:admin",
    "me/you",
    "\U000e0061\U000e0062",
]


@pytest.mark.parametrize("host", SYSTEM_GIVES, ids=ascii)
@pytest.mark.parametrize("login", SYSTEM_GIVES, ids=ascii)
def test_any_login_on_any_host_has_a_valid_name(login: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: login)
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    for kind in ("human", "agent"):
        name = default_agent_id(kind)
        assert objection(name, AGENT) == "", name
        assert judged(name, AGENT) == name
    if login.isalpha() and login.isascii():
        assert name.partition("-")[0]


def test_a_system_that_knows_nobody_has_a_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setattr(socket, "gethostname", lambda: "box.example.org")
    assert default_agent_id("human") == "human-box"
    assert default_agent_id("agent") == "agent-box"


def test_both_have_room_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "u" * 300)
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 300)
    name = default_agent_id("human")
    assert len(name) == MAX_NAME_CHARS
    assert name.endswith("-" + "h" * 23)


@given(st.text(st.characters(), max_size=100), st.sampled_from(RULES))
def test_what_is_made_is_a_name_and_what_is_judged_is_one_or_refused(text: str, rule: NameRule) -> None:
    name = made(text, rule)
    assert name == "" or objection(name, rule) == ""
    assert made(name, rule) == name
    if objection(text, rule) == "":
        assert made(text, rule).strip(rule.signs) == text.strip(rule.signs)
        assert judged(text, rule) == text
    try:
        assert objection(judged(text, rule), rule) == ""
    except InvalidInput as exc:
        refusal = exc
        said = str(refusal)
        said.encode()


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.what)
@pytest.mark.parametrize(
    "text", [t for t in SYSTEM_GIVES if t not in ("नमस्ते", "李雷", "jdoe@corp.example", "Re\u0301ne\u0301")], ids=ascii
)
def test_what_a_person_writes_is_refused_with_a_reason_and_a_suggestion(text: str, rule: NameRule) -> None:
    if rule is CAPABILITY and text in ("Jane Doe", "me/you"):
        assert judged(text, rule) == text
        return
    with pytest.raises(InvalidInput) as caught:
        judged(text, rule)
    suggestion = made(text, rule)
    assert caught.value.message.startswith(f"The {rule.what} ")
    assert caught.value.next.startswith(f"For example {suggestion}. " if suggestion else rule.allowed)


def test_nothing_unseen_is_in_any_name() -> None:
    for code in (0x200B, 0x202E, 0xE0041, 0x3164, 0x115F, 0xFE0F, 0x00AD, 0x0378, 0xE000, 0x7F, 0x85, 0xDCE9, 0x2800):
        for rule in RULES:
            assert objection(f"a{chr(code)}b", rule), hex(code)


def test_names_are_in_one_normal_form() -> None:
    for text in ("Rene\u0301", "Å\u0323", "\u1112\u1161\u11ab"):
        assert judged(text, AGENT) == unicodedata.normalize("NFC", text)
        assert objection(unicodedata.normalize("NFD", text), AGENT)


def test_bytes_of_the_system_never_reach_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logins, hosts and messages that quote them can be put into JSON, whatever bytes they were."""
    monkeypatch.setattr(platform, "node", lambda: "h\udce9st.example")
    entry = pwd.struct_passwd(("Ren\udce9", "x", 1, 1, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry)
    error = ChorusError("/tmp/Ren\udce9 isn't there.", "Look at /tmp/Ren\udce9.")
    for told in (host_facts(), login_of(1), error.to_dict(), str(error)):
        msgspec.json.encode(told)
