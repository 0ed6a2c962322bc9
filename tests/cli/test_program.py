"""Every command that is printed can be given as it stands: it names a program that is there, a command that exists, and the home."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import agent_core
import chorus_hap
from chorus_hap.cli.app import COMMANDS, names, subcommands
from chorus_hap.cli.options import FLAGS
from chorus_hap.program import _COMMAND, NAME, WORDS, Here, how_called

_LAUNCH = ("--daemon", "--ticket", "--help", "--found", "--version")


def _texts() -> Iterator[tuple[str, str]]:
    """Every text of the program's own that a person may read, with where it stands; what is computed in it shows as …"""
    for package in (agent_core, chorus_hap):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            tree = ast.parse(path.read_text())
            docs = {
                id(node.body[0].value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and node.body
                and isinstance(node.body[0], ast.Expr)
            }
            inside = {id(v) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for v in node.values}
            for node in ast.walk(tree):
                where = f"{path.name}:{getattr(node, 'lineno', 0)}"
                if isinstance(node, ast.JoinedStr):
                    yield where, "".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | inside:
                    yield where, node.value


_NAMED = [(where, text) for where, text in _texts() if re.search(rf"{NAME} (?:-|[a-z])", text)]
#: Where the name stands in a sentence and nothing is meant to be run.
_PROSE = re.compile(rf"{NAME} (?:needs|alone|ack|prevote|vote|death|enrol|leave|warrant|ticket|body|shhh|say again)\b")


def test_the_walk_finds_what_it_should() -> None:
    assert len(_NAMED) > 40


def test_every_command_that_is_named_exists_and_is_rewritten() -> None:
    groups = {c.name: set(subcommands(c)) for c in COMMANDS if c.group}
    flags = {flag.name for flag in FLAGS}
    here = Here(Path("/else where"), "PROGRAM")
    for where, text in _NAMED:
        if _PROSE.search(text) or "{0}" in text:
            continue
        found = list(_COMMAND.finditer(text))
        assert found, f"{where}: {text!r} names a command in a way that isn't rewritten"
        for one in found:
            words = [w for w in one["rest"].split() if w != "…"]
            if words and words[0].startswith("-"):
                assert words[0].rstrip(".,") in (*_LAUNCH, *flags), f"{where}: {text!r}"
            elif words[1:2] and words[0] in groups and words[1].isalpha() and words[1].islower():
                assert words[1] in groups[words[0]], f"{where}: {text!r}"
        assert NAME not in here(text).replace("chorus-hap alone", ""), f"{where}: {here(text)!r}"


def test_the_words_are_those_of_the_commands() -> None:
    assert sorted(WORDS) == sorted(names())


@pytest.mark.parametrize("place", ["path", "inside", "elsewhere", "blank", "module"])
def test_what_calls_the_program_is_really_there(tmp_path: Path, place: str) -> None:
    """It is run as it is printed, in a shell."""
    folder = tmp_path / ("a b" if place == "blank" else "bin")
    folder.mkdir()
    script = folder / NAME
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m chorus_hap "$@"\n')
    script.chmod(0o755)
    path = f"{folder}:/usr/bin:/bin" if place == "path" else "/usr/bin:/bin"
    cwd = tmp_path if place in ("inside", "blank") else Path("/")
    argv0 = str(Path(chorus_hap.__path__[0]) / "__main__.py") if place == "module" else str(script)
    executable = str(folder / "python") if place != "module" else sys.executable
    called = how_called(argv0, executable, str(cwd), path)
    if place == "path":
        assert called == NAME
    elif place == "inside":
        assert called == f"bin/{NAME}"
    root = str(Path(chorus_hap.__path__[0]).parent)
    done = subprocess.run(
        ["/bin/sh", "-c", f"{called} --version"], cwd=cwd, capture_output=True, text=True, timeout=60,
        env={"PATH": path, "PYTHONPATH": root, "HOME": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_another_installation_on_the_path_is_not_taken_for_this_one(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
        script = tmp_path / name / NAME
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
    called = how_called(str(tmp_path / "mine" / NAME), "/usr/bin/python3", "/", str(tmp_path / "other"))
    assert called == str(tmp_path / "mine" / NAME)


def test_a_home_is_named_unless_it_is_the_default_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here(tmp_path / "a home", NAME)
    quoted = shlex.quote(str(tmp_path / "a home"))
    assert here("`chorus-hap members` lists them.") == f"`chorus-hap members --home {quoted}` lists them."
    assert here("Run `chorus-hap`.") == f"Run `chorus-hap --home {quoted}`."
    assert here("`chorus-hap ucxl get ADDRESS > FILE`") == f"`chorus-hap ucxl get --home {quoted} ADDRESS > FILE`"
    assert here("See `chorus-hap --help`.") == "See `chorus-hap --help`."
    assert here("go: chorus-hap cluster join 12") == f"go: chorus-hap cluster join --home {quoted} 12"
    assert (
        here("written by chorus-hap (format 3), chorus-hap: no") == "written by chorus-hap (format 3), chorus-hap: no"
    )
    monkeypatch.setenv("CHORUS_HOME", str(tmp_path / "a home"))
    assert here("`chorus-hap members` lists them.") == "`chorus-hap members` lists them."
    assert here.in_console("`chorus-hap members` lists them, `chorus-hap --daemon`.") == (
        "`:members` lists them, `chorus-hap --daemon`."
    )


def test_the_command_of_a_second_node_is_one_that_a_shell_reads_back() -> None:
    address = "/ip4/127.0.0.1/tcp/9000/p2p/12D3KooW"
    words = shlex.split(Here(None, "'/a b/chorus-hap'").second_node(["/x", address], "my net"))
    assert words[0] == "/a b/chorus-hap"
    assert words[words.index("--bootstrap") + 1] == address
    assert words[words.index("--network") + 1] == "my net"
    assert os.path.basename(words[0]) == NAME
