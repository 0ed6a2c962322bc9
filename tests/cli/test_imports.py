"""In a fresh process no command brings along what it doesn't need: Textual, libp2p, trio, asyncio, cryptography, rich."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from chorus_hap.cli.app import COMMANDS, subcommands
from tests.cli.test_commands import STATUS
from tests.support.fake_node import FakeNode

HEAVY = ("textual", "libp2p", "trio", "asyncio", "cryptography", "nacl", "rich", "re2", "zeroconf")

_PROBE = """
import json, sys
from chorus_hap.cli import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted({name.partition('.')[0] for name in sys.modules})]), file=sys.stderr)
"""


def probe(words: Sequence[str], home: Path) -> tuple[int, set[str]]:
    """A command's exit status, and the packages its process held at the end."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"CHORUS_HOME": str(home)},
    )
    status, modules = json.loads(done.stderr.splitlines()[-1])
    return status, set(modules)


def every_help() -> Iterator[list[str]]:
    yield ["--help"]
    for command in COMMANDS:
        yield [command.name, "--help"]
        if command.group and not command.alias_of:
            yield from ([command.name, name, "--help"] for name in subcommands(command))


@pytest.mark.parametrize("words", list(every_help()), ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    status, modules = probe(words, tmp_path)
    assert status == 0
    assert modules.isdisjoint(HEAVY), modules & set(HEAVY)


def test_status_of_a_running_node_imports_nothing_heavy(tmp_path: Path) -> None:
    with FakeNode(tmp_path, {"status": STATUS}):
        status, modules = probe(["status"], tmp_path)
    assert status == 0
    assert modules.isdisjoint(HEAVY), modules & set(HEAVY)
    assert "sqlite3" not in modules


def test_status_without_a_node_reads_the_store_and_imports_nothing_heavy(tmp_path: Path) -> None:
    status, modules = probe(["status"], tmp_path)
    assert status == 3
    assert modules.isdisjoint(HEAVY), modules & set(HEAVY)
    assert "sqlite3" in modules  # it looked for a store


def test_config_and_doctor_import_nothing_heavy(tmp_path: Path) -> None:
    for words in (["config", "show", "--origin"], ["doctor", "--set", "p2p.port=0"]):
        _, modules = probe(words, tmp_path)
        assert modules.isdisjoint(HEAVY), (words, modules & set(HEAVY))
