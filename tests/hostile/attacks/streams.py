"""Attacks on the project's own stream protocols: hello, ping, peers, feeds, election, cooee."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable

import trio
from nacl.signing import SigningKey

from agent_core.clock import wall_ms
from agent_core.election import messages as election
from agent_core.feeds import protocol as feeds
from agent_core.feeds.forks import MAX_FORKED_EPOCHS
from agent_core.feeds.heads import Item
from agent_core.feeds.model import Head
from agent_core.identity.signing import Ed25519Signer
from agent_core.roster.admission import decode, encode, signed_enrol
from agent_core.roster.meeting import PROTOCOL as COOEE
from agent_core.wire.families.cooee import CooeeEnrol, CooeeReply
from tests.hostile.catalogue import STORM_S, End, Outcome, attack
from tests.hostile.peer import DATA, FIN, Foul, Refused, Target, foul, frame, framed
from tests.support.feeds import own_fork

HELLO, PEERS, ECHO = "/chorus/hello/1.0.0", "/chorus/peers/1.0.0", "/chorus/ping/1.0.0"


async def _frames(
    to: Target, out: Outcome, protocol: str, frames: Iterable[bytes] | Callable[[Foul], Iterable[bytes]], *,
    hello: bool = True, hung_up_s: float = 0.3, alive: End = End.IGNORED, each_s: float = 0.0,
) -> None:  # fmt: skip
    """Frames on one stream, a new one whenever the victim ends it; ``each_s`` waits so long for that."""
    async with foul(to, hello=hello) as peer:
        with out.storm(), trio.move_on_after(STORM_S):
            stream = await peer.open(protocol)
            for one in frames(peer) if callable(frames) else frames:
                if stream.over:
                    stream = await peer.open(protocol)
                try:
                    await stream.send(one)
                except Refused:
                    if peer.gone.is_set():
                        raise
                out.sent_out()
                await stream.ended(each_s)
        await out.settle(peer, hung_up_s, alive)


# -- hello -------------------------------------------------------------------------------------------------------------


@attack("never says hello", "hello", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """Shakes hands and then says nothing."""
    async with foul(to, hello=False) as peer:
        began = trio.current_time()
        out.sent_out()
        out.end = End.DISCONNECTED if await peer.hung_up(8) else "held"
        out.after_s = trio.current_time() - began


@attack("another network", "hello", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Is of another network."""
    async with foul(to, hello=False) as peer:
        with out.storm():
            await peer.hello("another")
        out.sent_out()
        await out.settle(peer, 2)


@attack("a hello of 100 MB", "hello", End.RESET, End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """Announces a hello of 100 MB."""
    await _frames(to, out, HELLO, [(100 << 20).to_bytes(4, "big") + b"x" * 100_000], hello=False, hung_up_s=6)


@attack("a hello that is none", "hello", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """Says what can't be read."""
    await _frames(to, out, HELLO, [framed(b'{"v":"one","network":7}')], hello=False, hung_up_s=6)


@attack("half a hello", "hello", End.DISCONNECTED, within_s=7)
async def _(to: Target, out: Outcome) -> None:
    """Begins a hello and stops."""
    await _frames(to, out, HELLO, [(500).to_bytes(4, "big") + b'{"v":1'], hello=False, hung_up_s=6)


@attack("hello after hello", "hello", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Two hundred hellos with other addresses and peers each."""

    def hellos(peer: Foul) -> Iterable[bytes]:
        for n in range(200):
            lies = [f"/ip4/10.0.{n}.{m}/tcp/9/p2p/{to.member}" for m in range(60)]
            yield framed(json.dumps({"v": 1, "network": to.network, "addresses": lies, "peers": lies}).encode())

    await _frames(to, out, HELLO, hellos)


@attack("lies about itself", "hello", End.IGNORED)
async def _(to: Target, out: Outcome) -> None:
    """Claims to be an honest member, listening elsewhere, and to know a thousand peers."""
    async with foul(to, hello=False) as peer:
        lies = [f"/ip4/192.0.2.1/tcp/{n}/p2p/{to.member}" for n in range(1, 90)]
        stream = await peer.open(HELLO)
        body = {"v": 1, "network": to.network, "addresses": lies, "peers": lies}
        await stream.send(framed(json.dumps(body).encode()))
        await stream.frame()
        out.sent_out()
        await out.settle(peer, 0.2)


@attack("all before hello", "hello", End.IGNORED, End.DISCONNECTED, within_s=12)
async def _(to: Target, out: Outcome) -> None:
    """Fifty streams for protocols that only peers get, without a hello."""
    async with foul(to, hello=False) as peer:
        with out.storm():
            for protocol in (feeds.PROTOCOL, election.PROTOCOL, COOEE, "/chorus/kad/1.0.0", "/meshsub/1.1.0") * 10:
                stream = await peer.open(protocol)
                await stream.send(framed(b"anything"))
                out.sent_out()
        assert not any(s.buffer for s in peer.streams.values()), "it was answered"
        await out.settle(peer, 8)


# -- ping, peers -------------------------------------------------------------------------------------------------------


@attack("echoes without end", "feeds", End.IGNORED, End.DISCONNECTED, cpu_s=3.4)
async def _(to: Target, out: Outcome) -> None:
    """Fifty thousand echoes as fast as they go; those beyond a ration wait."""
    await _frames(to, out, ECHO, [framed(b"x" * 8) * 500] * 100)


@attack("asks for peers without end", "feeds", End.IGNORED, End.DISCONNECTED, cpu_s=2.0)
async def _(to: Target, out: Outcome) -> None:
    """Two hundred streams that ask for a list of peers and don't read it."""
    async with foul(to) as peer:
        with out.storm(), trio.move_on_after(STORM_S):
            for _ in range(200):
                await peer.open(PEERS)
                out.sent_out()
        await out.settle(peer, 0.2)


# -- feeds -------------------------------------------------------------------------------------------------------------


@attack("questions of garbage", "feeds", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Frames that are no question."""
    await _frames(to, out, feeds.PROTOCOL, [framed(os.urandom(200))] * 30, each_s=0.3)


@attack("answers nobody asked", "feeds", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Answers where questions go."""
    await _frames(to, out, feeds.PROTOCOL, [framed(feeds.encode(feeds.Range()))] * 30, each_s=0.3)


@attack("a question of 1 GiB", "feeds", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Announces a frame of 1 GiB, on thirty streams."""
    await _frames(to, out, feeds.PROTOCOL, [(1 << 30).to_bytes(4, "big") + b"x" * 1000] * 30)


@attack("nested questions", "feeds", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """MessagePack of a hundred thousand arrays within one another."""
    body = b"\x82\xa1t\xa4have\xa5heads" + b"\x91" * 100_000
    await _frames(to, out, feeds.PROTOCOL, [framed(body)] * 30, each_s=0.3)


@attack("ranges without end", "feeds", End.IGNORED, End.DISCONNECTED, cpu_s=3.4, grows_mib=12)
async def _(to: Target, out: Outcome) -> None:
    """Asks five thousand times for all of an honest member's feed and reads it slowly."""
    want = framed(feeds.encode(feeds.Want(author=to.member, epoch=0, start=0)))
    await _frames(to, out, feeds.PROTOCOL, [want * 50] * 100)


@attack("vectors of all feeds without end", "feeds", End.IGNORED, End.DISCONNECTED, cpu_s=3.0)
async def _(to: Target, out: Outcome) -> None:
    """Asks five thousand times for the list of all feeds, pages that aren't too."""
    have = [framed(feeds.encode(feeds.Have(page=n % 3 * 1000))) * 50 for n in range(100)]
    await _frames(to, out, feeds.PROTOCOL, have)


@attack("fork proofs that aren't", "feeds", End.IGNORED, End.DISCONNECTED, cpu_s=2.5)
async def _(to: Target, out: Outcome) -> None:
    """Claims 512 fork proofs in each of a hundred vectors, and gives none."""

    def vectors(peer: Foul) -> Iterable[bytes]:
        for _ in range(100):
            yield framed(feeds.encode(feeds.Have(page=0, forks=tuple(os.urandom(32).hex() for _ in range(512)))))

    await _frames(to, out, feeds.PROTOCOL, vectors)


@attack("a member's forks without end", "feeds", End.IGNORED, End.DISCONNECTED, cpu_s=4.0)
async def _(to: Target, out: Outcome) -> None:
    """Enrols, and proves of itself that it forked 512 epochs, the last ones first; 32 of the proofs are kept."""
    key = SigningKey.generate()
    signer = Ed25519Signer(bytes(key))
    proofs = [own_fork(signer, epoch, 0) for epoch in reversed(range(feeds.MAX_FORKS))]
    halves = [feeds.Forks(proofs=tuple(proofs[at : at + 256])) for at in (0, 256)]
    have = feeds.Have(forks=tuple(proof.id for proof in proofs), page=0, pages=1)
    async with foul(to, key=key) as peer:
        stream = await peer.open(COOEE)
        enrol = CooeeEnrol(
            network=to.network, cluster=to.cluster, peer_id=signer.peer_id, agent_id="foul", role="agent", kind="agent",
            at_ms=wall_ms(),
        )  # fmt: skip
        await stream.send(framed(encode(signed_enrol(enrol, signer))))
        reply = decode(await stream.frame())
        assert isinstance(reply, CooeeReply), reply
        assert reply.status == "admitted", reply
    first = {proof.id for proof in proofs[-MAX_FORKED_EPOCHS:]}
    kept: set[str] = set()
    async with foul(to, hello=False, key=key) as peer:
        peer.answers_inbound[feeds.PROTOCOL] = b"".join(framed(feeds.encode(one)) for one in (have, *halves))
        await peer.hello()
        with trio.move_on_after(4):
            stream = await peer.open(feeds.PROTOCOL)
            while kept != first:
                await stream.send(framed(feeds.encode(feeds.Have(page=0))))
                answer = feeds.decode(await stream.frame())
                assert isinstance(answer, feeds.Have)
                kept = set(answer.forks)
                await trio.sleep(0.05)
        out.sent_out(len(kept))
        assert kept == first, len(kept)
        await out.settle(peer, 0.3)


async def _answers(to: Target, out: Outcome, *answers: feeds.Frame) -> None:
    """Lets the victim ask, and lies."""
    async with foul(to, hello=False) as peer:
        peer.answers_inbound[feeds.PROTOCOL] = b"".join(framed(feeds.encode(one)) for one in answers)
        await peer.hello()
        with trio.move_on_after(5):
            while not any(s.buffer for s in peer.inbound):  # noqa: ASYNC110 - a foul peer has no events for it
                await trio.sleep(0.02)
        out.sent_out(sum(bool(s.buffer) for s in peer.inbound))
        await out.settle(peer, 0.5)


@attack("lying vectors", "feeds", End.IGNORED, End.DISCONNECTED, grows_mib=10)
async def _(to: Target, out: Outcome) -> None:
    """Answers that it holds 2^39 entries of a member's feed, in a thousand epochs, and a million pages more."""
    heads = tuple(Head(author=to.member, epoch=n, size=1 << 39, root="ab" * 32) for n in range(1000))
    await _answers(to, out, *[feeds.Have(heads=heads, page=n, pages=(1 << 20) - 1) for n in range(4)])


@attack("ranges of garbage", "feeds", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Has more of a member's feed, and what it has is made up, with a checkpoint nobody signed."""
    heads = (Head(author=to.member, epoch=0, size=1 << 20, root="ab" * 32),)
    items = tuple(Item(os.urandom(400)) for _ in range(500))
    have = feeds.Have(heads=heads, page=0, pages=1)
    await _answers(to, out, have, feeds.Range(items=items, checkpoint="lies\n1\nAAAA\n\n— lies AAAA\n"))


# -- election ----------------------------------------------------------------------------------------------------------


def _said(to: Target, *said: election.AnyMessage) -> list[bytes]:
    return [framed(election.encode(to.cluster, one)) for one in said]


@attack("heartbeats of nobody", "election", End.IGNORED, End.DISCONNECTED, cpu_s=3.4)
async def _(to: Target, out: Outcome) -> None:
    """Fifty thousand heartbeats of a leader that isn't one, of the last term there is."""
    beats = _said(to, *[election.Heartbeat(2**63 - 1 - n % 5, n, 2**40) for n in range(500)])
    await _frames(to, out, election.PROTOCOL, [b"".join(beats)] * 100)


@attack("forged certificates", "election", End.IGNORED, End.DISCONNECTED, cpu_s=2.5)
async def _(to: Target, out: Outcome) -> None:
    """Announces a leader by votes nobody signed, with as many votes as fit."""

    def forged(peer: Foul) -> Iterable[bytes]:
        for n in range(100):
            term = 2**62 + n
            votes = tuple(
                election.Vote(voter, term, peer.peer_id, 1, "00" * 32, bytes(64))
                for voter in (to.peer_id, to.member) * 200
            )
            certificate = election.Certificate(
                cluster=to.cluster, term=term, leader=peer.peer_id, roster=0, votes=votes
            )
            yield from _said(to, election.Announce(certificate, "manual"))

    await _frames(to, out, election.PROTOCOL, forged)


@attack("forged votes", "election", End.IGNORED, End.DISCONNECTED, cpu_s=2.5)
async def _(to: Target, out: Outcome) -> None:
    """Votes and candidacies in a member's name, of huge terms."""

    def forged(peer: Foul) -> Iterable[bytes]:
        for n in range(300):
            term = 2**63 + n
            before = election.PreVote(to.member, term, peer.peer_id, term - 1, True, 0.0, bytes(64))
            yield from _said(
                to,
                election.Vote(to.member, term, peer.peer_id, 1, "00" * 32, bytes(64)),
                election.Candidacy(term, term, 2**40, 0, "manual", (before,) * 16),
            )

    await _frames(to, out, election.PROTOCOL, forged)


@attack("the leader is dead", "election", End.IGNORED, End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Reports, in members' names and its own, that the leader has died."""

    def reports(peer: Foul) -> Iterable[bytes]:
        for term in range(1, 100):
            lies = tuple(
                election.DeathReport(who, term, leader, bytes(64))
                for who in (to.member, to.peer_id, peer.peer_id)
                for leader in (to.member, to.peer_id)
            )
            yield from _said(to, *lies, election.PreVoteAsk(term + 1, term, 2**40, lies * 10))

    await _frames(to, out, election.PROTOCOL, reports)


@attack("acts of nobody", "election", End.IGNORED, End.DISCONNECTED, cpu_s=2.5)
async def _(to: Target, out: Outcome) -> None:
    """Acts to append that no leader made, in frames as large as there are."""
    acts = tuple(os.urandom(400) for _ in range(1000))
    append = election.Append(2**40, 0, "00" * 32, acts, ())
    await _frames(to, out, election.PROTOCOL, _said(to, append) * 40)


@attack("asks for all acts again and again", "election", End.IGNORED, End.DISCONNECTED, cpu_s=3.4)
async def _(to: Target, out: Outcome) -> None:
    """Five thousand times."""
    await _frames(to, out, election.PROTOCOL, [b"".join(_said(to, election.CatchUp(0)) * 50)] * 100)


@attack("election frames of garbage", "election", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """What can't be read, two hundred times."""
    await _frames(to, out, election.PROTOCOL, [framed(os.urandom(100))] * 200, hung_up_s=2)


# -- cooee -------------------------------------------------------------------------------------------------------------


async def _cooee(to: Target, out: Outcome, frames: Iterable[bytes], hung_up_s: float = 0.3) -> None:
    """One frame a stream, as that protocol has it."""
    async with foul(to) as peer:
        with out.storm(), trio.move_on_after(STORM_S):
            for one in frames:
                stream = await peer.open(COOEE)
                await stream.send(framed(one))
                out.sent_out()
                await stream.ended(0.5)
                await peer.raw(frame(DATA, FIN, stream.number, 0))
        await out.settle(peer, hung_up_s)


def _enrol(to: Target, n: int, **replaced: object) -> bytes:
    data = {
        "network": to.network, "cluster": to.cluster, "peer_id": to.member, "agent_id": f"foul-{n}", "role": "admin",
        "kind": "human", "at_ms": n, "signature": "AAAA",
    }  # fmt: skip
    return json.dumps({"type": "cooee.enrol", "data": data | replaced}).encode()


@attack("enrolments nobody signed", "cooee", End.IGNORED, End.DISCONNECTED, cpu_s=2.5)
async def _(to: Target, out: Outcome) -> None:
    """A hundred enrolments in a member's name."""
    await _cooee(to, out, (_enrol(to, n) for n in range(100)))


@attack("giant enrolments", "cooee", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """Enrolments with capabilities of 400 KB."""
    await _cooee(to, out, (_enrol(to, n, capabilities=["x" * 400_000]) for n in range(15)), 2)


@attack("greetings of garbage", "cooee", End.DISCONNECTED)
async def _(to: Target, out: Outcome) -> None:
    """What can't be read, thirty times."""
    await _cooee(to, out, [b'{"type":"cooee.hello","data":' + b"[" * 5000] * 30, 2)


@attack("another cluster every time", "cooee", End.IGNORED, End.DISCONNECTED, cpu_s=2.5)
async def _(to: Target, out: Outcome) -> None:
    """Two hundred greetings, each of another cluster with a million members."""
    greet = {"network": to.network, "agent_id": "foul", "members": 10**6, "voter_use": "full"}
    hellos = (
        json.dumps({"type": "cooee.hello", "data": greet | {"cluster": os.urandom(32).hex()}}).encode()
        for _ in range(200)
    )
    await _cooee(to, out, hellos)
