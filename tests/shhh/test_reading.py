"""SHHH reads what others would read: whatever escapes, encodes, glues or hides a secret, it is found, at its place."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example as given_example
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_core.errors import SecretFound
from agent_core.shhh import engine
from agent_core.shhh import reading as reading_module
from agent_core.shhh.door import Door
from agent_core.shhh.engine import Engine
from agent_core.shhh.model import Glued, Rule, Severity, builtin_rules, example
from agent_core.shhh.reading import LAYERS, encoding_of, readings

RULES = {rule.id: rule for rule in builtin_rules()}
ENGINES = {rule.id: Engine([rule]) for rule in RULES.values()}
GITHUB = example("ghp_<a36>")
VALUE = example("<a18>")


def each(spell: Callable[[str], str]) -> Callable[[str], str]:
    """A form that spells every character of a token by itself; blanks and line ends stay."""
    return lambda token: "".join(char if char.isspace() else spell(char) for char in token)


#: Ways in which a token comes along, all of which give the token back to whoever reads on.
FORMS: dict[str, Callable[[str], str]] = {
    "colour": lambda t: f"\x1b[1;31m{t}\x1b[0m",
    "colour within": lambda t: f"{t[:3]}\x1b[7m{t[3:7]}\x1b[27m{t[7:]}",
    "colour as text": lambda t: f"^[[31m{t}^[[0m",
    "C1": lambda t: f"\x9b31m{t}\x9b0m",
    "link": lambda t: f"\x1b]8;;file:x\x1b\\{t}\x1b]8;;\x1b\\",
    "colour in JSON": lambda t: json.dumps({"log": f"\x1b[31m{t}\x1b[0m"}),
    "colour in octal": lambda t: rf"echo '\033[31m{t}\033[0m'",
    "overstruck": lambda t: "".join(f"{char}\b{char}" if not char.isspace() else char for char in t),
    "JSON": lambda t: json.dumps(f"first\n{t}\nlast"),
    "JSON in JSON": lambda t: json.dumps(json.dumps(f"first\n{t}\nlast")),
    "tab in JSON": lambda t: json.dumps(f"a\t{t}\tb"),
    "underlined": lambda t: f"_{t}_",
    "JSON \\u": each(lambda c: f"\\u{ord(c):04X}"),
    "\\u{}": each(lambda c: f"\\u{{{ord(c):x}}}"),
    "\\x": each(lambda c: f"\\x{ord(c):02x}"),
    "octal": each(lambda c: f"\\{ord(c):03o}"),
    "percent": lambda t: f"https://x.example/?q={quote(t, safe='')}",
    "all percent": each(lambda c: f"%{ord(c):02x}"),
    "percent twice": each(lambda c: f"%25{ord(c):02X}"),
    "HTML": each(lambda c: f"&#{ord(c)};"),
    "HTML hex": each(lambda c: f"&#x{ord(c):x};"),
    "Markdown": each(lambda c: f"\\{c}" if c in "_-.*=" else c),
    "full width": each(lambda c: chr(ord(c) + 0xFEE0)),
    "full width in JSON": lambda t: json.dumps(FORMS["full width"](t)),
    "full width in a URL": lambda t: quote(FORMS["full width"](t)),
    "bold letters": each(lambda c: chr(ord(c) - ord("a") + 0x1D41A) if c.islower() else c),
    "no width": each(lambda c: f"{c}\u200b"),
    "word joiner": each(lambda c: f"{c}\u2060"),
    "soft hyphen": each(lambda c: f"\u00ad{c}"),
    "selectors": each(lambda c: f"{c}\ufe0f"),
    "direction": lambda t: f"\u202e{t[:4]}\u2069{t[4:]}",
    "hidden noise": each(lambda c: f"{c}\U000e0061"),
    "spelled by tags": lambda t: "Hello" + "".join(chr(ord(c) + 0xE0000) for c in t if c.isascii() and c.isprintable()),
    "tags in JSON": lambda t: json.dumps(FORMS["spelled by tags"](t)),
    "zero bytes": each(lambda c: f"{c}\0"),
    "typeset": lambda t: t.replace("-", "\u2011").replace('"', "\u201c").replace("'", "\u2019"),
}
TEXTS = [(rule, text) for rule in RULES.values() for text in map(example, rule.match)]


def plain(rule: Rule, text: str) -> list[str]:
    return [text[hit.start : hit.end] for hit in ENGINES[rule.id].scan(text)]


@pytest.mark.parametrize("form", FORMS)
def test_every_rule_reads_through_every_form(form: str) -> None:
    for rule, text in TEXTS:
        if form in ("spelled by tags", "tags in JSON") and "\n" in text:
            continue  # tag characters have no line ends
        if form == "overstruck" and "\\" in text:
            continue
        written = FORMS[form](text)
        hits = ENGINES[rule.id].scan(written)
        assert hits, f"{rule.id} misses {written!r}"
        # What is hidden is the secret, whole: read on its own, it is what stood there in plain.
        (secret,) = plain(rule, text)
        found = [reading.text for reading in readings(written[hits[0].start : hits[-1].end])]
        wanted = {"".join(reading.text.split()) for reading in readings(secret)}
        assert any(want in "".join(text.split()) for text in found for want in wanted), (rule.id, written, secret)
        redacted = ENGINES[rule.id].redact(written)
        assert not ENGINES[rule.id].scan(redacted)


#: What may stand directly before a token: a letter, a digit, a sign, what is left of an escape.
BEFORE = ["x", "Z", "7", "_", "n", "m", "\\n", "é", "的", "[31m", "token", "%3D", "#"]


@pytest.mark.parametrize("rule", [r for r in RULES.values() if r.severity is Severity.CRITICAL], ids=lambda r: r.id)
@pytest.mark.parametrize("before", BEFORE)
def test_no_critical_token_hides_behind_what_stands_before_it(rule: Rule, before: str) -> None:
    for text in map(example, rule.match):
        if not text[0].isalnum() or (rule.id == "model-key-assignment" and before == "x"):
            continue
        for after in ("", "_", " ", "\\n", "\x1b[0m"):
            assert ENGINES[rule.id].scan(before + text + after), f"{rule.id} misses {before + text + after!r}"


def test_no_rule_trusts_a_word_boundary() -> None:
    assert [rule.id for rule in RULES.values() if r"\b" in rule.pattern.replace(r"\\b", "")] == []


def test_a_long_encoding_is_no_row_of_tokens() -> None:
    """Rules for short prefixes without a sign of their own find nothing in the midst of base64."""
    for rule in RULES.values():
        if rule.glued is not Glued.SHORT:
            continue
        token = example(rule.match[0])
        if token.isalnum():
            assert not ENGINES[rule.id].scan(example("<a60>") + token)
            assert ENGINES[rule.id].scan(example("<a60>") + " " + token)


ENVIRONMENT = [
    "REGISTRY_PASSWORD", "sasl_password", "DB_PASSWORD", "PGPASSWORD", "MYSQL_PWD", "RABBITMQ_DEFAULT_PASS", "JWT_SECRET",
    "DJANGO_SECRET_KEY", "SECRET_KEY_BASE", "NEXTAUTH_SECRET", "WEBHOOK_TOKEN", "API_KEY", "ENCRYPTION_KEY", "KEY_PASSPHRASE",
    "spring.datasource.password", "jwtSecret", "client-secret", "accessToken", "AZURE_CREDENTIALS", "DB_PASSWORD_2",
]  # fmt: skip
ASSIGNED = [
    "{n}={v}", "{n} = {v}", "{n}='{v}'", '{n}="{v}"', "export {n}={v}", "{n}: {v}", "{n}:\n  {v}", '{n}: "{v}"', "  {n} : '{v}'",
    '{{"{n}": "{v}"}}', '{{"a":1,"{n}":"{v}","b":2}}', "{n}             = {v}", "{n} := {v}", "set {n}={v}", '$env:{n} = "{v}"',
    "-D{n}={v} -jar x", "https://example.org/x?{n}={v}&a=b", "a=b&{n}={v}", "<{n}>{v}</{n}>", "- name: {n}\n  value: {v}",
    '{{"name": "{n}", "value": "{v}"}}', '<property name="{n}" value="{v}"/>', "docker run -e {n}={v} image", "`{n}={v}`",
    "{n} => '{v}'", "ENV {n} {v}", "“{n}”: “{v}”", "{n}＝{v}", "\x1b[36m{n}\x1b[0m=\x1b[33m{v}\x1b[0m",
]  # fmt: skip
PLACEHOLDERS = [
    "changeme", "changeme123", "CHANGE_ME_2", "${DB_PASSWORD2}", "$DB_PASSWORD2", "$(cat /run/secrets/db2)", "%DB_PASSWORD2%", "{{ .Values.db2 }}",
    "<your-token-1>", "<password1>", "your-password-1", "your_api_key_1", "xxx", "xxxxxxxx1", "example", "example-token-1", "my-example1", "***********1",
    "dummy-password-1", "placeholder1", "REPLACE_ME_1", "TODO", "!vault2 |", "vault:secret/data/db2", "/run/secrets/db_password2", "op://vault2/item/field",
    "arn:aws:secretsmanager:eu-west-1:123456789012:secret", "", "true", "null", "none", "1234567890", "2026-12-01", "os.environ2.get(x)",
    "[REDACTED:jwt]", "not-a-real-one-1", "AKIAEXAMPLE1",
]  # fmt: skip


@pytest.mark.parametrize("form", ASSIGNED)
def test_secrets_of_the_environment_are_found_however_they_are_assigned(form: str) -> None:
    for name in ENVIRONMENT:
        text = form.format(n=name, v=VALUE)
        assert VALUE not in engine.redact(text), text
        assert name in engine.redact(text)


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_placeholders_and_references_stay_quiet(value: str) -> None:
    for form in ASSIGNED:
        for name in ("DB_PASSWORD", "WEBHOOK_TOKEN", "api_key"):
            text = form.format(n=name, v=value)
            assert engine.find(text) == (), text


# --- places -----------------------------------------------------------------------------------------------------------

SEPARATORS = [
    "a b",
    "\n",
    "\\n",
    "%20",
    "&amp;",
    "ü",
    "\u200b ",
    "\U000e0041",
    "\x1b[0m",
    "💥",
    "，",
    "\\\\",
    "\0",
    "^",
    "\ud800",
]


@given(
    st.lists(st.tuples(st.sampled_from(SEPARATORS), st.sampled_from(sorted(FORMS))), max_size=6),
    st.text(max_size=20),
)
@settings(max_examples=150, deadline=None)
@given_example([("\n", "colour within"), ("%20", "percent twice")], "\\")
def test_places_are_those_of_the_original(pieces: list[tuple[str, str]], tail: str) -> None:
    text, stretches = "", []
    for separator, form in pieces:
        text += f" {separator} "
        written = FORMS[form](GITHUB)
        stretches.append((len(text), len(text) + len(written)))
        text += written
    text += " " + tail.replace("\\", "/")
    hits = ENGINES["github-token"].scan(text)
    assert len(hits) == len(stretches)
    for hit, (start, end) in zip(hits, stretches, strict=True):
        assert start <= hit.start < hit.end <= end
        assert any(GITHUB in reading.text for reading in readings(text[hit.start : hit.end]))


@given(st.text(st.sampled_from("ab\\nu0041%&#x;\x1b[m\u200b\U000e0041é\0\b^ＡﬁA"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_every_stretch_of_every_reading_has_a_place(text: str) -> None:
    for count, reading in enumerate(readings(text)):
        assert count <= LAYERS + 1
        last = (0, 0)
        for at in range(len(reading.text)):
            start, end = reading.place(at, at + 1)
            assert 0 <= start < end <= len(text)
            assert start >= last[0], "places keep the order"
            assert end >= last[1]
            last = (start, end)
        if reading.text:
            whole = reading.place(0, len(reading.text))
            assert whole[0] <= whole[1]


@pytest.mark.parametrize(
    "unit", ["%41", "\\u0041", "%2525252541", "\x1b[", "\x1b]", "\x1b]x", "&#", "&amp", "\\", "é", "\u200b", "\U000e0041", "a\b", "^[[", "\\ud83d"]
)  # fmt: skip
def test_hostile_escapes_take_linear_time(unit: str) -> None:
    def cost(size: int) -> float:
        text = unit * (size // len(unit))
        start = time.process_time()
        engine.find(text)
        return time.process_time() - start

    cost(1000)
    small, large = cost(10_000), cost(80_000)
    assert large < max(small, 0.002) * 24


def test_letters_that_are_passed_over_read_as_themselves() -> None:
    for char in map(chr, range(0x110000)):
        if not reading_module._BEGINS.match(char):
            assert reading_module._UNDO.match(char) is None or char.translate(reading_module._SPELLED) == char, hex(
                ord(char)
            )


# --- bytes and names at the door ----------------------------------------------------------------------------------------

ENCODINGS = [
    f"{name}{mark}" for name in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be") for mark in ("", "+mark")
]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "around", ["token {} here, and a few words more", "{}", "größer {} und schöner\n", "接着 {} 就是这样了吧"]
)
def test_bodies_in_every_encoding_are_read_and_stay_in_it(encoding: str, around: str) -> None:
    codec, _, mark = encoding.partition("+")
    body = (("\ufeff" if mark else "") + around.format(GITHUB)).encode(codec)
    with pytest.raises(SecretFound, match="github-token"):
        Door(b"k" * 32).payload(body)
    secret = (("\ufeff" if mark else "") + around.format(f"DB_PASSWORD={VALUE}")).encode(codec)
    clean = Door(b"k" * 32).payload(secret)
    assert VALUE.encode(codec) not in clean
    if encoding_of(secret) is not None:
        assert around.format("DB_PASSWORD=[REDACTED:password-assignment]") == clean.decode(codec).lstrip("\ufeff")
        assert clean.startswith("\ufeff".encode(codec)) is bool(mark)


def test_text_of_wide_characters_within_a_binary_is_seen() -> None:
    body = b"\x00\x01\xff\xfe\x80" + GITHUB.encode("utf-16-le") + b"\x90\x00\xff"
    with pytest.raises(SecretFound):
        Door(b"k" * 32).payload(body)


def test_a_value_is_judged_with_its_name() -> None:
    door = Door(b"k" * 32)
    assert door.log({"event": "connecting", "db_password": VALUE, "deep": {"api_token": [VALUE]}, "room": VALUE}) == {
        "event": "connecting",
        "db_password": "[REDACTED:password-assignment]",
        "deep": {"api_token": ["[REDACTED:generic-secret]"]},
        "room": VALUE,
    }
