"""Articles and plurals in the sentences that are made."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import agent_core
import chorus_hap
from agent_core.grammar import Counted, a, are, noun, plural
from agent_core.wire.catalogue import TYPES


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("argument", "an argument"), ("room", "a room"), ("address", "an address"), ("Envelope", "an Envelope"), ("user", "a user"),
        ("unanimous vote", "a unanimous vote"), ("hour", "an hour"), ("UCXL address", "a UCXL address"), ("hmmm.message", "an hmmm.message"),
        ("8 kB file", "an 8 kB file"), ("11 s wait", "an 11 s wait"), ("ip4", "an ip4"), ("one-time code", "a one-time code"), ("", "a "),
    ],
)  # fmt: skip
def test_an_article_is_the_one_that_is_said(word: str, said: str) -> None:
    assert a(word) == said


def test_a_number_takes_its_word() -> None:
    assert [plural(n, "vote") for n in (0, 1, 2)] == ["0 votes", "1 vote", "2 votes"]
    assert [plural(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]
    assert (noun(1, "peer"), noun(3, "peer"), are(1), are(0)) == ("peer", "peers", "is", "are")
    one = Counted(1)
    assert f"{one:vote|votes}, {one}, {one:03d}, {Counted(2):vote|votes}" == "1 vote, 1, 001, 2 votes"


_PLACE = r"\{\}"  # what is computed in a template
#: Sentences in which the number can't be one, or the word is a measure.
_NEVER_ONE = re.compile(r"(of|over|than|Only|Up to) \{\}|\{\} of \{\}|terms from|CRASHES")


def _templates() -> list[tuple[str, str]]:
    found = []
    for package in (agent_core, chorus_hap):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    text = "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
                    found.append((f"{path.name}:{node.lineno}", text))
    found += [(name, re.sub(r"\{[^}|]*\}", "{}", kind.line)) for name, kind in TYPES.items()]
    return found


@pytest.mark.parametrize("words", ["article", "number"])
def test_no_template_puts_a_bare_article_or_plural_beside_what_is_computed(words: str) -> None:
    article = re.compile(rf"\b[Aa]n? {_PLACE}")
    counted = re.compile(
        rf"{_PLACE} (voters|peers|members|entries|messages|votes|nodes|homes|rooms|files|tasks|findings|decisions)\b"
    )
    bad = []
    for where, text in _templates():
        wrong = article.search(text) if words == "article" else counted.search(text)
        if (
            wrong
            and not (words == "number" and _NEVER_ONE.search(text))
            and "complete -c" not in text
            and " -f -a " not in text
            and not where.startswith("grammar")
        ):
            bad.append(f"{where}: {text}")
    assert not bad, "\n".join(bad)
