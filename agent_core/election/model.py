"""The election's frozen types: timings, states, triggers, scores, and what a voter keeps on disk (SPEC section 5)."""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec

from agent_core.election.acts import ActData, CommitData
from agent_core.errors import ConfigError


class State(StrEnum):
    """What a node is doing in the election."""

    IDLE = "idle"  #: belongs to no cluster
    DISCOVERING = "discovering"  #: has heard no leader since its start
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    VOTING = "voting"
    LEADER = "leader"
    STEPPING_DOWN = "stepping_down"
    NO_QUORUM = "no_quorum"  #: reaches no majority of the voters


class Trigger(StrEnum):
    """Why an election was started."""

    HEARTBEAT_TIMEOUT = "heartbeat_timeout"  #: also on evidence of the leader's death
    DISCOVERY_FAILED = "discovery_failed"
    SPLIT_BRAIN = "split_brain"
    QUORUM_LOST = "quorum_lost"
    MANUAL = "manual"


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Every time of the election, in seconds; what isn't a field is derived from the timeout.

    Raises:
        ConfigError: the timeout is less than twice the heartbeat, or one is below its least value.
    """

    heartbeat_s: float = 5.0
    timeout_s: float = 15.0
    discovery_s: float = 10.0
    stability_s: float = 60.0

    def __post_init__(self) -> None:
        if not (self.heartbeat_s >= 0.1 and self.timeout_s >= 0.5 and self.discovery_s >= 0 and self.stability_s >= 0):
            raise ConfigError(
                "An election timing is too short.", "Use a heartbeat of at least 0.1 s and a timeout of at least 0.5 s."
            )
        if self.timeout_s < 2 * self.heartbeat_s:
            raise ConfigError(
                f"The election timeout ({self.timeout_s} s) is less than twice the heartbeat ({self.heartbeat_s} s).",
                "Raise election.timeout_s or lower election.heartbeat_s.",
            )

    @property
    def lease_s(self) -> float:
        """How long after sending a heartbeat its majority of acknowledgements carries the claim.

        0.9 of the voters' promise: clock rates may differ by 5 % and the claim still ends first.
        """
        return 0.9 * self.timeout_s

    @property
    def start_delay_s(self) -> float:
        """Greatest random delay before a candidacy after a timeout."""
        return 0.025 * self.timeout_s

    @property
    def death_delay_s(self) -> float:
        """Greatest random delay before a candidacy after evidence of death."""
        return 0.1

    @property
    def window_s(self) -> float:
        """How long candidacies are collected before a first vote."""
        return min(max(0.01 * self.timeout_s, 0.02), 0.15)

    @property
    def round_s(self) -> float:
        """How long a term may take to find its leader before the next one is tried."""
        return self.window_s + min(max(0.1 * self.timeout_s, 0.15), 1.0)

    @property
    def handover_s(self) -> float:
        """How long the named successor goes unrivalled: about three round trips on a slow network."""
        return min(max(0.02 * self.timeout_s, 0.1), 0.5)


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How fit a node is to lead, as another reckons it: five parts, each in [0,1]."""

    capabilities: float = 0.5
    uptime: float = 0.5
    resources: float = 0.5
    network: float = 0.5
    experience: float = 0.0

    @property
    def total(self) -> float:
        """The weighted sum (0.30, 0.20, 0.20, 0.15, 0.15)."""
        return (
            0.30 * self.capabilities
            + 0.20 * self.uptime
            + 0.20 * self.resources
            + 0.15 * self.network
            + 0.15 * self.experience
        )

    def beats(self, other: Score, steps: int = 1) -> bool:
        """Whether the sum is greater by so many steps of 0.05: smaller differences are noise and settle nothing."""
        return self.total - other.total >= 0.05 * steps - 1e-9


def tie_break(term: int, peer_id: str) -> bytes:
    """What settles equal scores: the lower digest wins. It changes with the term, so nobody is favoured for ever."""
    return hashlib.sha256(f"{term},{peer_id}".encode()).digest()


class DurableState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is on disk before a message that depends on it goes out.

    ``acts`` and ``proofs`` are those this node holds by the election stream but not yet as entries of a feed; ``tip`` is the
    hash of the last act of its log, so the log is found again by walking back from it.
    """

    term: int = 0
    voted_for: str = ""  #: in ``term``
    tip: str = ""
    acts: tuple[bytes, ...] = ()
    proofs: tuple[CommitData, ...] = ()


# --- what the machine asks of its driver ------------------------------------------------------------------------------


class Persist(msgspec.Struct, frozen=True):
    """Write the state; call ``persisted(token)`` once it is on disk. Writes keep their order."""

    state: DurableState
    token: int


class Probe(msgspec.Struct, frozen=True):
    """Dial the peer afresh and give the result to ``probe_result``."""

    peer_id: str


class AppendAct(msgspec.Struct, frozen=True):
    """Append an ``act`` entry to the own feed, then call ``act_appended(token, raw)`` (or ``act_failed(token)``)."""

    data: ActData
    token: int


class AppendCommit(msgspec.Struct, frozen=True):
    """Append an ``act.commit`` entry to the own feed."""

    data: CommitData


class StateChanged(msgspec.Struct, frozen=True):
    """State, term or leader changed."""

    state: State
    term: int
    leader: str


class Proposed(msgspec.Struct, frozen=True):
    """A proposal has its place in the chain; it counts once :class:`Committed` reaches its number with its hash."""

    token: int
    number: int
    hash: str


class Dropped(msgspec.Struct, frozen=True):
    """A proposal's leader lost its claim; the act may still commit by a later one, or be void.

    With a ``refusal`` it was never written: that says why it may not be.
    """

    token: int
    refusal: str = ""


class Committed(msgspec.Struct, frozen=True):
    """The committed chain reaches to this number."""

    number: int
