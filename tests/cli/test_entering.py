"""What a command line brings in: numbers of every command, files of every sort, empty flags; each refused at once, in words."""

from __future__ import annotations

import importlib
import inspect
import os
import socket
import time
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest

from agent_core.errors import ChorusError
from agent_core.inputs import read_file
from chorus_hap import cli
from chorus_hap.cli import outside
from chorus_hap.cli.app import COMMANDS
from chorus_hap.cli.options import FLAGS
from chorus_hap.cli.output import Output

PEER = "12D3KooWAfmVgxWUSPUMyZ4hy2ZGoYfSCXdVbvLMPh5NwCdcWFvx"
NO_COUNT = ["-1", "nan", "inf", "1e3", "1.5", "x", "9" * 30, "0x1", "٣", " ", "1_0"]
NO_TIME = ["0", "-1", "nan", "inf", "1e999", "x", "9" * 30, "10y", "-5m", "1h30m"]
NO_SHARE = ["-0.1", "1.1", "nan", "inf", "x", "50%"]

#: Every option and argument that is a number, by the words before it.
NUMBERS: list[tuple[tuple[str, ...], list[str]]] = [
    (("log", "tail", "--limit"), NO_COUNT),
    (("log", "tail", "-n"), NO_COUNT),
    (("hmmm", "show", "r", "--limit"), NO_COUNT),
    (("hmmm", "watch", "--last"), NO_COUNT),
    (("log", "prove", "1", "--epoch"), NO_COUNT),
    (("log", "export", "d", "--epoch"), NO_COUNT),
    (("election", "verify"), [n for n in NO_COUNT if n != "-1"]),
    (("decisions", "propose", "t", "--quorum"), NO_SHARE),
    (("members", "invite", "--expires"), NO_TIME),
    (("status", "--timeout"), NO_TIME),
    (("--wait=",), [*NO_COUNT, "0"]),
]


@pytest.mark.parametrize(("words", "bad"), NUMBERS, ids=lambda w: " ".join(w) if isinstance(w, tuple) else "")
def test_no_command_takes_a_number_that_is_none(
    words: tuple[str, ...],
    bad: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHORUS_HOME", str(tmp_path / "home"))
    for text in bad:
        line = [words[0] + text, "status"] if words[0].endswith("=") else [*words, text]
        status = cli.main(line)
        said = capfd.readouterr()
        assert (status, said.out) == (2, ""), (line, said)
        assert said.err.startswith("chorus-hap: ")
        named = {"-n": "--limit", "verify": "TERM"}.get(words[-1], words[-1].rstrip("="))
        assert named in said.err, said.err
        assert "null" not in said.err


def test_the_walk_over_numbers_misses_none() -> None:
    """A new option that is a number belongs into the list above."""
    walked = {word for words, _ in NUMBERS for word in words} | {"TERM"}
    seen = set()
    for command in COMMANDS:
        module = importlib.import_module(f"chorus_hap.cli.{command.module}")
        callbacks = (
            [i.callback for i in module.app.registered_commands] if command.group else [getattr(module, command.name)]
        )
        for callback in callbacks:
            for name, hint in get_type_hints(callback).items():
                if {int, float} & {hint, *get_args(hint)} and name != "return":
                    info = inspect.signature(callback).parameters[name].default
                    seen.add((info.param_decls or (info.metavar,))[0])
    assert seen
    assert seen <= walked


@pytest.mark.parametrize("flag", [f for f in FLAGS if f.value], ids=lambda f: f.name)
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_flag_is_never_taken_for_none(
    flag: object, value: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHORUS_HOME", str(tmp_path / "home"))
    name = flag.name  # type: ignore[attr-defined]
    assert cli.main(["status", name, value]) == 2
    assert name in capfd.readouterr().err


def test_only_files_are_read_and_nobody_is_waited_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHORUS_HOME", str(tmp_path / "home"))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
        with (tmp_path / "big").open("wb") as big:
            big.truncate(1 << 34)
        began = time.monotonic()
        for name in (
            "fifo",
            "link",
            "dir",
            "sock",
            "big",
            "loop",
            "absent",
            "/dev/zero",
            "/dev/tty",
            "/proc/self/status",
            "a\0b",
        ):
            status = cli.main(["ucxl", "put", "ucxl://a:b@c:d/x", name])
            said = capfd.readouterr()
            assert status in (1, 2), name
            assert "nobody foresaw" not in said.err, said.err
            assert said.err.startswith("chorus-hap: "), name
        assert time.monotonic() - began < 5
    (tmp_path / "good").write_bytes(b"x")
    assert read_file(tmp_path / "good", 1) == b"x"


@pytest.mark.parametrize(
    "address",
    [
        "ucxl://..:..@..:../x",
        "ucxl://.:b@c:d/x",
        "ucxl://a:...@c:d/x",
        "ucxl://a:b@..:d/x",
        "ucxl://a:b@c:./x",
        "ucxl://a:b@c:d/..",
        "ucxl://a:b@c:d/x/../y",
        "ucxl://a:b@c:d/x/.../y",
        "ucxl://a:b@c:d/%2e%2e/y",
        "ucxl://a:b@c:d/x\u200b",
        "ucxl://a\u0430:b@c:d/x",
    ],
)
def test_no_address_leads_elsewhere(address: str) -> None:
    from agent_core.errors import InvalidAddress
    from agent_core.ucxl.address import parse, parse_pattern, parse_place, parse_stored

    for read in (parse, parse_place, parse_pattern):
        with pytest.raises(InvalidAddress):
            read(address)
    if address == "ucxl://..:..@..:../x":
        assert str(parse_stored(address)) == address  # what was written once stays listed


def test_results_with_paths_of_another_encoding_are_printed(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Output(json=True).data({"directory": "/tmp/Ren\udce9", "list": ["\udcff"]})
    assert msgspec.json.decode(capfdbinary.readouterr().out) == {"directory": "/tmp/Ren\\xe9", "list": ["\\xff"]}


def test_listeners_are_read_from_the_kernels_tables() -> None:
    with socket.create_server(("0.0.0.0", 0)) as every, socket.create_server(("127.0.0.1", 0)) as own:
        ports = {"api": every.getsockname()[1], "p2p": own.getsockname()[1]}
        found = {item.what: item for item in outside.of_process(os.getpid(), ports) if item.what != "port"}
    assert found["api"].outside
    assert not found["p2p"].outside
    bare, text, advice = outside.words(list(found.values()))
    assert bare
    assert text.startswith(f"api on 0.0.0.0:{ports['api']}/tcp (every interface); interfaces here: ")
    assert "http.host" in advice
    assert outside.words([found["p2p"]])[:2] == (False, "nothing: it listens on this machine's own addresses only")


def test_tables_of_both_families_are_read() -> None:
    head = "  sl  local_address ...\n"
    four = head + "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4242 1\n"
    six = head + f"   0: {'0' * 24}01000000:1F90 {'0' * 32}:0000 0A 00000000:00000000 00:00000000 00000000 0 0 7 1\n"
    assert [(str(a), p, i) for a, p, i in outside.parse_table(four, "0A")] == [("127.0.0.1", 8080, "4242")]
    assert [(str(a), p, i) for a, p, i in outside.parse_table(six, "0A")] == [("::1", 8080, "7")]
    assert list(outside.parse_table(four, "07")) == []


def test_an_unreadable_home_of_another_encoding_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--home", "/tmp/Ren\udce9", "status"]) == 2
    assert "isn't UTF-8" in capfd.readouterr().err
    str(ChorusError("\udce9")).encode()
