"""Roles: the packaged ones, a home's own, and the authority that a newcomer gets by naming one."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_core.errors import ConfigError
from agent_core.roster.model import Authority, Kind
from agent_core.roster.roles import authority_of, default_role, load


def test_the_packaged_roles_hold_the_defaults_of_the_spec() -> None:
    roles = load()
    assert roles["agent"].level is Authority.COORDINATION
    assert roles["operator"].level is Authority.DECISION
    assert roles["agent"].prompt
    assert (default_role(Kind.AGENT), default_role(Kind.HUMAN)) == ("agent", "operator")


def test_a_later_file_replaces_whole_roles_by_their_id(tmp_path: Path) -> None:
    own = tmp_path / "roles.toml"
    own.write_text('[roles.agent]\nlevel = "suggestion"\n[roles.poet]\nlevel = "coordination"\n')
    roles = load(tmp_path / "absent.toml", own)
    assert (roles["agent"].level, roles["agent"].prompt) == (Authority.SUGGESTION, "")
    assert roles["poet"].level is Authority.COORDINATION
    assert roles["operator"] == load()["operator"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[roles.agent", "isn't valid TOML"),
        ('[roles.agent]\nlevel = "emperor"\n', "doesn't describe roles"),
        ('[roles.agent]\nlevel = "master"\nlvl = 3\n', "lvl"),
        ("[rolls]\n", "doesn't describe roles"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "roles.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load(path)
    assert str(path) in refusal.value.message
    assert says in refusal.value.message


@pytest.mark.parametrize(
    ("role", "kind", "authority"),
    [
        ("agent", Kind.AGENT, Authority.COORDINATION),
        ("operator", Kind.HUMAN, Authority.DECISION),
        ("admin", Kind.HUMAN, Authority.DECISION),
        ("admin", Kind.AGENT, Authority.COORDINATION),
        ("operator", Kind.AGENT, Authority.COORDINATION),
        ("observer", Kind.HUMAN, Authority.READ_ONLY),
        ("nonsense", Kind.HUMAN, Authority.DECISION),
    ],
)
def test_nobody_gets_more_than_their_kind_may_claim(role: str, kind: Kind, authority: Authority) -> None:
    assert authority_of(role, kind, load()) is authority
