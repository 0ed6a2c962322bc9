"""The shapes that leave the node: what each operation takes and gives, what each slice holds. Shapes only grow.

Times are RFC 3339 text, durations end in ``_s``. Faces import this package, so it imports nothing heavy.
"""

from agent_core.shapes.base import MAX_LIMIT, WATCHED_ADDRESSES, Shape
from agent_core.shapes.decisions import Decision, ProposeRequest, Vote, VoteRequest
from agent_core.shapes.election import (
    SCORE_WEIGHTS,
    CertificateCheck,
    Claim,
    Election,
    ScoreParts,
    SignedVote,
    TermInfo,
    VoterInfo,
)
from agent_core.shapes.hmmm import Citation, Message, Posted, PostRequest, Room, RoomView, Stances
from agent_core.shapes.members import MemberInfo, Moved, PeerInfo, RosterChange, RosterDone, Ticket, WaitingInfo
from agent_core.shapes.records import Attention, EntryProof, FeedItem, FeedPage, LogEntry, Traffic
from agent_core.shapes.slices import KEYED_SLICES, STATE_SLICES, STREAM_SLICES, SliceEvent
from agent_core.shapes.status import ClockState, Finding, Health, Leader, Status, Underway, Verification, Voters
from agent_core.shapes.ucxl import AddressInfo, Content, Diff, Fetched, PutRequest, Staged, Version

__all__ = [
    "KEYED_SLICES",
    "MAX_LIMIT",
    "SCORE_WEIGHTS",
    "STATE_SLICES",
    "STREAM_SLICES",
    "WATCHED_ADDRESSES",
    "AddressInfo",
    "Attention",
    "CertificateCheck",
    "Citation",
    "Claim",
    "ClockState",
    "Content",
    "Decision",
    "Diff",
    "Election",
    "EntryProof",
    "FeedItem",
    "FeedPage",
    "Fetched",
    "Finding",
    "Health",
    "Leader",
    "LogEntry",
    "MemberInfo",
    "Message",
    "Moved",
    "PeerInfo",
    "PostRequest",
    "Posted",
    "ProposeRequest",
    "PutRequest",
    "Room",
    "RoomView",
    "RosterChange",
    "RosterDone",
    "ScoreParts",
    "Shape",
    "SignedVote",
    "SliceEvent",
    "Staged",
    "Stances",
    "Status",
    "TermInfo",
    "Ticket",
    "Traffic",
    "Underway",
    "Verification",
    "Version",
    "Vote",
    "VoteRequest",
    "VoterInfo",
    "Voters",
    "WaitingInfo",
]
