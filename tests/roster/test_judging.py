"""What voters let a leader do to the roster: every rule has an act that breaks it, and nothing a voter allows is more than it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_core.election.acts import ActKind
from agent_core.errors import InvalidInput
from agent_core.feeds.model import Head
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier
from agent_core.roster.fold import (
    GenesisPayload,
    MemberPayload,
    PolicyPayload,
    RevokePayload,
    VoterPayload,
    after,
)
from agent_core.roster.history import history
from agent_core.roster.judging import MAX_VOTERS, objection
from agent_core.roster.model import Authority, Kind, Member, Policy, Roster
from agent_core.roster.warrants import (
    WARRANT_MS,
    Invitation,
    Verb,
    Warrant,
    from_token,
    signed_ticket,
    to_token,
)
from agent_core.views import ViewContext
from agent_core.wire.families.cooee import CooeeTicket
from tests.support.clusters import Book, act
from tests.support.parts import FakeEntries

NOW = 1_767_225_600_000
SIGNERS = {name: Ed25519Signer(bytes([n]) * 32) for n, name in enumerate(("boss", "ann", "bee", "cat", "new"), 1)}
IDS = {name: signer.peer_id for name, signer in SIGNERS.items()}
CLUSTER = "c1"


def record(name: str, **fields: Any) -> Member:
    return Member(peer_id=IDS[name], agent_id=name, **fields)


def roster(policy: Policy = Policy.OPEN) -> Roster:
    """A master and two voting agents, and ann, a person who may decide."""
    founder = record("boss", authority=Authority.MASTER)
    genesis = GenesisPayload(random="00", network="n", policy=policy, founder=founder)
    now = after(None, act(0, ActKind.GENESIS, genesis, CLUSTER))
    ann = record("ann", authority=Authority.DECISION, kind=Kind.HUMAN)
    steps: list[tuple[str, msgspec.Struct]] = [(ActKind.MEMBER_ADD, MemberPayload(member=ann))]
    for name in ("bee", "cat"):
        steps.append((ActKind.MEMBER_ADD, MemberPayload(member=record(name))))
        steps.append((ActKind.VOTER_ADD, VoterPayload(peer_id=IDS[name])))
    for number, (kind, payload) in enumerate(steps, 1):
        now = after(now, act(number, kind, payload))
    assert now is not None
    return now


def asked(by: str, verb: Verb, target: str, at_ms: int = NOW, signer: str = "") -> Warrant:
    warrant = Warrant(by=IDS[by], at_ms=at_ms, verb=verb, target=IDS.get(target, target))
    return msgspec.structs.replace(warrant, signature=SIGNERS[signer or by].sign(warrant.message(CLUSTER)))


def ticket(by: str = "ann", nonce: str = "ab" * 16, expires_ms: int = NOW + 1000, role: str = "") -> CooeeTicket:
    made = CooeeTicket(cluster=CLUSTER, by=IDS[by], nonce=nonce, expires_ms=expires_ms, role=role)
    return signed_ticket(made, SIGNERS[by])


def judged(kind: str, payload: msgspec.Struct, now: Roster | None = None, at_ms: int | None = NOW) -> str:
    return objection(now or roster(), kind, msgspec.json.encode(payload), at_ms, Ed25519Verifier())


def revoke(by: str, target: str, **fields: Any) -> RevokePayload:
    return RevokePayload(peer_id=IDS[target], heads=(), warrant=asked(by, Verb.REVOKE, target, **fields))


NEW = record("new")
POLICY = PolicyPayload(policy=Policy.INVITE, warrant=asked("boss", Verb.POLICY, "invite"))
ALLOWED: list[tuple[str, msgspec.Struct]] = [
    (ActKind.MEMBER_ADD, MemberPayload(member=NEW)),
    (ActKind.MEMBER_ADD, MemberPayload(member=NEW, ticket=ticket())),
    (ActKind.MEMBER_CHANGE, MemberPayload(member=record("bee", role="reviewer"))),
    (ActKind.VOTER_ADD, VoterPayload(peer_id=IDS["ann"])),
    (ActKind.VOTER_ADD, VoterPayload(peer_id=IDS["bee"], trusts="loss")),
    (ActKind.VOTER_REMOVE, VoterPayload(peer_id=IDS["bee"])),
    (ActKind.VOTER_REMOVE, VoterPayload(peer_id=IDS["bee"], warrant=asked("bee", Verb.DEMOTE, "bee"))),
    (ActKind.MEMBER_REVOKE, revoke("ann", "bee")),
    (ActKind.MEMBER_REVOKE, revoke("bee", "bee")),
    (ActKind.MEMBER_EVICT, RevokePayload(peer_id=IDS["bee"], heads=())),
    (ActKind.POLICY, POLICY),
    ("decision.close", VoterPayload(peer_id="anything")),
]
REFUSED: list[tuple[str, msgspec.Struct, str]] = [
    (ActKind.GENESIS, POLICY, "founded once"),
    (ActKind.MEMBER_ADD, POLICY, "can't be read"),
    (ActKind.MEMBER_ADD, MemberPayload(member=record("bee")), "a member already"),
    (ActKind.MEMBER_ADD, MemberPayload(member=record("new", authority=Authority.MASTER)), "authority master"),
    (ActKind.MEMBER_ADD, MemberPayload(member=NEW, ticket=ticket(by="bee")), "may not invite"),
    (ActKind.MEMBER_ADD, MemberPayload(member=NEW, ticket=ticket(by="new")), "wasn't signed by a member"),
    (ActKind.MEMBER_ADD, MemberPayload(member=NEW, ticket=ticket(expires_ms=NOW - 180_000)), "expired 3 min ago"),
    (ActKind.MEMBER_ADD, MemberPayload(member=NEW, ticket=ticket(role="reviewer")), "role reviewer"),
    (ActKind.MEMBER_CHANGE, MemberPayload(member=NEW), "Only a member's record"),
    (ActKind.MEMBER_CHANGE, MemberPayload(member=record("bee", authority=Authority.MASTER)), "can't change authority"),
    (ActKind.VOTER_ADD, VoterPayload(peer_id=IDS["new"]), "Only a member"),
    (ActKind.VOTER_ADD, VoterPayload(peer_id=IDS["bee"]), "a voter already"),
    (ActKind.VOTER_REMOVE, VoterPayload(peer_id=IDS["ann"]), "no voter"),
    (
        ActKind.VOTER_REMOVE,
        VoterPayload(peer_id=IDS["bee"], warrant=asked("cat", Verb.DEMOTE, "bee")),
        "takes authority decision; cat has coordination",
    ),
    (ActKind.MEMBER_REVOKE, RevokePayload(peer_id=IDS["bee"], heads=()), "who asked"),
    (ActKind.MEMBER_REVOKE, revoke("cat", "bee"), "takes authority"),
    (ActKind.MEMBER_REVOKE, revoke("new", "bee"), "Only a member"),
    (ActKind.MEMBER_REVOKE, revoke("ann", "boss"), "more than that"),
    (ActKind.MEMBER_REVOKE, revoke("boss", "boss"), "only one with authority master"),
    (ActKind.MEMBER_REVOKE, revoke("ann", "bee", signer="cat"), "signature"),
    (ActKind.MEMBER_REVOKE, revoke("ann", "bee", at_ms=NOW - WARRANT_MS - 1), "another time"),
    (
        ActKind.MEMBER_REVOKE,
        RevokePayload(peer_id=IDS["bee"], heads=(), warrant=asked("ann", Verb.REVOKE, "cat")),
        "something else",
    ),
    (
        ActKind.MEMBER_EVICT,
        RevokePayload(peer_id=IDS["bee"], heads=(Head(author=IDS["cat"], epoch=0, size=1, root=""),)),
        "somebody else's feed",
    ),
    (ActKind.POLICY, PolicyPayload(policy=Policy.OPEN, warrant=asked("boss", Verb.POLICY, "invite")), "something else"),
    (
        ActKind.POLICY,
        PolicyPayload(policy=Policy.INVITE, warrant=asked("ann", Verb.POLICY, "invite")),
        "takes authority master",
    ),
]


@pytest.mark.parametrize(("kind", "payload"), ALLOWED)
def test_what_may_be_is_not_objected_to(kind: str, payload: msgspec.Struct) -> None:
    assert judged(kind, payload) == ""


@pytest.mark.parametrize(("kind", "payload", "why"), REFUSED)
def test_what_nobody_may_is_refused_in_words(kind: str, payload: msgspec.Struct, why: str) -> None:
    assert why in judged(kind, payload)


def test_a_ticket_admits_once_and_not_after_its_giver_is_gone() -> None:
    payload = MemberPayload(member=NEW, ticket=ticket())
    now = roster(Policy.INVITE)
    assert "there is none" in judged(ActKind.MEMBER_ADD, MemberPayload(member=NEW), now)
    assert judged(ActKind.MEMBER_ADD, payload, now) == ""
    used = after(now, act(20, ActKind.MEMBER_ADD, payload))
    assert used is not None
    other = MemberPayload(member=msgspec.structs.replace(NEW, peer_id="another"), ticket=ticket())
    assert "used already" in judged(ActKind.MEMBER_ADD, other, used)
    gone = after(now, act(20, ActKind.MEMBER_REVOKE, RevokePayload(peer_id=IDS["ann"], heads=())))
    assert "who gave the ticket, was revoked" in judged(ActKind.MEMBER_ADD, payload, gone)


def test_approval_names_the_newcomer_and_comes_from_one_who_may() -> None:
    now = roster(Policy.APPROVE)

    def add(warrant: Warrant | None) -> str:
        return judged(ActKind.MEMBER_ADD, MemberPayload(member=NEW, warrant=warrant), now)

    assert "who asked" in add(None)
    assert "something else" in add(asked("ann", Verb.APPROVE, "bee"))
    assert "takes authority" in add(asked("bee", Verb.APPROVE, "new"))
    assert add(asked("ann", Verb.APPROVE, "new")) == ""


def test_seven_vote_at_most_and_one_stays() -> None:
    now = roster()
    for n in range(MAX_VOTERS - 3):
        peer = f"more{n}"
        for kind, payload in (
            (ActKind.MEMBER_ADD, MemberPayload(member=Member(peer_id=peer, agent_id=peer))),
            (ActKind.VOTER_ADD, VoterPayload(peer_id=peer)),
        ):
            grown = after(now, act(20 + n, kind, payload))
            assert grown is not None
            now = grown
    assert "as many as it may" in judged(ActKind.VOTER_ADD, VoterPayload(peer_id=IDS["ann"]), now)
    for voter in now.voters[1:]:
        shrunk = after(now, act(40, ActKind.VOTER_REMOVE, VoterPayload(peer_id=voter)))
        assert shrunk is not None
        now = shrunk
    assert "the only voter" in judged(ActKind.VOTER_REMOVE, VoterPayload(peer_id=now.voters[0]), now)


def test_who_was_demoted_by_a_person_stays_so_until_a_person_says_otherwise() -> None:
    now: Roster | None = roster()
    steps: list[Callable[[], VoterPayload]] = [
        lambda: VoterPayload(peer_id=IDS["bee"], warrant=asked("ann", Verb.DEMOTE, "bee")),
        lambda: VoterPayload(peer_id=IDS["bee"], warrant=asked("ann", Verb.PROMOTE, "bee")),
    ]
    for kind, step, benched in zip((ActKind.VOTER_REMOVE, ActKind.VOTER_ADD), steps, (True, False), strict=True):
        assert judged(kind, step(), now) == ""
        now = after(now, act(20, kind, step()))
        assert now is not None
        assert now.members[IDS["bee"]].benched is benched


def test_an_evicted_member_is_admitted_again_and_a_revoked_one_never() -> None:
    start = roster()
    head = Head(author=IDS["bee"], epoch=0, size=3, root="ab")
    back = MemberPayload(member=record("bee"))
    for kind, refusal in ((ActKind.MEMBER_EVICT, ""), (ActKind.MEMBER_REVOKE, "revoked")):
        out = after(start, act(20, kind, RevokePayload(peer_id=IDS["bee"], heads=(head,))))
        assert out is not None
        assert (out.is_member(IDS["bee"]), out.members[IDS["bee"]].stands) == (False, (head,))
        assert refusal in judged(ActKind.MEMBER_ADD, back, out)
        again = after(out, act(21, ActKind.MEMBER_ADD, back))
        assert again is not None
        assert again.is_member(IDS["bee"]) is (kind == ActKind.MEMBER_EVICT)


@given(st.sampled_from([*ActKind]), st.binary(max_size=60))
def test_garbage_is_refused_and_raises_nothing(kind: str, payload: bytes) -> None:
    said = objection(roster(), kind, payload, NOW, Ed25519Verifier())
    assert said or kind in (ActKind.TERM, ActKind.DECISION_CLOSE)


def test_the_history_says_who_was_evicted() -> None:
    book = Book("boss", [])
    genesis = GenesisPayload(random="00", network="n", policy=Policy.OPEN, founder=record("boss"))
    gone = RevokePayload(peer_id=IDS["bee"], heads=(), reason="away", warrant=asked("boss", Verb.EVICT, "bee"))
    book.acts = [
        act(0, ActKind.GENESIS, genesis, CLUSTER),
        act(1, ActKind.MEMBER_ADD, MemberPayload(member=record("bee"))),
        act(2, ActKind.MEMBER_EVICT, gone),
    ]
    context = ViewContext(me=IDS["boss"], chain=book, bodies=FakeEntries(), now_ms=NOW)
    assert history(context)[-1].text == "was evicted by boss: away"


def test_a_token_is_one_short_word_and_comes_back_whole() -> None:
    address = f"/ip4/10.0.0.1/tcp/9000/p2p/{IDS['ann']}"
    made = Invitation(ticket=ticket(role="agent"), network="chorus", addresses=(address,))
    made = msgspec.structs.replace(made, ticket=msgspec.structs.replace(made.ticket, cluster="5f" * 32))
    token = to_token(made)
    assert len(token) < 330
    assert from_token(f" {token[:40]}\n{token[40:]} ") == made


@given(st.text(max_size=80))
def test_what_is_no_token_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="no ticket"):
        from_token(text)
    with pytest.raises(InvalidInput, match="no ticket"):
        from_token("chorus-ticket-" + text)
