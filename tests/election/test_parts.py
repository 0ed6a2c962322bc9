"""The pure parts of the election: timings, scores, ballots, the lease, messages."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_core import shapes
from agent_core.election.ballot import Ballot
from agent_core.election.lease import Lease
from agent_core.election.messages import (
    AnyMessage,
    Candidacy,
    Certificate,
    Vote,
    decode,
    encode,
    vote_message,
)
from agent_core.election.model import Score, Timings, tie_break
from agent_core.election.patience import Patience
from agent_core.election.scores import Observed, reckon
from agent_core.errors import ConfigError
from agent_core.identity.signing import Ed25519Signer, Ed25519Verifier
from agent_core.roster.model import Member, Roster

SIGNERS = [Ed25519Signer(bytes([n]) * 32) for n in range(1, 5)]
PEERS = [s.peer_id for s in SIGNERS]


def roster(*voters: str) -> Roster:
    members = {p: Member(peer_id=p, agent_id=p, voter=True) for p in voters}
    return Roster(cluster_id="c", network="n", version=1, members=members)


def vote(signer: Ed25519Signer, candidate: str, term: int = 3) -> Vote:
    return Vote(signer.peer_id, term, candidate, 7, "h", signer.sign(vote_message("c", term, candidate, 7, "h")))


def certificate(*votes: Vote, term: int = 3) -> Certificate:
    return Certificate(cluster="c", term=term, leader=PEERS[0], roster=1, votes=votes)


def test_timings_as_settled() -> None:
    timings = Timings()
    assert (timings.heartbeat_s, timings.timeout_s, timings.lease_s) == (5.0, 15.0, 13.5)
    assert timings.start_delay_s == pytest.approx(0.375)
    assert (timings.window_s, Timings(heartbeat_s=0.1, timeout_s=0.5).window_s) == (0.15, 0.02)


@pytest.mark.parametrize(("heartbeat_s", "timeout_s"), [(5.0, 9.9), (0.05, 0.5), (0.1, 0.4), (float("nan"), 15.0)])
def test_timings_that_cannot_be(heartbeat_s: float, timeout_s: float) -> None:
    with pytest.raises(ConfigError):
        Timings(heartbeat_s=heartbeat_s, timeout_s=timeout_s)


def test_the_scores_weights_are_whole() -> None:
    assert Score(capabilities=1, uptime=1, resources=1, network=1, experience=1).total == pytest.approx(1)
    assert Score(capabilities=0, uptime=0, resources=0, network=0, experience=0).total == 0


@given(st.floats(0, 1), st.none() | st.floats(0, 1e6), st.lists(st.sampled_from(PEERS)))
def test_a_reckoning_is_within_bounds(up: float, rtt_ms: float | None, led: list[str]) -> None:
    member = Member(peer_id=PEERS[0], agent_id="a", may_vote=True, capabilities=("x",) * 9)
    parts = msgspec.structs.asdict(reckon(member, up, rtt_ms, led)).values()
    assert all(0 <= p <= 1 for p in parts)


def test_a_step_is_what_a_better_score_takes() -> None:
    plain, better = Score(), Score(uptime=0.75)
    assert better.beats(plain)
    assert not better.beats(plain, steps=2)
    assert not Score(uptime=0.74).beats(plain)
    ballot = Ballot(3, 1, Counter())
    ballot.candidacies = dict.fromkeys(PEERS[:3], Candidacy(3, 1, 1, 1, "", ()))
    near = {PEERS[0]: Score(uptime=0.8), PEERS[1]: Score(uptime=0.7), PEERS[2]: Score(uptime=0.5)}
    assert ballot.choose(PEERS, near.__getitem__) == min(PEERS[:2], key=lambda p: tie_break(3, p))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20)), max_size=20))
def test_patience_grows_with_lateness_up_to_a_timeout_and_fades(said: list[tuple[float, float]]) -> None:
    patience, now = Patience(15.0), 0.0
    for late_s, after_s in said:
        now += after_s
        before = patience.extra_s(now)
        patience.late(late_s, now)
        assert before <= patience.extra_s(now) <= 15.0
        assert 1.0 <= patience.factor(now) <= 2.0
        assert patience.extra_s(now) >= min(3 * late_s, 15.0) or late_s <= 0.15
    assert patience.extra_s(now + 16) == 0.0


def test_uptime_is_the_share_since_first_seen() -> None:
    seen = Observed()
    assert seen.share(0) == 0
    seen.up(10)
    seen.down(15)
    assert seen.share(20) == 0.5
    seen.up(20)
    assert seen.share(30) == 0.75


def candidacy(term: int) -> Candidacy:
    return Candidacy(term, 1, 1, 1, "manual", ())


def ballot(attempt: int, before: Counter[str] | None = None) -> Ballot:
    made = Ballot(9, attempt, before or Counter())
    for name in ("a", "b", "c"):
        made.candidacies[name] = candidacy(9)
    return made


def test_first_attempt_takes_the_best_by_own_reckoning() -> None:
    scores = {"a": Score(uptime=0.1), "b": Score(uptime=0.9), "c": Score(uptime=0.1)}
    assert ballot(1).choose(["a", "b", "c"], scores.__getitem__) == "b"
    assert ballot(1).choose(["a", "c"], scores.__getitem__) == min("ac", key=lambda p: tie_break(9, p))
    assert ballot(1).choose([], scores.__getitem__) is None


def test_second_attempt_takes_the_most_voted_and_third_the_first_heard() -> None:
    assert ballot(2, Counter(c=2, a=1)).choose(["a", "b", "c"], lambda p: Score()) == "c"
    assert ballot(3, Counter(c=2)).choose(["b", "c"], lambda p: Score()) == "b"


def test_a_ballot_is_hopeless_when_nobody_can_get_a_majority() -> None:
    split = ballot(1)
    voters = tuple(PEERS)
    for signer, choice in zip(SIGNERS, ("a", "a", "b"), strict=False):
        split.votes[signer.peer_id] = vote(signer, choice)
    assert not split.hopeless(voters, voters)
    assert split.hopeless(voters, voters[:3])  # the fourth is out of reach
    split.votes[PEERS[3]] = vote(SIGNERS[3], "b")
    assert split.hopeless(voters, voters)


def test_a_claim_lives_on_what_a_majority_acknowledged() -> None:
    lease, voters = Lease("a", 9.0), ("a", "b", "c")
    n = lease.send(100.0)
    lease.count(voters)
    assert lease.until is None
    lease.acknowledge("b", n)
    lease.acknowledge("c", 99)  # never sent
    lease.count(voters)
    assert lease.until == 109.0
    lease.send(105.0)
    lease.acknowledge("b", n)  # late and double: it was sent at 100 all the same
    lease.count(voters)
    assert lease.until == 109.0


def test_a_claim_outlives_one_change_of_voters_and_not_two() -> None:
    lease = Lease("a", 9.0)
    lease.send(100.0)
    lease.count(("a",))
    assert lease.until == 109.0
    lease.change(("a",))
    lease.count(("a", "b"))
    assert lease.until == 109.0
    lease.change(("a", "b"))
    lease.count(("a", "b", "c"))
    assert lease.until is None


def test_a_certificate_is_a_majority_of_true_votes() -> None:
    mine = [vote(s, PEERS[0]) for s in SIGNERS[:2]]
    verifier, three = Ed25519Verifier(), roster(*PEERS[:3])
    assert certificate(*mine).verify(verifier, three)
    assert not certificate(mine[0]).verify(verifier, three)
    assert not certificate(mine[0], mine[0]).verify(verifier, three)
    assert not certificate(mine[0], vote(SIGNERS[1], PEERS[1])).verify(verifier, three)
    assert not certificate(mine[0], vote(SIGNERS[3], PEERS[0])).verify(verifier, three)
    assert not certificate(*mine, term=4).verify(verifier, three)
    assert not certificate(mine[0], msgspec.structs.replace(mine[1], sig=bytes(64))).verify(verifier, three)
    assert not certificate(*mine * 20).verify(verifier, three)
    assert not certificate(*mine).verify(verifier, roster(*PEERS[1:4]))


@settings(deadline=None)
@given(st.data())
def test_every_message_goes_over_the_wire(data: st.DataObject) -> None:
    kind: Any = data.draw(st.sampled_from(get_args(AnyMessage)))
    message = data.draw(st.from_type(kind).filter(_fits))
    frame = decode(encode("c", message))
    assert frame is not None
    assert (frame.cluster, frame.message) == ("c", message)


def _fits(message: Any) -> bool:
    """Whether the wire can carry it: integers of 64 bits, no NaN, which isn't equal to itself."""
    try:
        return bool(msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=type(message)) == message)
    except (OverflowError, UnicodeEncodeError, msgspec.MsgspecError):
        return False


@given(st.binary(max_size=200))
def test_noise_is_no_frame(data: bytes) -> None:
    frame = decode(data)
    assert frame is None or isinstance(frame.message, get_args(AnyMessage))


@pytest.mark.parametrize("part", shapes.SCORE_WEIGHTS)
def test_the_weights_that_faces_show_are_those_that_count(part: str) -> None:
    nothing = dict.fromkeys(shapes.SCORE_WEIGHTS, 0.0)
    assert Score(**nothing | {part: 1.0}).total == pytest.approx(shapes.SCORE_WEIGHTS[part])
