"""Admission: what an enrolment must hold, who signed it, and what record comes of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from agent_core.clock import MAX_AHEAD_MS
from agent_core.errors import ChorusError, NoQuorum, NotLeader, VerificationFailed
from agent_core.grammar import plural
from agent_core.identity.signing import Signer, Verifier
from agent_core.names import AGENT, CAPABILITY, ROLE, made, objection
from agent_core.roster.judging import MAX_MEMBERS
from agent_core.roster.model import Kind, Member, Policy, Roster, VoterUse
from agent_core.roster.roles import Role, authority_of
from agent_core.roster.warrants import ticket_objection, warrant_of
from agent_core.strict_json import check_keys
from agent_core.wire import catalogue
from agent_core.wire.families.cooee import CooeeAsk, CooeeEnrol, CooeeHello, CooeeLeave, CooeeReply, CooeeTicket

MAX_FRAME = 64 * 1024

_SETTING_OF = {AGENT: "agent.id", ROLE: "agent.role", CAPABILITY: "agent.capabilities"}

Message: TypeAlias = CooeeHello | CooeeEnrol | CooeeLeave | CooeeAsk | CooeeReply


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
        check_keys(frame)
        envelope = msgspec.json.decode(frame, type=_Frame)
        kind = catalogue.TYPES.get(envelope.type)
        message = msgspec.json.decode(envelope.data, type=kind.schema) if kind else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise VerificationFailed("A frame isn't a message of COOEE.") from exc
    if not isinstance(message, CooeeHello | CooeeEnrol | CooeeLeave | CooeeAsk | CooeeReply):
        raise VerificationFailed("A frame isn't a message of COOEE.")
    return message


def signed_enrol(enrol: CooeeEnrol, signer: Signer) -> CooeeEnrol:
    """The enrolment with its applicant's signature."""
    return msgspec.structs.replace(enrol, signature=signer.sign(_enrol_message(enrol)))


def signed_leave(leave: CooeeLeave, signer: Signer) -> CooeeLeave:
    """The leave with its sender's signature."""
    return msgspec.structs.replace(leave, signature=signer.sign(_leave_message(leave)))


def is_signed(message: CooeeEnrol | CooeeLeave | CooeeAsk, verifier: Verifier) -> bool:
    """Whether the identity named in a message signed it."""
    if isinstance(message, CooeeAsk):
        return verifier.verify(message.by, warrant_of(message).message(message.cluster), message.signature)
    text = _enrol_message(message) if isinstance(message, CooeeEnrol) else _leave_message(message)
    return verifier.verify(message.peer_id, text, message.signature)


def is_fresh(at_ms: int, now_ms: int) -> bool:
    """Whether a signed message is of now, so that an old one can't be brought up again."""
    return abs(at_ms - now_ms) <= MAX_AHEAD_MS


def _enrol_message(e: CooeeEnrol) -> bytes:
    fields = (e.network, e.cluster, e.peer_id, e.agent_id, e.role, e.kind, e.at_ms, e.age_recipient, e.voter_use)
    nonce = e.ticket.nonce if e.ticket is not None else ""
    return b"chorus-hap enrol v1\n" + msgspec.json.encode((*fields, e.capabilities, e.models, e.host, nonce))


def _leave_message(leave: CooeeLeave) -> bytes:
    return b"chorus-hap leave v1\n" + msgspec.json.encode((leave.cluster, leave.peer_id, leave.at_ms))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an enrolment is refused, and what to do."""

    message: str
    next: str = ""


@dataclass(frozen=True, slots=True)
class Admit:
    """The record an applicant gets, and the ticket it was admitted by."""

    record: Member
    ticket: CooeeTicket | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """A person has to approve it first."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The rules newcomers are measured by.

    Args:
        roles: the roles of this node.
        beyond_loopback: it listens for others than this machine.
        force_open: ``cluster.force_open``: keep ``open`` even so.
        verifier: checks tickets.
    """

    verifier: Verifier
    roles: Mapping[str, Role]
    beyond_loopback: bool = False
    force_open: bool = False

    def record(self, enrol: CooeeEnrol, roster: Roster, now_ms: int) -> Admit | Wait | Refusal:
        """What becomes of an applicant; the same record as in the roster when there is nothing to change.

        Args:
            enrol: its signed request.
            roster: the roster in force.
            now_ms: Unix time in milliseconds.
        """
        before = roster.get(enrol.peer_id)
        unfit = _unfit(enrol, before)
        if unfit is not None:
            return unfit
        if before is not None and before.revoked is not None:
            return Refusal("This identity was revoked.", "Make a new home to come in as somebody new.")
        if before is not None and before.active:
            new = renewed(before, self.applicant(enrol)) if is_fresh(enrol.at_ms, now_ms) else before
            return Admit(new)
        if sum(m.active for m in roster.members.values()) >= MAX_MEMBERS:
            return Refusal(
                f"This cluster has {plural(MAX_MEMBERS, 'member')}, as many as it may have.", "Ask its admin."
            )
        if enrol.ticket is not None:
            why = ticket_objection(roster, enrol.ticket, enrol.role, now_ms, self.verifier)
            return Refusal(why, "Ask for a new one.") if why else Admit(self.applicant(enrol), enrol.ticket)
        match roster.policy:
            case Policy.INVITE:
                return Refusal(
                    "It admits by ticket.",
                    "Ask a member for one (`chorus-hap members invite`), and start with --ticket.",
                )
            case Policy.APPROVE:
                return Wait()
        refusal = self.open_refusal()
        return refusal or Admit(self.applicant(enrol))

    def open_refusal(self) -> Refusal | None:
        """Why this node doesn't admit just anybody."""
        if self.beyond_loopback and not self.force_open:
            return Refusal(
                "Its leader listens beyond its own machine and doesn't admit just anybody there.",
                "Join by a ticket (`chorus-hap members invite`). Its operator can also set cluster.force_open = true.",
            )
        return None

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


def _unfit(enrol: CooeeEnrol, before: Member | None) -> Refusal | None:
    """Why nobody may be called so. Who was admitted under other rules keeps its name."""
    known = {before.agent_id, before.role, *before.capabilities} if before is not None else ()
    names = ((AGENT, enrol.agent_id), (ROLE, enrol.role), *((CAPABILITY, c) for c in enrol.capabilities))
    for rule, text in names:
        why = "" if text in known else objection(text, rule)
        if why:
            setting = _SETTING_OF[rule]
            suggestion = made(text, rule)
            example = f", for example to {suggestion}" if suggestion and setting != "agent.capabilities" else ""
            return Refusal(f"Its {rule.what} {why}.", f"Set {setting} there{example}. {rule.allowed}")
    return None


def not_now(exc: ChorusError) -> CooeeReply:
    """An act that couldn't be committed, as a reply."""
    pending = isinstance(exc, NotLeader | NoQuorum)
    return CooeeReply(status="pending" if pending else "refused", message=exc.message[:500], next=exc.next[:500])


def renewed(before: Member, now: Member) -> Member:
    """A member's record brought up to date: its authority and kind stay, and a daemon stays one that may vote."""
    return msgspec.structs.replace(
        now,
        kind=before.kind,
        authority=before.authority,
        may_vote=before.may_vote or now.may_vote,
        voter=before.voter,
        trusted=before.trusted,
        benched=before.benched,
    )
