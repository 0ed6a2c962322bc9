"""``election why``, ``election verify`` and ``members log`` on a home that no node runs on, with a real chain and real signatures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent_core.api.offline import CLUSTER_KEY
from agent_core.clock import HybridClock
from agent_core.election.acts import ACT, ACT_COMMIT, Ack, ActData, ActKind, CommitData, ack_message
from agent_core.election.messages import Certificate, TermPayload, Vote, vote_message
from agent_core.feeds.model import Draft
from agent_core.feeds.service import Feeds
from agent_core.feeds.store import Store
from agent_core.home import Home
from agent_core.identity import keys
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier
from agent_core.roster.fold import GenesisPayload, MemberPayload, PolicyPayload, RevokePayload, VoterPayload
from agent_core.roster.model import Kind, Member, Policy
from chorus_hap import cli

Go = Callable[..., tuple[int, str, str]]


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    """A home whose store has a cluster of two, led by its founder in terms 1 and 3; term 3's certificate has a vote too few."""
    home = Home(tmp_path / "home")
    home.create()
    identity = keys.load_or_create(home.identity, Kind.AGENT)
    store = Store.open(home.store)
    me, other = Ed25519Signer(identity.seed), Ed25519Signer(b"o" * 32)
    feeds = Feeds(store, me, Ed25519Verifier(), HybridClock())
    cluster, prev, number = "", "", -1

    async def act(term: int, kind: ActKind, payload: msgspec.Struct, *others: Ed25519Signer) -> None:
        nonlocal cluster, prev, number
        number += 1
        raw = msgspec.Raw(msgspec.json.encode(payload))
        cert = payload.certificate.digest if isinstance(payload, TermPayload) else ""
        data = ActData(cluster=cluster, term=term, number=number, prev=prev, cert=cert, kind=kind, payload=raw)
        (entry,) = await feeds.append([Draft(ACT, data)])
        prev = entry.hash.hex()
        if number == 0:
            cluster = prev
            return
        message = ack_message(cluster, term, number, prev)
        acks = tuple(Ack(s.peer_id, s.sign(message)) for s in (me, *others))
        await feeds.append(
            [Draft(ACT_COMMIT, CommitData(cluster=cluster, term=term, number=number, hash=prev, acks=acks))]
        )

    def won(term: int, roster: int) -> TermPayload:
        sig = me.sign(vote_message(cluster, term, me.peer_id, number, prev))
        vote = Vote(me.peer_id, term, me.peer_id, number, prev, sig)
        certificate = Certificate(cluster=cluster, term=term, leader=me.peer_id, roster=roster, votes=(vote,))
        return TermPayload(certificate=certificate, trigger="discovery_failed")

    founder = Member(peer_id=me.peer_id, agent_id="ann", may_vote=True)
    bob = Member(peer_id=other.peer_id, agent_id="bob", may_vote=True)
    first = GenesisPayload(random="00" * 32, network="chorus", policy=Policy.OPEN, founder=founder)
    await act(0, ActKind.GENESIS, first)
    await act(1, ActKind.TERM, won(1, 0))
    await act(1, ActKind.MEMBER_ADD, MemberPayload(member=bob))
    await act(1, ActKind.MEMBER_CHANGE, MemberPayload(member=msgspec.structs.replace(bob, role="reviewer")))
    await act(1, ActKind.VOTER_ADD, VoterPayload(peer_id=other.peer_id))
    await act(1, ActKind.POLICY, PolicyPayload(policy=Policy.INVITE), other)
    await act(3, ActKind.TERM, won(3, 5), other)
    await act(3, ActKind.VOTER_ADD, VoterPayload(peer_id="stranger"), other)
    await act(3, ActKind.MEMBER_REVOKE, RevokePayload(peer_id=other.peer_id, heads=(), reason="left us"), other)
    store.write(CLUSTER_KEY, cluster.encode())
    store.close()
    return home.root


@pytest.fixture
def go(home: Path, capfd: pytest.CaptureFixture[str]) -> Go:
    def run(*words: str) -> tuple[int, str, str]:
        status = cli.main([*words, "--home", str(home)])
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return run


async def test_why_is_said_in_words(go: Go) -> None:
    status, out, _ = go("election", "why")
    assert (status, out.count("\n")) == (0, 1)
    assert "nobody here knows who leads now. The last leader in this store is ann, of term 1." in out
    told = json.loads(go("election", "why", "--json")[1])
    assert (told["state"], told["term"]) == ("offline", 3)
    assert told["why"] in out
    assert "discovery_failed" in go("election", "show")[1]


async def test_the_certificate_of_a_past_term_is_checked_offline(go: Go) -> None:
    status, out, _ = go("election", "verify", "1")
    assert status == 0
    assert out.startswith("ann led term 1: 1 of 1 voter of roster version 0 signed for it, and 1 makes a majority.")
    told = json.loads(go("election", "verify", "1", "--json")[1])
    assert (told["ok"], [v["good"] for v in told["votes"]]) == (True, [True])


async def test_a_certificate_without_a_majority_is_said(go: Go) -> None:
    status, out, _ = go("election", "verify", "3")
    assert status == 1
    assert "That ann led term 3 can't be confirmed: its votes are no majority of the 2 voters" in out
    assert go("election", "verify", "3", "--json")[0] == 1


async def test_a_term_that_nobody_led_is_said(go: Go) -> None:
    status, _, err = go("election", "verify", "2")
    assert status == 1
    assert "No leader of term 2 is known here" in err
    assert "2 terms from 1 to 3" in err
    assert go("election", "verify", "-1")[0] == 2


async def test_the_log_says_what_acts_do_in_the_same_words(go: Go) -> None:
    _, out, _ = go("log", "tail", "--json")
    acts = [row["text"] for row in map(json.loads, out.splitlines()) if row["type"] == "act"]
    assert acts[:5] == [
        "ann founded network chorus, admission open (act 0)",
        "took the lead of term 1 (act 1)",
        "bob joined as agent, authority coordination (act 2)",
        "bob role agent → reviewer (act 3)",
        "bob became a voter (act 4)",
    ]
    assert acts[-1] == "bob was revoked: left us (act 8)"


async def test_the_rosters_history(go: Go) -> None:
    status, out, _ = go("members", "log", "--json")
    assert status == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(r["number"], r["term"], r["kind"], r["who"], r["text"], r["voters"]) for r in rows[:-2]] == [
        (0, 0, "genesis", "ann", "founded network chorus, admission open", 1),
        (2, 1, "member.add", "bob", "joined as agent, authority coordination", 1),
        (3, 1, "member.change", "bob", "role agent → reviewer", 1),
        (4, 1, "voter.add", "bob", "became a voter", 2),
        (5, 1, "policy", "", "admission is invite", 2),
    ]
    assert (rows[-2]["number"], rows[-2]["text"]) == (7, "became a voter (without effect)")
    assert (rows[-1]["who"], rows[-1]["text"], rows[-1]["voters"]) == ("bob", "was revoked: left us", 1)
    assert all(r["by"] == "ann" and r["at"].endswith("Z") for r in rows)
    shown = go("members", "log")[1]
    assert "was revoked: left us" in shown
    assert "bob" in go("members")[1], "without a word behind it, `members` is the roster"
