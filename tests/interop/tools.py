"""Other people's programs that these tests judge ours by, and what to do where one is missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

#: Go's verifier: whether it accepted, and what it said.
Go = Callable[..., tuple[bool, str]]

#: What this run went without.
absent: set[str] = set()

HERE = Path(__file__).parent


def missing(what: str, install: str) -> NoReturn:
    """Where judges are required (``.ci/run``) a missing one fails the test; elsewhere it is skipped, and said how to get it."""
    sentence = f"{what} is missing. Run: {install}"
    absent.add(sentence)
    if os.environ.get("JUDGES"):
        pytest.fail(sentence)
    pytest.skip(sentence)
