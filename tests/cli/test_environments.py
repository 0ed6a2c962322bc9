"""Every command where the machine doesn't know what it usually knows: no passwd entry, no ``HOME``, no runtime directory, no ``/proc``."""

from __future__ import annotations

import ast
import getpass
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import agent_core
import chorus_hap
from agent_core import system
from agent_core.api.control import login_of
from agent_core.errors import ConfigError, StoreError
from agent_core.home import MAX_SOCKET_PATH_BYTES, Home
from agent_core.settings import default_agent_id, home_of, load
from chorus_hap.flags import Launch
from tests.support.every_command import every_command
from tests.support.forked import Case, Result, run_all

#: A uid that no machine has an entry for.
NOBODY = 12_345
UNSET: dict[str, str | None] = dict.fromkeys(
    (
        "HOME",
        "USER",
        "LOGNAME",
        "LNAME",
        "USERNAME",
        "TERM",
        "XDG_DATA_HOME",
        "XDG_RUNTIME_DIR",
        "CHORUS_HOME",
        "TMPDIR",
    )
)
SAID_NOBODY = "nobody knows your own directory"
#: The environment, and what is said by a command that needs a home; nothing where the machine knows enough.
ENVIRONMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing at all": ({"uid": NOBODY}, SAID_NOBODY),
    "an empty HOME": ({"uid": NOBODY, "env": {"HOME": ""}}, SAID_NOBODY),
    "a relative HOME": ({"uid": NOBODY, "env": {"HOME": "here"}}, SAID_NOBODY),
    "~ and nobody's": ({"uid": NOBODY, "env": {"CHORUS_HOME": "~/x"}}, SAID_NOBODY),
    "a stranger's ~": ({"env": {"CHORUS_HOME": "~stranger/x"}}, "nobody knows the directory of 'stranger'"),
    "a HOME that isn't there": ({"uid": NOBODY, "env": {"HOME": "/nowhere"}}, "/nowhere/.local/share/chorus-hap"),
    "a HOME that can't be written": ({"uid": NOBODY, "env": {"HOME": "/proc"}}, "/proc/.local/share/chorus-hap"),
    "a HOME that is a file": ({"env": {"HOME": "/etc/hostname"}}, "/etc/hostname/.local/share/chorus-hap"),
    "passwd instead of HOME": ({"env": {"HOME": ""}}, "chorus-hap"),
    "a relative XDG_DATA_HOME": ({"env": {"HOME": "/nowhere", "XDG_DATA_HOME": "data"}}, "/nowhere/.local"),
    "XDG_DATA_HOME alone": ({"uid": NOBODY, "env": {"XDG_DATA_HOME": "/nowhere"}}, "/nowhere/chorus-hap"),
    "no working directory": ({"gone": True, "env": {"CHORUS_HOME": "home"}}, "the working directory"),
    "a home below a file": ({"env": {"CHORUS_HOME": "/etc/hostname/x"}}, "/etc/hostname/x"),
    "no /proc": ({"no_proc": True, "env": {"CHORUS_HOME": "/nowhere/home"}}, "/nowhere/home"),
    "a long home, no runtime directory": (
        {"env": {"CHORUS_HOME": "/nowhere/" + "x" * 200, "XDG_RUNTIME_DIR": "/nowhere", "TMPDIR": "/nowhere"}},
        "/nowhere/xxx",
    ),
    "a path longer than any": ({"env": {"CHORUS_HOME": "/nowhere/" + "x" * 5000}}, "/nowhere/xxx"),
}


def run(work: Path, name: str, commands: list[tuple[str, ...]]) -> list[Result]:
    given, _ = ENVIRONMENTS[name]
    cases = []
    for n, words in enumerate(commands):
        place = work / f"cwd-{n}"
        place.mkdir()
        settings = {**given, "env": {**UNSET, **given.get("env", {})}}
        cases.append(Case(("--timeout", "2", *words), "text", cwd=str(place), **settings))
    return run_all(cases)


@pytest.mark.real
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_command_fails_unforeseen(tmp_path: Path, name: str) -> None:
    every = list(every_command())
    # All commands where nothing is known, and one of each sort where something is.
    commands = every if name in ("nothing at all", "an empty HOME", "no working directory") else every[::5]
    commands += [
        ("doctor",),
        ("config", "show"),
        ("--daemon", "--set", "p2p.port=0", "--network", ""),
        ("--kind", "human"),
    ]
    wrong = []
    for words, result in zip(commands, run(tmp_path, name, commands), strict=True):
        if result.status not in (0, 1, 2, 3, 4) or "Traceback" in result.err or "nobody foresaw" in result.err:
            wrong.append(f"{words}: {result.status} {result.err[-600:]}")
        if words == ("status",) and ENVIRONMENTS[name][1] not in result.err:
            wrong.append(f"{words}: {result.err}")
    assert not wrong, "\n".join(wrong)
    # Nothing was made in the working directory: no ``~``, no ``here``.
    assert [path for n in range(len(commands)) for path in (tmp_path / f"cwd-{n}").glob("*")] == []
    assert not Path("/.local").exists()


def nobody(*_: object) -> NoReturn:
    raise KeyError("getpwuid(): uid not found: 12345")


def test_names_do_without_a_passwd_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from chorus_hap.console import _options

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    assert system.login() == ""
    assert login_of(NOBODY) == str(NOBODY)
    assert default_agent_id("human").startswith("human-")
    settings = load(tmp_path)
    proposal = _options(settings, Launch(), True, False, {}).setup
    assert proposal is not None
    assert proposal.name == default_agent_id("human")
    with pytest.raises(ConfigError, match="Set HOME"):
        home_of()
    with pytest.raises(ConfigError, match="Set HOME"):
        home_of("~/here")
    assert home_of("/there") == Path("/there")


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory of this user's whose path leaves room for a socket's name, however long pytest's own is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize("runtime", ["", "missing", "relative", "long", "file", "others'", "good"])
@pytest.mark.parametrize("temporary", ["missing", "long", "good"])
def test_a_socket_finds_its_place(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, temporary: str
) -> None:
    long = tmp_path / ("y" * 120)
    long.mkdir()
    good, shared = short, tmp_path / "s"
    shared.mkdir()
    shared.chmod(0o777)
    (tmp_path / "f").touch()
    places = {
        "": "", "missing": "/nowhere", "relative": "r", "long": str(long), "file": str(tmp_path / "f"),
        "others'": str(shared), "good": str(good),
    }  # fmt: skip
    monkeypatch.setenv("XDG_RUNTIME_DIR", places[runtime])
    monkeypatch.setattr("tempfile.tempdir", places[temporary])
    home = Home(tmp_path / ("x" * 150))
    assert len(os.fsencode(home.socket)) <= MAX_SOCKET_PATH_BYTES
    assert home.socket.parent.is_dir()
    if runtime == "good":
        assert home.socket.parent == good
    assert Home(tmp_path / ("x" * 151)).socket != home.socket


def test_no_place_for_a_socket_is_said_with_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_core.home.runtime_directories", lambda: iter([tmp_path / ("y" * 120)]))
    with pytest.raises(StoreError, match="XDG_RUNTIME_DIR") as caught:
        _ = Home(tmp_path / ("x" * 150)).socket
    assert "150" not in caught.value.next
    assert "--home" in caught.value.next


def test_a_place_that_another_holds_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_core.home.MAX_SOCKET_PATH_BYTES", 200)
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    monkeypatch.setattr("agent_core.home.runtime_directories", lambda: iter([first, second]))
    home = Home(tmp_path / ("x" * 200))
    taken = home.socket
    taken.touch()
    assert home.socket == taken
    monkeypatch.setattr(os, "getuid", lambda: NOBODY)
    again = home.socket  # named by its user; one of that name belongs to somebody else
    again.touch()
    assert home.socket.parent == second


def test_the_machine_is_asked_in_one_place() -> None:
    """No other module asks for the login, the user's directory or the platform's: walks every name in the program."""
    asked = {"getpass", "pwd", "platformdirs", "expanduser", "gettempdir", "getlogin"}
    found = []
    for package in (agent_core, chorus_hap):
        for path in Path(package.__path__[0]).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
                if isinstance(node, ast.ImportFrom):
                    names = {node.module or "", *(alias.name for alias in node.names)}
                elif isinstance(node, ast.Attribute):
                    names = {node.attr}
                    if node.attr == "home" and isinstance(node.value, ast.Name) and node.value.id == "Path":
                        names = {"expanduser"}
                if names & asked and path.name not in ("system.py", "tour.py"):
                    found.append(f"{path}:{node.lineno}")  # type: ignore[attr-defined]
    assert found == []
