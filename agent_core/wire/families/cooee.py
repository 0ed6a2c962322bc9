"""COOEE: meeting, enrolling and leaving, on streams; calls for help with dependencies and their plans, by gossip."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from agent_core.wire import topics
from agent_core.wire.payload import (
    Citations,
    Count,
    Family,
    Hash,
    Id,
    Line,
    MessageType,
    Name,
    Names,
    Payload,
    PeerId,
    Text,
    Time,
)

_ME = "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2"
_CLUSTER = "5f" * 32
_SIGNATURE = bytes(range(64))


#: What a member may ask of the leader.
Asked: TypeAlias = Literal["approve", "refuse", "revoke", "evict", "promote", "demote", "policy"]


class FeedHead(Payload, frozen=True):
    """How much of one epoch of a feed somebody holds."""

    author: PeerId
    epoch: Count
    size: Count
    root: Hash = ""


class CooeeTicket(Payload, frozen=True):
    """An invitation by a member that may invite: whoever bears it first is admitted, until it expires. Signed by the inviter."""

    cluster: Hash
    by: PeerId
    nonce: Hash
    expires_ms: Count
    role: Name = ""  #: the role it is for; empty for any
    signature: Annotated[bytes, Meta(max_length=128)] = b""


class CooeeWaiting(Payload, frozen=True):
    """A newcomer that waits for a person's approval, as the leader tells the members."""

    peer_id: PeerId
    agent_id: Name
    role: Name
    kind: Literal["human", "agent"]
    since_ms: Count
    host: Line = ""
    capabilities: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()


class CooeeHello(Payload, frozen=True):
    """Two nodes meet: which network and cluster they are of, and whether that is a cluster of one."""

    network: Name
    agent_id: Name
    cluster: Hash = ""
    lone: bool = False
    moving: bool = False  #: on its way into another cluster, so it admits nobody now
    members: Count = 0
    leader: Name = ""  #: peer id, empty if unknown
    voter_use: Literal["full", "spare", "never"] = "never"
    at_ms: Count = 0  #: the clock this is said by, Unix milliseconds
    doubt: Name = ""  #: mark of a loss of memory: no vote until a promotion names it
    replaces: Hash = ""  #: the cluster whose place this one took, after it lost its majority
    waiting: Annotated[tuple[CooeeWaiting, ...], Meta(max_length=32)] = ()  #: the leader's word, to members only


class CooeeEnrol(Payload, frozen=True):
    """A newcomer asks to be admitted. Signed, because members pass it on to the leader."""

    network: Name
    cluster: Hash
    peer_id: PeerId
    agent_id: Name
    role: Name
    kind: Literal["human", "agent"]
    at_ms: Count
    age_recipient: Name = ""
    voter_use: Literal["full", "spare", "never"] = "never"
    capabilities: Names = ()
    models: Names = ()
    host: Line = ""  #: what kind of machine it runs on, for whoever approves
    ticket: CooeeTicket | None = None
    hops: Annotated[int, Meta(ge=0, le=8)] = 0
    signature: Annotated[bytes, Meta(max_length=64)] = b""


class CooeeAsk(Payload, frozen=True):
    """A member asks the leader for a change of the roster. Signed: the act that comes of it shows everybody who asked."""

    cluster: Hash
    by: PeerId
    at_ms: Count
    verb: Asked
    target: Name  #: a peer id; for ``policy`` its name
    reason: Line = ""
    hops: Annotated[int, Meta(ge=0, le=8)] = 0
    signature: Annotated[bytes, Meta(max_length=64)] = b""


class CooeeLeave(Payload, frozen=True):
    """A console's node that votes takes leave before it ends. Signed, because members pass it on to the leader."""

    cluster: Hash
    peer_id: PeerId
    at_ms: Count
    hops: Annotated[int, Meta(ge=0, le=8)] = 0
    signature: Annotated[bytes, Meta(max_length=64)] = b""


class CooeeReply(Payload, frozen=True):
    """What became of it. ``heads`` are the feeds that hold the genesis and the acts, so that the newcomer can begin."""

    status: Literal["admitted", "done", "pending", "waiting", "refused", "redirect"]
    cluster: Hash = ""
    act: Count = 0
    message: Line = ""
    next: Line = ""
    leader: Name = ""
    heads: Annotated[tuple[FeedHead, ...], Meta(max_length=512)] = ()


class CooeeTask(Payload, frozen=True):
    """One end of a dependency."""

    repo: Line
    id: Id
    agent_id: Name = ""


class CooeeDependency(Payload, frozen=True):
    """Two tasks and how they hang together."""

    task1: CooeeTask
    task2: CooeeTask
    relationship: Literal["blocks", "duplicates", "relates-to", "requires"]
    reason: Line = ""


class CooeeRequest(Payload, frozen=True):
    """A call to plan a dependency together."""

    dependency: CooeeDependency
    objective: Text
    constraints: tuple[Line, ...] = ()
    deadline: Time = ""
    citations: Citations = ()


class CooeeRole(Payload, frozen=True):
    """What a participant of a plan does."""

    role: Name


class CooeeStep(Payload, frozen=True):
    """One step of a plan."""

    id: Id
    owner: Name
    desc: Line
    deps: tuple[Id, ...] = ()
    done: bool = False


class CooeeRisk(Payload, frozen=True):
    """What may go wrong, and what then."""

    id: Id
    desc: Line
    mitigation: Line = ""


class CooeePlan(Payload, frozen=True):
    """A plan that was agreed on."""

    session_id: Id
    participants: Annotated[dict[Name, CooeeRole], Meta(max_length=64)]
    steps: Annotated[tuple[CooeeStep, ...], Meta(max_length=256)]
    risks: Annotated[tuple[CooeeRisk, ...], Meta(max_length=64)] = ()
    success_criteria: tuple[Line, ...] = ()
    citations: Citations = ()


FAMILY = Family(
    "cooee",
    topics.COORDINATION,
    (
        MessageType(
            "cooee.hello",
            CooeeHello(network="chorus", agent_id="agent-b", cluster=_CLUSTER, members=3, voter_use="full"),
            "{agent_id} is of cluster {cluster:.8}, {members:member|members}",
        ),
        MessageType(
            "cooee.enrol",
            CooeeEnrol(
                network="chorus",
                cluster=_CLUSTER,
                peer_id=_ME,
                agent_id="agent-d",
                role="agent",
                kind="agent",
                at_ms=1_767_225_600_000,
                voter_use="full",
                capabilities=("python",),
                signature=_SIGNATURE,
            ),
            "{agent_id} asks to enrol in {cluster:.8}",
        ),
        MessageType(
            "cooee.ask",
            CooeeAsk(
                cluster=_CLUSTER,
                by=_ME,
                at_ms=1_767_225_600_000,
                verb="revoke",
                target=_ME,
                reason="its key was copied",
                signature=_SIGNATURE,
            ),
            "{by} asks: {verb} {target} {reason}",
        ),
        MessageType(
            "cooee.leave",
            CooeeLeave(cluster=_CLUSTER, peer_id=_ME, at_ms=1_767_225_600_000, signature=_SIGNATURE),
            "{peer_id} takes leave",
        ),
        MessageType(
            "cooee.reply",
            CooeeReply(
                status="admitted",
                cluster=_CLUSTER,
                act=4,
                heads=(FeedHead(author=_ME, epoch=0, size=9, root="ab" * 32),),
            ),
            "{status} {message}",
        ),
        MessageType(
            "cooee.request",
            CooeeRequest(
                dependency=CooeeDependency(
                    task1=CooeeTask(repo="ucxl", id="parser-17", agent_id="agent-b"),
                    task2=CooeeTask(repo="console", id="browser-4"),
                    relationship="blocks",
                    reason="The browser reads what the parser gives.",
                ),
                objective="Agree on the address type.",
            ),
            "calls for a plan: {objective}",
        ),
        MessageType(
            "cooee.plan",
            CooeePlan(
                session_id="dep_ucxl_parser-17",
                participants={"agent-b": CooeeRole(role="owner")},
                steps=(CooeeStep(id="1", owner="agent-b", desc="Publish the address type"),),
                risks=(CooeeRisk(id="r1", desc="The type changes later", mitigation="Version it"),),
                success_criteria=("Both builds pass",),
            ),
            "plan of session {session_id}",
        ),
    ),
)
