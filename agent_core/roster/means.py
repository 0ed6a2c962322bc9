"""What the parts of the roster's service work with: the rest of the node, as they need it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from agent_core.election.acts import Chain, Proposer
from agent_core.feeds.model import Head
from agent_core.identity.signing import Signer, Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What is asked of others.

    Args:
        signer, verifier: sign this node's requests, check others'.
        chain: the committed acts of the cluster in force.
        proposer: gets acts committed while this node leads.
        leader: the leader's peer id as known here, or empty.
        caught_up: whether a member holds what this node holds.
        heads: the feeds that hold the acts.
        heads_of: what is held here of an author's feed.
        moved_out: members that moved into another cluster, and which.
        hand_over: has another node lead.
        now_ms: Unix time in milliseconds.
    """

    signer: Signer
    verifier: Verifier
    chain: Callable[[], Chain | None]
    proposer: Proposer
    leader: Callable[[], str]
    caught_up: Callable[[str], bool]
    heads: Callable[[], Sequence[Head]]
    heads_of: Callable[[str], Sequence[Head]]
    moved_out: Callable[[], Mapping[str, str]]
    hand_over: Callable[[], Awaitable[None]]
    now_ms: Callable[[], int]
