"""Every command with each of its streams closed, full or broken: never a traceback, a sentence where one can be said, the right status."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.every_command import every_command
from tests.support.fake_node import FakeNode
from tests.support.forked import Case, Result, run_all
from tests.support.samples import answers

pytestmark = pytest.mark.real

BAD = ("Traceback", "nobody foresaw", "Exception ignored", "Error:")
#: Help and version, asked for in every place.
HELPS = (
    ("--help",), ("-h",), ("--daemon", "--help"), ("--daemon", "-h"), ("-h", "--daemon"), ("--found", "--daemon", "--help"),
    ("help",), ("status", "-h"), ("hmmm", "-h"), ("hmmm", "post", "-h"), ("help", "hmmm", "post"), ("--version",),
    ("--daemon", "--version"), ("--kind", "agent", "--help"),
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a node that answers everything, and then hangs up on whoever watches."""
    place = tmp_path_factory.mktemp("streams")
    subscribed = {"election", "rooms", "decisions", "attention", "log", "members", "status"}
    slices = {
        name: {"rev": 1, "value": [] if name != "election" else answers()["election.show"]} for name in subscribed
    }
    with FakeNode(place / "home", answers() | {"subscribe": slices}) as node:
        node.hang_up_after_subscribe = True
        yield node.home.root


def run(home: Path, cases: list[Case]) -> list[Result]:
    given = []
    for n, case in enumerate(cases):
        work = home.parent / f"work-{n}"
        work.mkdir(exist_ok=True)
        words = ("--home", str(home), "--timeout", "5", *case.words)
        given.append(Case(words, case.stdin, case.stdout, case.stderr, dict(case.env), cwd=str(work)))
    return run_all(given)


def clean(case: Case, result: Result) -> str:
    """What is wrong with how a case went, empty if nothing is."""
    if result.status is None:
        return "hangs"
    for word in BAD:
        if word in result.err + result.out:
            return f"says {word!r}: {result.err[-300:]}"
    if result.status not in (0, 1, 2, 3, 4):
        return f"ends with {result.status}: {result.err[-300:]}"
    return ""


def test_every_command_with_every_stream(home: Path) -> None:
    words = [*every_command(), *HELPS]
    plain = run(home, [Case([*flags, *w], stdin="text") for w in words for flags in ((), ("--json",))])
    usual = {
        (flags, w): r for (w, flags), r in zip(((w, f) for w in words for f in ((), ("--json",))), plain, strict=True)
    }
    cases: list[Case] = []
    for w in words:
        cases += [Case(w, "text", stdout=out) for out in ("closed", "full", "broken")]
        cases += [Case(["--json", *w], "text", stdout=out) for out in ("full", "broken", "read-only")]
        cases += [Case(w, "text", stderr=err) for err in ("closed", "full")]
        cases += [Case(w, stdin) for stdin in ("closed", "binary", "write-only") if "-" in w]
        cases.append(Case(w, "closed", "closed", "closed"))
    results = run(home, cases)
    wrong = [
        f"{c.words} {c.stdin} {c.stdout} {c.stderr}: {clean(c, r)}"
        for c, r in zip(cases, results, strict=True)
        if clean(c, r)
    ]
    wrong += [f"{w} {f} as usual: {clean(Case(w), r)}" for (f, w), r in usual.items() if clean(Case(w), r)]
    seen: defaultdict[str, int] = defaultdict(int)
    for case, result in zip(cases, results, strict=True):
        flags = ("--json",) if case.words[0] == "--json" else ()
        before = usual[flags, tuple(case.words[len(flags) :])]
        if case.stdout in ("closed", "full", "read-only") and case.stderr == "pipe" and before.out:
            seen["stdout"] += 1
            if result.status not in (1, before.status or 1) or "Standard output can't be written" not in result.err:
                wrong.append(f"{case.words} {case.stdout}: {result.status} {result.err!r}")
        if case.stdout == "broken" and before.status == 0:
            seen["broken"] += 1
            if result.status != 0 or "written" in result.err:
                wrong.append(f"{case.words} {case.stdout}: {result.status} {result.err!r}")
        if case.stderr != "pipe" and case.stdout == "pipe":
            seen["stderr"] += 1
            if (result.status, bool(result.out)) != (before.status, bool(before.out)):
                wrong.append(f"{case.words} stderr {case.stderr}: {result.status} rather than {before.status}")
        if case.stdin in ("closed", "write-only") and "-" in case.words and case.stdout == "pipe":
            seen["stdin"] += 1
            if result.status != 2 or "Standard input can't be read" not in result.err + result.out:
                wrong.append(f"{case.words} stdin {case.stdin}: {result.status} {result.err!r}")
    assert not wrong, "\n".join(wrong)
    assert all(
        seen[kind] > least for kind, least in (("stdout", 150), ("broken", 80), ("stderr", 100), ("stdin", 3))
    ), seen


@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_help_works_anywhere(home: Path, words: tuple[str, ...]) -> None:
    (result,) = run(home, [Case(words)])
    assert (result.status, result.err) == (0, "")
    assert "sage:" in result.out or "version" in " ".join(words)
