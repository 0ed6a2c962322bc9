"""An argument that says nothing is refused in words, in every command: ``""`` is most likely a variable that isn't set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from chorus_hap import cli
from chorus_hap.cli.app import COMMANDS, application
from chorus_hap.cli.options import FLAGS


def leaves() -> Iterator[tuple[list[str], Any]]:
    """Every command there is, with its words."""
    for command in COMMANDS:
        root: Any = typer.main.get_command(application([command.name]))
        found = root.commands[command.name]
        for name, leaf in getattr(found, "commands", {"": found}).items():
            yield [command.name, *([name] if name else [])], leaf


def is_argument(parameter: Any) -> bool:
    return not any(word.startswith("-") for word in parameter.opts)


def cases() -> Iterator[tuple[list[str], str]]:
    for words, leaf in leaves():
        arguments = [p for p in leaf.params if is_argument(p)]
        for parameter in leaf.params:
            if getattr(parameter, "is_flag", False) or parameter.name in ("help", "context"):
                continue
            for blank in ("", " \t"):
                if is_argument(parameter):
                    before = ["x" for p in arguments[: arguments.index(parameter)]]
                    after = ["x" for p in arguments[arguments.index(parameter) + 1 :] if p.required]
                    yield [*words, *before, blank, *after], parameter.name
                else:
                    needed = ["x" for p in arguments if p.required]
                    yield [*words, *needed, parameter.opts[0], blank], parameter.opts[0]


CASES = list(cases())


def test_the_walk_covers_every_command() -> None:
    walked = {" ".join(words[:2]) for words, _ in CASES}
    assert {
        "hmmm post",
        "decisions vote",
        "ucxl put",
        "members revoke",
        "log prove",
        "cluster join",
        "config show",
    } <= walked
    assert len(CASES) > 100


@pytest.mark.parametrize(("words", "name"), CASES, ids=[" ".join(map(repr, words)) for words, _ in CASES])
def test_no_argument_is_empty(
    words: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHORUS_HOME", str(tmp_path / "home"))
    status = cli.main(words)
    printed = capfd.readouterr()
    assert status == 2, printed
    assert printed.out == ""
    assert "empty" in printed.err
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("flag", [flag.name for flag in FLAGS if flag.value])
@pytest.mark.parametrize("form", ["{0}=", "{0}"])
def test_no_flag_is_empty(flag: str, form: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = [form.format(flag)] + ([""] if form == "{0}" else []) + ["status"]
    assert cli.main(words) == 2
    assert f"{flag} is empty" in capfd.readouterr().err


def test_words_of_a_message_are_all_given(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hmmm", "post", "r", "deploy", "", "now", "--home", str(tmp_path)]) == 2
    assert "TEXT is empty" in capfd.readouterr().err
