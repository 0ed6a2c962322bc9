"""Who may be called what, at admission; and look-alikes, which every face shows with the end of the peer id."""

from __future__ import annotations

import msgspec
import pytest

from agent_core import shapes
from agent_core.api import views as api_views
from agent_core.caller import Caller
from agent_core.decisions import views as decision_views
from agent_core.decisions.fold import DecisionsFold
from agent_core.decisions.service import DecisionsService
from agent_core.errors import InvalidInput, Refused
from agent_core.feeds.model import Via
from agent_core.hmmm import views as room_views
from agent_core.hmmm.fold import RoomsFold
from agent_core.hmmm.machine import Periods
from agent_core.hmmm.service import RoomsService
from agent_core.roster.admission import Admit, Gate, Refusal
from agent_core.roster.model import Authority, Kind, Member, Roster
from agent_core.roster.roles import load
from agent_core.roster.warrants import Verb, may
from agent_core.text import has_unseen
from agent_core.ucxl import views as ucxl_views
from agent_core.ucxl.fold import UcxlFold
from agent_core.ucxl.service import UcxlService
from agent_core.wire.families.cooee import CooeeEnrol, CooeeWaiting
from tests.support.parts import FakeEntries
from tests.support.writing import Cluster

CALLER = Caller(Via.COMMAND, login="root")
TRUE, FALSE, PLAIN, OLD, MIMIC = (
    "12D3KooWtrueAA",
    "12D3KooWfalsBB",
    "12D3KooWplaiCC",
    "12D3KooWoldsDD",
    "12D3KooWmimiEE",
)


def a_member(peer: str, name: str) -> Member:
    return Member(peer_id=peer, agent_id=name, kind=Kind.HUMAN, authority=Authority.DECISION, may_vote=True, voter=True)


@pytest.fixture
def cluster() -> Cluster:
    """``admin``, two who look like it, one like nobody, and names from before there was a rule."""
    return Cluster(
        a_member(TRUE, "admin"),
        a_member(FALSE, "аdmin"),
        a_member(PLAIN, "bob"),
        a_member(OLD, "Jane\x1b[31m\u202e Doe\n"),
        a_member(MIMIC, "bob~plaiCC"),
    )


SHOWN = {
    TRUE: "admin~trueAA",
    FALSE: "аdmin~falsBB",
    PLAIN: "bob",
    OLD: "Jane<U+001B>[31m<U+202E> Doe<U+000A>~oldsDD",
    MIMIC: "bob~plaiCC~mimiEE",
}


def roster_of(cluster: Cluster) -> Roster:
    assert cluster.chain.roster is not None
    return cluster.chain.roster


async def test_every_face_tells_look_alikes_apart(cluster: Cluster) -> None:
    ctx = cluster.context(PLAIN)
    rooms, decisions, addresses = RoomsFold(), DecisionsFold(), UcxlFold()
    cluster.folds += [rooms, decisions, addresses]
    periods = Periods()
    posted, proposed = {}, {}
    for peer in SHOWN:
        cluster.now_ms += 1
        appender = cluster.appender(peer)
        context = lambda peer=peer: cluster.context(peer)  # noqa: E731
        talk = RoomsService(appender, lambda: rooms, context, cluster.heads, lambda address: "", periods)
        posted[peer] = await talk.post(shapes.PostRequest(room="r", text="hello @admin and @аdmin"), CALLER)
        vote = DecisionsService(appender, lambda: decisions, context)
        proposed[peer] = await vote.propose(shapes.ProposeRequest(title="t"), CALLER)
        await vote.vote(shapes.VoteRequest(id=proposed[peer].id, choice="approve"), CALLER)
        store = UcxlService(appender, lambda: addresses, context)
        await store.put(shapes.PutRequest(address=f"ucxl://a:b@c:d/{peer}", data="eA=="), CALLER)

    entries = FakeEntries([entry for feed in cluster.feeds.values() for entry in feed.entries])
    members = {m.peer_id: m.agent_id for m in api_views.members(ctx, entries)}  # type: ignore[arg-type]
    assert members == SHOWN
    room = room_views.view(rooms, ctx, "r", periods)
    assert {m.author_peer: m.author for m in room.messages} == SHOWN
    assert {m.mentions for m in room.messages} == {(SHOWN[TRUE], SHOWN[FALSE])}
    assert set(room.room.participants) == set(SHOWN.values())
    listed = {d.id: d for d in decision_views.listing(decisions, ctx)}
    assert {p: listed[done.id].proposer for p, done in proposed.items()} == SHOWN
    assert {p: [v.voter for v in listed[d.id].votes if v.choice] for p, d in proposed.items()} == {
        peer: [name] for peer, name in SHOWN.items()
    }
    assert {a.address.rpartition("/")[2]: a.author for a in ucxl_views.listing(addresses, ctx)} == SHOWN
    assert {e.key.partition("/")[0]: e.author for e in api_views.log(entries.stored, ctx)} == SHOWN
    assert not any(map(has_unseen, SHOWN.values()))


def test_a_newcomer_that_looks_like_a_member_is_shown_with_its_peer_id(cluster: Cluster) -> None:
    ctx = cluster.context(PLAIN)
    waits = [
        CooeeWaiting(peer_id=f"12D3KooWnew{n:03}", agent_id=name, role="agent", kind="agent", since_ms=1)
        for n, name in enumerate(["ADMIN", "b0b", "eve", "eve\u200b"])
    ]
    assert [w.agent_id for w in api_views.waiting(waits, ctx)] == ["ADMIN~new000", "b0b~new001", "eve", "eve"]


@pytest.mark.parametrize("text", ["admin", "аdmin", "Admin", "adm1n"])
def test_who_looks_alike_is_named_by_peer_id(text: str, cluster: Cluster) -> None:
    known = {p: roster_of(cluster).name(p) for p in roster_of(cluster).members}
    with pytest.raises(InvalidInput, match="names several: …falsBB, …trueAA"):
        api_views.find_member(text, known)
    assert api_views.find_member("falsBB", known) == FALSE
    assert api_views.find_member(SHOWN[TRUE], known) == TRUE
    assert api_views.find_member("bob", known) == PLAIN
    assert api_views.find_member(SHOWN[OLD], known) == OLD


def test_sentences_name_members_as_faces_do(cluster: Cluster) -> None:
    roster = roster_of(cluster)
    refusal = may(roster, PLAIN, Verb.REVOKE, roster.members[OLD])
    assert SHOWN[OLD] in refusal
    assert not has_unseen(refusal)
    weak = msgspec.structs.replace(roster.members[FALSE], authority=Authority.READ_ONLY)
    other = msgspec.structs.replace(roster, members={**roster.members, FALSE: weak})
    assert SHOWN[FALSE] in may(other, FALSE, Verb.INVITE)


def test_a_single_twin_is_told_apart_even_after_it_left(cluster: Cluster) -> None:
    roster = roster_of(cluster)
    assert roster.label("admin", FALSE) == "admin~falsBB"
    assert roster.label("stranger", "12D3KooWsomeFF") == "stranger"
    assert roster.mentioned("bob") == "bob"
    assert roster.mentioned("BOB") == "BOB (nobody's name)"
    assert roster.mentioned("role:admin") == "role:admin"


def enrolment(**changes: object) -> CooeeEnrol:
    plain = CooeeEnrol(network="test", cluster="c1", peer_id="new", agent_id="new", role="agent", kind="agent", at_ms=0)
    return msgspec.structs.replace(plain, **changes)  # type: ignore[arg-type]


BAD = ["", " ", "Jane Doe", "x" * 65, "\x1b[31m", "a\u200bb", "Rene\u0301", "a\nb", "a~b", "..", "CORP\\jdoe", "\u3164"]


@pytest.mark.parametrize("name", BAD, ids=ascii)
@pytest.mark.parametrize("field", ["agent_id", "role", "capabilities"])
def test_newcomers_are_measured_by_the_rule_of_settings(field: str, name: str, cluster: Cluster) -> None:
    gate = Gate(verifier=None, roles=load())  # type: ignore[arg-type]
    value = (name,) if field == "capabilities" else name
    if field == "capabilities" and name == "Jane Doe":
        return  # words of one's own
    found = gate.record(enrolment(**{field: value}), roster_of(cluster), 0)
    assert isinstance(found, Refusal)
    assert not has_unseen(found.message + found.next)
    assert "agent." in found.next


def test_who_was_admitted_under_another_rule_stays_and_may_change_the_rest(cluster: Cluster) -> None:
    gate = Gate(verifier=None, roles=load())  # type: ignore[arg-type]
    for peer in (OLD, MIMIC):
        before = roster_of(cluster).members[peer]
        renewal = enrolment(peer_id=peer, agent_id=before.agent_id, capabilities=("python",))
        found = gate.record(renewal, roster_of(cluster), 0)
        assert isinstance(found, Admit)
        assert found.record.capabilities == ("python",)
        assert isinstance(gate.record(enrolment(peer_id=peer, agent_id="Other Name"), roster_of(cluster), 0), Refusal)


async def test_options_are_told_apart_by_the_eye(cluster: Cluster) -> None:
    decisions = DecisionsFold()
    cluster.folds.append(decisions)
    service = DecisionsService(cluster.appender(PLAIN), lambda: decisions, lambda: cluster.context(PLAIN))
    for options in (
        ("yes", "ye\u200bs"),
        ("yes", "yes\U000e0061"),
        ("caf\u00e9", "cafe\u0301"),
        ("Plan A", "Plan \u0410"),
        ("Plan A", "plan a"),
        ("a b", "a\u00a0b"),
        ("a b", "a  b"),
        ("1st", "lst"),
        ("abstain", "other"),
        ("Abstain", "other"),
        ("", "other"),
        ("\u3164", "other"),
        ("a\nb", "other"),
        ("only",),
        tuple(f"x{n}y" for n in range(17)),
        ("x" * 65, "other"),
    ):
        with pytest.raises(InvalidInput) as caught:
            await service.propose(shapes.ProposeRequest(title="t", options=options), CALLER)
        assert "options" in caught.value.message or "option" in caught.value.message
        assert not has_unseen(str(caught.value))
    done = await service.propose(shapes.ProposeRequest(title="t", options=("cafe\u0301", " tea  time ")), CALLER)
    assert decision_views.listing(decisions, cluster.context(PLAIN))[0].options == ("café", "tea time")
    voted = await service.vote(shapes.VoteRequest(id=done.id, choice="cafe\u0301"), CALLER)
    assert voted.text.endswith("café.")


@pytest.mark.parametrize("mention", ["a\u200bb", "x" * 81, "", "\U000e0061"])
async def test_mentions_hold_nothing_unseen(mention: str, cluster: Cluster) -> None:
    rooms = RoomsFold()
    talk = RoomsService(
        cluster.appender(PLAIN), lambda: rooms, lambda: cluster.context(PLAIN), cluster.heads, lambda address: ""
    )
    with pytest.raises((InvalidInput, Refused)):
        await talk.post(shapes.PostRequest(room="r", text="x", mentions=(mention,)), CALLER)
