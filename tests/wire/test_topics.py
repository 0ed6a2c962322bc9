"""Topics: the names of SPEC section 3 and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.errors import InvalidInput
from agent_core.wire import catalogue, topics


def test_names() -> None:
    assert topics.issue("42") == "CHORUS/issue/42/v1"
    assert topics.task("parser-17") == "CHORUS/task/parser-17/v1"
    assert topics.project("ucxl") == "CHORUS/project/ucxl/v1"
    assert topics.role("reviewer") == "CHORUS/role/reviewer/v1"
    assert topics.expertise("parsing") == "CHORUS/expertise/parsing/v1"
    assert topics.reports("operator") == "CHORUS/reports/operator/v1"


def test_a_teams_topics_come_from_the_hash_of_project_and_task() -> None:
    # printf 'ucxl:parser-17' | sha256sum | cut -c1-16
    assert topics.team("ucxl", "parser-17") == "whoosh.team.a6b6bb568ee6262b"
    assert topics.team_control("a", "b") == topics.team("a", "b") + ".control"
    assert topics.team_voting("a", "b").endswith(".voting")
    assert topics.team_artefacts("a", "b").endswith(".artefacts")


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True))
def test_what_is_made_is_valid(id: str) -> None:
    for make in (topics.issue, topics.task, topics.project, topics.role, topics.expertise, topics.reports):
        assert topics.is_valid(make(id))
    for team in (topics.team, topics.team_control, topics.team_voting, topics.team_artefacts):
        assert topics.is_valid(team(id, id))


@pytest.mark.parametrize("id", ["", "a/b", "..", "a b", "x" * 129, "é", "a\n"])
def test_what_cant_name_a_topic_is_refused(id: str) -> None:
    with pytest.raises(InvalidInput, match="can't name a topic"):
        topics.issue(id)


@pytest.mark.parametrize(
    "topic",
    ["", "CHORUS/other/v1", "CHORUS/issue//v1", "CHORUS/issue/1/v2", "whoosh.team.xyz", "CHORUS/issue/1/v1\n"],
)
def test_other_names_are_no_topics(topic: str) -> None:
    assert not topics.is_valid(topic)


def test_every_family_has_a_topic() -> None:
    assert all(topics.is_valid(family.topic) for family in catalogue.FAMILIES)
