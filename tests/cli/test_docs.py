"""The generated reference pages: they name everything, and staleness is noticed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from agent_core.settings import catalogue
from chorus_hap.actions import ACTIONS
from chorus_hap.cli.app import COMMANDS, subcommands
from chorus_hap.cli.options import FLAGS


def _load() -> ModuleType:
    # By its path: `docs` is no package of the program, and other distributions have a folder of that name, too.
    path = Path(__file__).parents[2] / "docs" / "generate.py"
    spec = importlib.util.spec_from_file_location("docs_generate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _load()


def test_pages_name_everything() -> None:
    settings, commands, keys = generate.settings_page(), generate.commands_page(), generate.keys_page()
    assert all(setting.env in settings for setting in catalogue())
    assert all(f"`{flag.name}" in commands for flag in FLAGS)
    for command in COMMANDS:
        assert command.alias_of or f"## `{command.name}`" in commands
        for name in subcommands(command) if command.group and not command.alias_of else ():
            assert f"### `{command.name} {name}`" in commands
    assert all(f"`{a.id}`" in keys for a in ACTIONS if a.keys and not a.hidden)


def test_a_stale_page_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "REFERENCE", tmp_path / "reference")
    assert generate.main(["--check"]) == 1
    assert not (tmp_path / "reference").exists()
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "reference" / "keys.md").write_text("old")
    capsys.readouterr()
    assert generate.main(["--check"]) == 1
    assert "Stale: docs/reference/keys.md. Run `make docs`." in capsys.readouterr().err
