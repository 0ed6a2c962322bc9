"""Settings: origins, precedence, and one clear sentence for whatever is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_core.errors import ConfigError
from agent_core.settings import catalogue, load

PEER = "12D3KooWAfmVgxWUSPUMyZ4hy2ZGoYfSCXdVbvLMPh5NwCdcWFvx"


def test_precedence_and_origins(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[p2p]\nport = 1\n\n[election]\ntimeout_s = 20\n[api]\nport = 2\n")
    settings = load(tmp_path, {"p2p.port": "3"}, {"CHORUS_P2P_PORT": "2", "CHORUS_API_PORT": "off"})
    assert settings.values.p2p.port == 3
    assert settings.values.api.port == "off"
    assert settings.values.election.timeout_s == 20
    assert settings.origins["p2p.port"] == "flag"
    assert settings.origins["api.port"] == "env CHORUS_API_PORT"
    assert settings.origins["election.timeout_s"] == "file:5"
    assert settings.origins["election.heartbeat_s"] == "default"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[election]\ntimeot_s = 3\n", "election.timeout_s"),
        ("[election]\ntimeout_s = 'x'\n", "line 2"),
        ("[p2p]\nport = 70000\n", "p2p.port"),
        ("election = 3\n", "no setting 'election'"),
        ("[election\n", "isn't valid TOML"),
        ("[election]\ntimeout_s = 6\n", "twice"),
        ("[cluster]\nnetwork = 'a b'\n", "cluster.network"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {}, {})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_variables_warn_and_lists_split(tmp_path: Path) -> None:
    peers = tuple(f"/ip4/127.0.0.{n}/tcp/9000/p2p/{PEER}" for n in (1, 2))
    settings = load(
        tmp_path,
        {},
        {"CHORUS_ELECTON_TIMEOUT_S": "3", "CHORUS_BOOTSTRAP_PEERS": " " + ", ".join(peers) + " ,", "CHORUS_ROLE": "x"},
    )
    assert "CHORUS_ELECTION_TIMEOUT_S" in settings.warnings[0]
    assert settings.values.bootstrap.peers == peers
    assert settings.values.agent.role == "x"


def test_every_setting_is_documented_and_reachable_by_environment(tmp_path: Path) -> None:
    seen = set()
    for setting in catalogue():
        assert setting.doc
        assert "_" not in setting.section
        assert setting.env not in seen
        seen.add(setting.env)
    assert "CHORUS_METRICS_PORT" in seen


def test_an_unknown_flag_names_the_nearest_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"p2p\.prot") as caught:
        load(tmp_path, {"p2p.prot": "1"}, {})
    assert "'p2p.port'" in caught.value.next


def test_a_home_below_a_file_has_no_settings_and_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    assert set(load(tmp_path / "file" / "home", {}, {}).origins.values()) == {"default"}
    monkeypatch.chdir(tmp_path)
    assert load("here", {}, {}).home == tmp_path / "here"
