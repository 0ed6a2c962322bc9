"""The roster's frozen types: members, authority, versions. Pure; changes come from committed acts only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType

import msgspec

from agent_core.feeds.model import Head
from agent_core.identity.kind import Kind as Kind
from agent_core.lookalikes import skeleton
from agent_core.text import marked


class Authority(StrEnum):
    """Authority levels, strongest first (SPEC section 4)."""

    MASTER = "master"
    DECISION = "decision"
    COORDINATION = "coordination"
    SUGGESTION = "suggestion"
    READ_ONLY = "read_only"

    def at_least(self, other: Authority) -> bool:
        """Whether this level has all the rights of the other."""
        levels = list(Authority)
        return levels.index(self) <= levels.index(other)


class Policy(StrEnum):
    """How newcomers are admitted."""

    OPEN = "open"
    INVITE = "invite"
    APPROVE = "approve"


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One enrolled identity."""

    peer_id: str
    agent_id: str
    role: str = "agent"
    kind: Kind = Kind.AGENT
    authority: Authority = Authority.COORDINATION
    age_recipient: str = ""
    may_vote: bool = False  #: whether its node may be made a voter (a daemon, or ``election.voter``)
    voter: bool = False
    capabilities: tuple[str, ...] = ()
    trusted: str = ""  #: the loss of memory after which it was last made a voter (SPEC section 2, Epochs)
    benched: bool = False  #: demoted by a person: only a person makes it a voter again
    revoked: tuple[Head, ...] | None = None  #: what of its feed stands after revocation
    evicted: tuple[Head, ...] | None = None  #: what of its feed stands until it is admitted again

    @property
    def active(self) -> bool:
        return self.revoked is None and self.evicted is None

    @property
    def stands(self) -> tuple[Head, ...] | None:
        """What of its feed counts; nothing for all of it."""
        return self.evicted if self.revoked is None else self.revoked


class Roster(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The members as of one act.

    ``version`` is the number of the last committed act that changed it.
    """

    cluster_id: str
    network: str
    version: int
    policy: Policy = Policy.OPEN
    tickets: frozenset[str] = frozenset()  #: nonces of the tickets that were used
    members: Mapping[str, Member] = msgspec.field(default_factory=lambda: MappingProxyType({}))

    @property
    def voters(self) -> tuple[str, ...]:
        """Peer ids of the voters, sorted."""
        return tuple(sorted(p for p, m in self.members.items() if m.voter and m.active))

    @property
    def quorum(self) -> int:
        """How many voters are a majority."""
        return len(self.voters) // 2 + 1

    def get(self, peer_id: str) -> Member | None:
        """The member with this peer id, revoked or not."""
        return self.members.get(peer_id)

    def name(self, peer_id: str) -> str:
        """How a member is called where people read it; see :meth:`label`. Somebody else is the end of its peer id."""
        known = self._names.get(peer_id)
        return known if known is not None else f"…{peer_id[-6:]}" if peer_id else ""

    def label(self, agent_id: str, peer_id: str) -> str:
        """How somebody is called who says that its name is ``agent_id``.

        A name that another member has, or one that the eye can take for it, is told apart by the last six characters of the peer id;
        so is a name that no node admits any more, and what nobody sees in it is marked.
        """
        shown = marked(agent_id, keep="")
        own = self.members.get(peer_id)
        others = self._looks[skeleton(agent_id)] - (own is not None and skeleton(own.agent_id) == skeleton(agent_id))
        # A ~ in a name could stand for another's peer id.
        return f"{shown}~{peer_id[-6:]}" if others or shown != agent_id or "~" in agent_id else shown

    def mentioned(self, name: str) -> str:
        """A mention as people read it: whom it means, told apart from who looks alike."""
        holders = self._holders.get(name, ())
        if len(holders) == 1:
            return self.name(holders[0])
        shown = marked(name, keep="")
        return f"{shown} (nobody's name)" if not holders and "~" not in name and self._looks[skeleton(name)] else shown

    @cached_property
    def _holders(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for peer, member in self.members.items():
            found.setdefault(member.agent_id, []).append(peer)
        return found

    @cached_property
    def _looks(self) -> Counter[str]:
        return Counter(skeleton(m.agent_id) for m in self.members.values())

    @cached_property
    def _names(self) -> Mapping[str, str]:
        return {p: self.label(m.agent_id, p) for p, m in self.members.items()}

    def is_member(self, peer_id: str) -> bool:
        """Whether the identity is enrolled and not revoked."""
        member = self.members.get(peer_id)
        return member is not None and member.active

    def eligible(self, least: Authority) -> tuple[str, ...]:
        """Peer ids of active members with at least this authority, sorted."""
        return tuple(sorted(p for p, m in self.members.items() if m.active and m.authority.at_least(least)))


class VoterUse(StrEnum):
    """Whether a node may be made a voter, by what it runs as now (SPEC section 4)."""

    FULL = "full"  #: a daemon, or ``election.voter``
    SPARE = "spare"  #: a console's node: while the cluster has fewer than three voters
    NEVER = "never"  #: a command's node, or one that is leaving


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster that lost its majority for good, and the last of its acts that can be proven."""

    cluster: str
    last: int
    last_hash: str


#: Entry type by which a member moves into another cluster.
ROSTER_YIELD = "roster.yield"


class YieldData(msgspec.Struct, frozen=True, kw_only=True):
    """The author moves from one cluster into another, after that one's committed admission.

    What it wrote before this entry belongs to ``old`` and isn't shown to the others, unless it says so by a
    :class:`ShareData`; what it writes from here on doesn't count in ``old``.
    """

    old: str  #: cluster id given up
    new: str  #: cluster id moved into
    act: int  #: number of the newest act of ``new`` that was known


#: Entry type by which a member shows the others what it wrote before it moved into their cluster.
ROSTER_SHARE = "roster.share"


class ShareData(msgspec.Struct, frozen=True, kw_only=True):
    """What the author wrote before it moved into a cluster counts there too, from now on."""

    cluster: str  #: the cluster it moved into
