"""Stand-ins for the search: signatures that cost nothing and are counted, and the founded cluster every seed starts from."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from agent_core import clock
from agent_core.election.acts import ACT, ACT_COMMIT, Ack, ActData, ActKind, CommitData, ack_message
from agent_core.feeds.model import Draft, Entry, new_header
from agent_core.roster.fold import GenesisPayload, MemberPayload, VoterPayload
from agent_core.roster.model import Authority, Member, Policy
from agent_core.roster.warrants import Verb, Warrant

#: Unix milliseconds at virtual time zero.
EPOCH_MS = 1_700_000_000_000


class Counted:
    """How many signatures were made and checked."""

    def __init__(self) -> None:
        self.signed = 0
        self.verified = 0


class FakeSigner:
    """Signs by putting the name before the message; nobody in the search forges."""

    def __init__(self, peer_id: str, counted: Counted) -> None:
        self._prefix = peer_id.encode() + b"|"
        self._peer_id = peer_id
        self._counted = counted

    @property
    def peer_id(self) -> str:
        return self._peer_id

    def sign(self, message: bytes) -> bytes:
        self._counted.signed += 1
        return self._prefix + message


class FakeVerifier:
    """Checks what :class:`FakeSigner` signs."""

    def __init__(self, counted: Counted) -> None:
        self._counted = counted

    def verify(self, peer_id: str, message: bytes, signature: bytes) -> bool:
        self._counted.verified += 1
        return signature == peer_id.encode() + b"|" + message


def warrant(by: str, cluster: str, at_ms: int, verb: Verb, target: str) -> Warrant:
    """Somebody's word that something is to be done."""
    asked = Warrant(by=by, at_ms=at_ms, verb=verb, target=target)
    return msgspec.structs.replace(asked, signature=FakeSigner(by, Counted()).sign(asked.message(cluster)))


def make_entry(author: str, seq: int, at_ms: int, draft: Draft, epoch: int = 0) -> Entry:
    """The author's next entry."""
    entry, _ = new_header(draft, author=author, epoch=epoch, seq=seq, hlc=clock.pack(at_ms), salt=b"\0" * 16)
    return entry


def names(count: int) -> tuple[str, ...]:
    """Peer ids of a cluster."""
    return tuple(f"p{i}" for i in range(count))


@lru_cache(maxsize=8)
def founded(count: int) -> tuple[str, tuple[Entry, ...]]:
    """A cluster of so many voters: its id, and the founder's feed that made it so, in term 1."""
    peers, feed = names(count), list[Entry]()
    counted = Counted()
    signers = {p: FakeSigner(p, counted) for p in peers}
    founder = peers[0]

    def put(type: str, data: msgspec.Struct) -> Entry:
        entry = make_entry(founder, len(feed), EPOCH_MS - 10_000 + len(feed), Draft(type, data))
        feed.append(entry)
        return entry

    def raw(payload: msgspec.Struct) -> msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(payload))

    first = GenesisPayload(
        random="00" * 32,
        network="search",
        policy=Policy.OPEN,
        founder=Member(peer_id=founder, agent_id=founder, may_vote=True, authority=Authority.MASTER),
    )
    genesis = ActData(cluster="", term=0, number=0, kind=ActKind.GENESIS, payload=raw(first))
    prev = cluster = put(ACT, genesis).hash.hex()
    number, voters = 0, [founder]

    def act(kind: ActKind, payload: msgspec.Struct) -> None:
        nonlocal number, prev
        number += 1
        data = ActData(cluster=cluster, term=1, number=number, prev=prev, kind=kind, payload=raw(payload))
        prev = put(ACT, data).hash.hex()
        message = ack_message(cluster, 1, number, prev)
        acks = tuple(Ack(v, signers[v].sign(message)) for v in voters)
        put(ACT_COMMIT, CommitData(cluster=cluster, term=1, number=number, hash=prev, acks=acks))

    for peer in peers[1:]:
        act(ActKind.MEMBER_ADD, MemberPayload(member=Member(peer_id=peer, agent_id=peer, may_vote=True)))
        act(ActKind.VOTER_ADD, VoterPayload(peer_id=peer))
        voters.append(peer)
    return cluster, tuple(feed)
