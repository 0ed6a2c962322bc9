"""Completion works in the shells it is offered for: commands, their words, options, and values that are words."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent_core.errors import InvalidInput
from chorus_hap.cli.app import subcommands
from chorus_hap.cli.completion import answer, collect
from chorus_hap.cli.options import FLAGS
from chorus_hap.cli.table import COMMANDS

SHELLS = ("bash", "zsh", "fish")


def _complete(shell: str, script: Path, line: str) -> set[str]:
    """What the shell itself offers at the end of a line."""
    words = line.split(" ")
    if shell == "bash":
        given = " ".join(f"'{w}'" for w in words)
        code = f"source '{script}'; COMP_WORDS=({given}); COMP_CWORD={len(words) - 1}; _chorus_hap; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        command = ["bash", "--norc", "-c", code]
    elif shell == "fish":
        command = ["fish", "--no-config", "-c", f"source '{script}'; complete -C '{line}'"]
    else:
        given = " ".join(f"'{w}'" for w in words)
        code = (
            "compdef() { :; }; _files() { :; }; _path_files() { :; }; compadd() { shift; print -l -- $@; }; "
            f"_describe() {{ print -l -- ${{(P)3}}; }}; source '{script}'; words=({given}); CURRENT={len(words)}; _chorus_hap"
        )
        command = ["zsh", "-f", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert not done.stderr, done.stderr
    found = {row.partition("\t")[0].partition(":")[0] for row in done.stdout.splitlines() if row}
    return {word for word in found if word.startswith(words[-1])}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_words_and_options(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} isn't on this machine")
    script = tmp_path / "completion"
    script.write_text(answer(["--show-completion", shell]))
    names = {command.name for command in COMMANDS}
    assert names <= _complete(shell, script, "chorus-hap ")
    assert {"decisions", "decide"} == _complete(shell, script, "chorus-hap dec")
    assert {"--home", "--json", "--daemon", "--ticket"} <= _complete(shell, script, "chorus-hap --")
    assert _complete(shell, script, "chorus-hap --home /tmp --json hmmm p") == {"post"}
    assert {"--intent", "--cite", "--json"} <= _complete(shell, script, "chorus-hap hmmm post room --")
    assert "--intent" not in _complete(shell, script, "chorus-hap ucxl put --")
    assert _complete(shell, script, "chorus-hap --kind h") == {"human"}
    for command in COMMANDS:
        if command.group and command.name in ("members", "ucxl", "log"):
            assert set(subcommands(command)) <= _complete(shell, script, f"chorus-hap {command.name} ")


def test_every_command_and_flag_is_known() -> None:
    words = collect()
    for command in COMMANDS:
        assert (command.name,) in words.places
        for name in subcommands(command) if command.group else ():
            assert {flag.name for flag in FLAGS} <= set(words.places[command.name, name].options)


@pytest.mark.parametrize("shell", SHELLS)
def test_it_is_written_where_the_shell_looks(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR", "BASH_COMPLETION_USER_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    said = answer(["--install-completion"])
    place = next(word.rstrip(".") for word in said.split() if word.startswith(str(tmp_path)))
    assert Path(place).read_text() == answer([f"--show-completion={shell}"])


@pytest.mark.parametrize("words", [["--show-completion", "tcsh"], ["--show-completion"], ["--install-completions"]])
def test_a_shell_that_has_none_is_refused(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "")
    with pytest.raises(InvalidInput):
        answer(words)


def test_it_is_an_option_of_the_program_and_needs_no_console() -> None:
    code = (
        "import sys; sys.argv = ['chorus-hap', '--show-completion', 'bash']; from chorus_hap.__main__ import main; status = main(); "
        "assert 'textual' not in sys.modules and 'trio' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "complete -o default -F _chorus_hap chorus-hap" in done.stdout
