"""Every setting refuses emptiness and nonsense where it enters: in the file, by a variable, by a flag and by ``--set``, alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core import setting_kinds
from agent_core.errors import ConfigError, InvalidInput
from agent_core.home import home_of
from agent_core.setting_kinds import Unfit
from agent_core.settings import Setting, Settings, catalogue, load
from chorus_hap.flags import SETTING_OF_FLAG, parse_launch

SETTINGS = list(catalogue())
PEER = "12D3KooWAfmVgxWUSPUMyZ4hy2ZGoYfSCXdVbvLMPh5NwCdcWFvx"
ADDRESS = f"/ip4/127.0.0.1/tcp/9000/p2p/{PEER}"

#: What no setting can be, as text.
NEVER = {
    "empty": "",
    "blank": "   ",
    "tab": "\t",
    "newline": "\n",
    "two lines": "a\nb",
    "NUL": "a\0b",
    "escape": "\x1b[31mred",
    "not UTF-8": "Ren\udce9",
    "zero width": "ag\u200bent",
    "turned": "\u202eevil",
    "tags": "x\U000e0041\U000e0042",
    "huge": "x" * 100_000,
}
#: What no number can be.
NO_NUMBER = ("nan", "NaN", "inf", "-inf", "Infinity", "1e999", "nonsense", "1_0", "0x10", "٣", "-1", "1" * 400)


def set_by(setting: Setting, text: str) -> dict[str, Callable[[Path], Settings]]:
    """The ways a text can become the value of a setting."""

    def file(home: Path) -> Settings:
        home.mkdir(exist_ok=True)
        quoted = "".join(c if c >= " " and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
        content = f'[{setting.section}]\n{setting.key} = "{quoted}"\n'
        (home / "config.toml").write_bytes(content.encode("utf-8", "surrogateescape"))
        return load(home, {}, {})

    ways: dict[str, Callable[[Path], Settings]] = {
        "file": file,
        "variable": lambda home: load(home, {}, {setting.env: text}),
        "set": lambda home: load(home, parse_launch(["--set", f"{setting.name}={text}"]).settings, {}),
    }
    if setting.flag and setting.flag != "--found":
        ways["flag"] = lambda home: load(home, parse_launch([f"{setting.flag}={text}"]).settings, {})
    return ways


def origin_of(way: str, setting: Setting) -> str:
    return {
        "file": "config.toml",
        "variable": setting.env,
        "set": setting.flag or f"--set {setting.name}",
        "flag": setting.flag,
    }[way]


def refused(way: str, setting: Setting, text: str, home: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        set_by(setting, text)[way](home)
    said = str(caught.value)
    assert caught.value.next, said
    assert "\n" not in said
    assert said.isprintable(), ascii(said)
    said.encode()
    assert len(said) < 1000
    return caught.value


def bad_for(setting: Setting) -> Mapping[str, str]:
    texts = dict(NEVER)
    shown = setting_kinds.expected(setting.hint)
    if "number" in shown:
        texts |= {f"number {n[:8]}": n for n in NO_NUMBER}
    if setting.kind in (setting_kinds.host, setting_kinds.interface):
        texts |= {
            f"host {n}": n for n in ("example.org", "300.1.1.1", "127.0.0.1:80", "::1%lo", "*", "224.0.0.1", "[::1]")
        }
    if setting.kind is setting_kinds.interface:
        texts |= {"every": "0.0.0.0", "six": "::1"}
    if setting.kind is setting_kinds.multiaddr:
        texts |= {
            f"address {n[:20]}": n for n in ("127.0.0.1:9000", "/ip4/127.0.0.1/tcp/9000", "/dnsaddr/x/p2p/" + PEER)
        }
        texts |= {
            "zone": f"/ip6/fe80::1%lo/tcp/9000/p2p/{PEER}",
            "ip6zone": f"/ip6zone/lo/ip6/fe80::1/tcp/9000/p2p/{PEER}",
        }
    if setting.kind in (setting_kinds.agent, setting_kinds.role, setting_kinds.network):
        texts |= {"dots": "..", "blank in it": "Jane Doe", "domain": "CORP\\jdoe", "long": "x" * 65, "path": "a/b"}
    if setting.kind is setting_kinds.capability:
        texts |= {"two blanks": "code  review", "long": "x" * 65}
    if shown.startswith("a list"):
        texts |= {"commas": " , ,", "one bad": f"{ADDRESS},\x1b[31m"}
    return texts


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_nonsense_is_refused_by_every_way_in_with_its_origin(setting: Setting, tmp_path: Path) -> None:
    for what, text in bad_for(setting).items():
        messages = set()
        for way in set_by(setting, text):
            if setting.secret and what in ("two lines",):
                continue  # a word that was wrapped when it was copied
            error = refused(way, setting, text, tmp_path / way)
            assert origin_of(way, setting) in error.message, (what, way, error.message)
            if way == "file" and what == "not UTF-8":  # then the file can't be read at all
                assert "line 2" in error.message
                continue
            assert f"{setting.name} = " in error.message
            messages.add(error.message.split(f"{setting.name} = ")[1])
        assert len(messages) <= 1, what


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_a_file_can_hold_other_types_and_they_are_refused(setting: Setting, tmp_path: Path) -> None:
    """TOML has numbers, dates and tables: none of them passes for what it isn't, and none is taken to pieces."""
    numeric = "number" in setting_kinds.expected(setting.hint)
    wrong = ["nan", "inf", "-inf", "1979-05-27", "07:32:00", "[[1]]", "[{ a = 1 }]", "{ a = { b = 1 } }", "-1", "1e308"]
    wrong += ["true", "[1]", '["x", 1]'] if numeric else ["1.5", "[1, 2]"]
    wrong += [] if setting_kinds.expected(setting.hint).startswith("a list") else ["[]", '["127.0.0.1"]']
    for value in wrong:
        (tmp_path / "config.toml").write_text(f"[{setting.section}]\n{setting.key} = {value}\n")
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, {}, {})
        assert "config.toml line 2" in caught.value.message, value


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_every_default_passes_and_every_number_has_an_end(setting: Setting, tmp_path: Path) -> None:
    if isinstance(setting.default, bool | int | float):
        text = str(setting.default).lower()
        assert load(tmp_path, {setting.name: text}, {}).value(setting.name) == setting.default
    if "number" in setting_kinds.expected(setting.hint):
        for far in (10**12, -(10**12)):
            with pytest.raises(ConfigError):
                load(tmp_path, {setting.name: str(far)}, {})


def test_the_flags_are_settings_by_another_name() -> None:
    named = {s.flag.removeprefix("--").replace("-", "_"): s.name for s in SETTINGS if s.flag}
    assert named == SETTING_OF_FLAG


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("http.host", "localhost", "127.0.0.1"),
        ("http.host", " 0.0.0.0 ", "0.0.0.0"),
        ("p2p.host", "::ffff:127.0.0.1", "127.0.0.1"),
        ("p2p.host", "0:0:0:0:0:0:0:1", "::1"),
        ("agent.id", "Rene\u0301", "René"),
        ("agent.capabilities", "python, code review ,python", ("python", "code review")),
        ("agent.capabilities", "none", ()),
        ("bootstrap.peers", f"{ADDRESS.replace('/p2p/', '/ipfs/')} ,", (ADDRESS,)),
        ("bootstrap.peers", f"/dns4/localhost/tcp/09000/p2p/{PEER}", (f"/dns4/localhost/tcp/9000/p2p/{PEER}",)),
        ("cluster.ticket", "chorus-ticket-\n abc", "chorus-ticket-abc"),
        ("api.port", "off", "off"),
        ("console.ascii", "TRUE", True),
    ],
)
def test_one_spelling_comes_of_several(name: str, text: str, value: Any, tmp_path: Path) -> None:
    assert load(tmp_path, {name: text}, {}).value(name) == value


def test_an_empty_list_can_be_meant(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[bootstrap]\npeers = []\n")
    assert load(tmp_path, {}, {}).values.bootstrap.peers == ()


@pytest.mark.parametrize("text", ["", " ", "a\nb", "a\0b", "Ren\udce9", "a\u202eb"])
def test_a_home_is_named_or_left_out(text: str) -> None:
    for named, environ in ((text, {}), (None, {"CHORUS_HOME": text})):
        with pytest.raises(ConfigError) as caught:
            home_of(named, environ)
        str(caught.value).encode()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\xef\xbb\xbf[agent]\r\nid = 'bom'\r\n", ""),
        ("[agent]\nid = 'x'\n".encode("utf-16"), "UTF-16"),
        ("[agent]\nid = 'Ren\u00e9'\n".encode("latin-1"), "line 2"),
        (b"[agent]\nid = 'a'\nid = 'b'\n", "isn't valid TOML"),
        (b"[agent]\nid = '\0'\n", "isn't valid TOML"),
        (b"x = " + b"[" * 100_000, "isn't valid TOML"),
        (b"[p2p]\nport = " + b"9" * 5000, "isn't valid TOML"),
        (b"#" * (1 << 20) + b"\n", "bytes"),
    ],
    ids=["bom", "utf16", "latin1", "twice", "nul", "deep", "digits", "big"],
)
def test_files_of_every_editor_are_read_or_refused_in_words(raw: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(raw)
    if not said:
        settings = load(tmp_path, {}, {})
        assert (settings.values.agent.id, settings.origins["agent.id"]) == ("bom", "file:2")
        return
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {}, {})
    assert said in caught.value.message


@given(st.text(st.characters(), max_size=60))
def test_no_text_makes_a_kind_raise_anything_else(text: str) -> None:
    for setting in SETTINGS:
        try:
            value = setting_kinds.judge(text, setting.hint, setting.kind)
        except Unfit:
            continue
        assert value not in ("", ("",))
        assert not isinstance(value, float) or math.isfinite(value)


def test_launches_read_flags_by_the_same_judge(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        load(tmp_path, parse_launch(["--agent-id", ""]).settings, {})


def test_a_theme_that_isnt_there_is_said(tmp_path: Path) -> None:
    from chorus_hap.app import ConsoleApp, Options
    from chorus_hap.store import Store

    app = ConsoleApp(Store(), None, Options(home=tmp_path, theme="chorus-drak"))  # type: ignore[arg-type]
    assert any("chorus-drak" in problem and "chorus-dark" in problem for problem in app.registry.problems)
