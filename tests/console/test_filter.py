"""Filters that a person types: no pattern takes longer than in proportion to the text, and what can't be is said with its place."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import agent_core
import chorus_hap
from chorus_hap import filter as filters
from chorus_hap.filter import MAX_PATTERNS, MAX_SOURCE, parse

LONG = "a" * 32_000 + "!"
#: What takes a backtracking engine for ever, by kind.
EXPLOSIVE = (
    "(a+)+$", "(a|a)*$", "(a|aa)+$", "(.*)*x", "(a*)*b", "([a-z]+)*$", "^(a?){60}a{60}$", "(.*a){20}$", "(x+x+)+y",
    "(a{1,30}){1,20}b", r"(\w+\s?)*$", "(?:a+){10,}$", ".*.*.*.*=.*",
)  # fmt: skip


@pytest.mark.parametrize("source", EXPLOSIVE)
@pytest.mark.parametrize("form", ["/{}/", "!/{}/", "text:/{}/", "word /{}/i !/{}/"])
def test_no_pattern_freezes_a_list(source: str, form: str) -> None:
    chosen = parse(form.replace("{}", source))
    begun = time.process_time()
    chosen.matches(LONG, {"text": LONG})
    assert time.process_time() - begun < 2.0


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (r"a(?=b)", "look-ahead ((?=, character 2)"),
        (r"(?!b)", "look-ahead ((?!, character 1)"),
        (r"x(?<=b)", "look-behind ((?<=, character 2)"),
        (r"(?<!b)c", "look-behind ((?<!, character 1)"),
        (r"(a)\1", r"a back-reference (\1, character 4)"),
        (r"(?P<n>a)(?P=n)", "(?P=n"),
        (r"(?>a)", "an atomic group"),
        ("(", "missing )"),
        ("ab[c", "missing ] ([c, character 3)"),
        ("a{1001}", "too large"),
        ("((a{100}){100}){100}", "too large"),
        (r"\p{L}{900}", "too large"),
        ("\udce9", "character 1 is no text"),
    ],
)
def test_what_cannot_be_is_said_with_its_place_and_taken_as_a_word(source: str, said: str) -> None:
    chosen = parse(f"/{source}/")
    assert said in chosen.problem
    assert "taken as a word" in chosen.problem
    assert chosen.matches(f"before /{source}/ after")
    assert not chosen.matches("something else")


def test_a_filter_is_bounded() -> None:
    many = parse("/a/ " * (MAX_PATTERNS + 1))
    assert str(MAX_PATTERNS) in many.problem
    paste = parse("b" * (MAX_SOURCE + 1))
    assert f"{MAX_SOURCE:,}" in paste.problem
    assert len(parse("/a/ " * 100_000).tests) <= MAX_SOURCE


def test_all_of_a_text_is_searched() -> None:
    assert parse("/needle$/").matches("x" * 60_000 + "needle")


@given(st.text(), st.text())
def test_never_raises(source: str, text: str) -> None:
    parse(source).matches(text, {"a": text})
    parse(f"/{source}/ a:/{source}/").matches(text, {"a": text})


def test_python_patterns_are_constants() -> None:
    """What a person or a peer gives is never compiled by a backtracking engine: walks every call of :mod:`re` in the program."""
    wrong = []
    for package in (agent_core, chorus_hap):
        for path in Path(package.__path__[0]).rglob("*.py"):
            wrong += [f"{path.name}:{line}" for line in _open_patterns(path)]
    assert wrong == []
    assert "re2" in Path(filters.__file__).read_text()


def _open_patterns(path: Path) -> list[int]:
    """The lines where :mod:`re` is given a pattern that isn't made of constants and names in capitals."""
    functions = {"compile", "search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer"}
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in functions):
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "re" and not _constant(node.args[0]):
            found.append(node.lineno)
    return found


def _constant(node: ast.expr) -> bool:
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    return all(name.id.strip("_").isupper() or name.id in ("re", "map", "chr", "sorted", "set") for name in names)
