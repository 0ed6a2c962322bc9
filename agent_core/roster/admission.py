"""Admission: what an enrolment must hold, who signed it, and what record comes of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from agent_core.clock import MAX_AHEAD_MS
from agent_core.errors import VerificationFailed
from agent_core.identity.signing import Signer, Verifier
from agent_core.roster.model import Kind, Member, Policy, Roster, VoterUse
from agent_core.roster.roles import Role, authority_of
from agent_core.wire import catalogue
from agent_core.wire.families.cooee import CooeeEnrol, CooeeHello, CooeeLeave, CooeeReply

#: Members a cluster has at most under the policy ``open``: identities cost nothing, rosters do.
MAX_MEMBERS = 256
MAX_FRAME = 64 * 1024

_AGENT_ID = re.compile(r"[\w.@+~:-]{1,64}\Z")
_ROLE = re.compile(r"[\w.-]{1,64}\Z")

Message: TypeAlias = CooeeHello | CooeeEnrol | CooeeLeave | CooeeReply


class _Frame(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw


def encode(message: Message) -> bytes:
    """A message as a frame of ``/chorus/cooee/1.0.0``: ``{"type", "data"}``."""
    return msgspec.json.encode(_Frame(catalogue.type_of(message), msgspec.Raw(msgspec.json.encode(message))))


def decode(frame: bytes) -> Message:
    """A frame as a message.

    Raises:
        VerificationFailed: it isn't one.
    """
    if len(frame) > MAX_FRAME:
        raise VerificationFailed(f"A frame has {len(frame)} bytes; the limit is {MAX_FRAME}.")
    try:
        envelope = msgspec.json.decode(frame, type=_Frame)
        kind = catalogue.TYPES.get(envelope.type)
        message = msgspec.json.decode(envelope.data, type=kind.schema) if kind else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise VerificationFailed("A frame isn't a message of COOEE.") from exc
    if not isinstance(message, CooeeHello | CooeeEnrol | CooeeLeave | CooeeReply):
        raise VerificationFailed("A frame isn't a message of COOEE.")
    return message


def signed_enrol(enrol: CooeeEnrol, signer: Signer) -> CooeeEnrol:
    """The enrolment with its applicant's signature."""
    return msgspec.structs.replace(enrol, signature=signer.sign(_enrol_message(enrol)))


def signed_leave(leave: CooeeLeave, signer: Signer) -> CooeeLeave:
    """The leave with its sender's signature."""
    return msgspec.structs.replace(leave, signature=signer.sign(_leave_message(leave)))


def is_signed(message: CooeeEnrol | CooeeLeave, verifier: Verifier) -> bool:
    """Whether the identity named in a message signed it."""
    text = _enrol_message(message) if isinstance(message, CooeeEnrol) else _leave_message(message)
    return verifier.verify(message.peer_id, text, message.signature)


def is_fresh(at_ms: int, now_ms: int) -> bool:
    """Whether a signed message is of now, so that an old one can't be brought up again."""
    return abs(at_ms - now_ms) <= MAX_AHEAD_MS


def _enrol_message(e: CooeeEnrol) -> bytes:
    fields = (e.network, e.cluster, e.peer_id, e.agent_id, e.role, e.kind, e.at_ms, e.age_recipient, e.voter_use)
    return b"chorus-hap enrol v1\n" + msgspec.json.encode((*fields, e.capabilities, e.models))


def _leave_message(leave: CooeeLeave) -> bytes:
    return b"chorus-hap leave v1\n" + msgspec.json.encode((leave.cluster, leave.peer_id, leave.at_ms))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an enrolment is refused, and what to do."""

    message: str
    next: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """The rules newcomers are measured by.

    Args:
        roles: the roles of this node.
        beyond_loopback: it listens for others than this machine.
        force_open: ``cluster.force_open``: keep ``open`` even so.
    """

    roles: Mapping[str, Role]
    beyond_loopback: bool = False
    force_open: bool = False

    def record(self, enrol: CooeeEnrol, roster: Roster, now_ms: int) -> Member | Refusal:
        """The member an applicant becomes, or stays; the same record as in the roster when there is nothing to change."""
        for pattern, text, what in ((_AGENT_ID, enrol.agent_id, "agent id"), (_ROLE, enrol.role, "role")):
            if not pattern.match(text):
                return Refusal(f"The {what} can't be used.", "Letters, digits and . _ - only, at most 64.")
        before = roster.get(enrol.peer_id)
        if before is not None:
            return self._again(enrol, before, now_ms)
        if roster.policy is not Policy.OPEN:
            return Refusal(f"This cluster admits by {roster.policy}, which is not in this version.", "Ask its admin.")
        if self.beyond_loopback and not self.force_open:
            return Refusal(
                "This cluster's leader listens beyond its own machine and doesn't admit just anybody there.",
                "Its operator can set cluster.force_open = true, or listen on 127.0.0.1.",
            )
        if len(roster.members) >= MAX_MEMBERS:
            return Refusal(f"This cluster has {MAX_MEMBERS} members, as many as it may have.", "Ask its admin.")
        return self.applicant(enrol)

    def applicant(self, enrol: CooeeEnrol) -> Member:
        """The record of somebody new."""
        kind = Kind(enrol.kind)
        return Member(
            peer_id=enrol.peer_id,
            agent_id=enrol.agent_id,
            role=enrol.role,
            kind=kind,
            authority=authority_of(enrol.role, kind, self.roles),
            age_recipient=enrol.age_recipient,
            may_vote=VoterUse(enrol.voter_use) is VoterUse.FULL,
            capabilities=enrol.capabilities,
        )

    def _again(self, enrol: CooeeEnrol, before: Member, now_ms: int) -> Member | Refusal:
        if not before.active:
            return Refusal("This identity was revoked.", "Make a new home to come in as somebody new.")
        return renewed(before, self.applicant(enrol)) if is_fresh(enrol.at_ms, now_ms) else before


def renewed(before: Member, now: Member) -> Member:
    """A member's record brought up to date: its authority and kind stay, and a daemon stays one that may vote."""
    return msgspec.structs.replace(
        now,
        kind=before.kind,
        authority=before.authority,
        may_vote=before.may_vote or now.may_vote,
        voter=before.voter,
        trusted=before.trusted,
    )
