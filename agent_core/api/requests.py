"""What operations take, where :mod:`agent_core.shapes` has no shape for it already."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from agent_core.shapes.base import Limit, Shape, Wait
from agent_core.shapes.texts import Content


class Nothing(Shape, frozen=True, kw_only=True):
    """No parameters."""


class Hello(Shape, frozen=True, kw_only=True):
    """The first call of a control connection."""

    protocol: tuple[int, ...]
    client: str = ""
    session_kind: str = "command"
    read_only: bool = False


class Welcome(Shape, frozen=True, kw_only=True):
    """The answer to ``hello``; a new ``boot_id`` means a new node process."""

    protocol: int
    version: str
    peer_id: str
    boot_id: str


class Slices(Shape, frozen=True, kw_only=True):
    """Names of slices."""

    slices: tuple[str, ...]


class TriggerRequest(Shape, frozen=True, kw_only=True):
    """Why an election is asked for."""

    reason: str = ""


class TermRequest(Shape, frozen=True, kw_only=True):
    """A term."""

    term: Annotated[int, Meta(ge=0, lt=2**53)]


class InviteRequest(Shape, frozen=True, kw_only=True):
    """A ticket for one newcomer: for how many seconds it is good, and for which role (empty for any)."""

    expires_s: Wait = 3600.0
    role: str = ""


class MemberRequest(Shape, frozen=True, kw_only=True):
    """A member or newcomer, by name or by the end of its peer id, and why."""

    id: str
    reason: Annotated[str, Meta(max_length=400)] = ""


class PolicyRequest(Shape, frozen=True, kw_only=True):
    """How newcomers are to be admitted: open, invite or approve."""

    policy: Literal["open", "invite", "approve"]
    reason: Annotated[str, Meta(max_length=400)] = ""


class RoomRequest(Shape, frozen=True, kw_only=True):
    """A room, and how many of its newest messages."""

    room: str
    limit: Limit = 200


class DecisionRequest(Shape, frozen=True, kw_only=True):
    """A decision, by any unique prefix of its id."""

    id: str


class WithdrawRequest(Shape, frozen=True, kw_only=True):
    """A proposal to take back."""

    id: str
    reason: str = ""
    op_id: str = ""
    wait_s: Wait = 0.0


class GetRequest(Shape, frozen=True, kw_only=True):
    """An address; ``version`` is a hash and stands for the address's own temporal part. ``offset``: of large content, bytes."""

    address: str
    version: str = ""
    offset: Annotated[int, Meta(ge=0, lt=2**40)] = 0


class FetchRequest(Shape, frozen=True, kw_only=True):
    """An address whose content isn't here; it is waited for at most ``wait_s`` seconds."""

    address: str
    version: str = ""
    wait_s: Wait = 30.0


class StageRequest(Shape, frozen=True, kw_only=True):
    """A part of large content, base64: the next one of the upload named, or the first one of a new name."""

    upload: Annotated[str, Meta(min_length=8, max_length=64)]
    data: Content


class DeleteRequest(Shape, frozen=True, kw_only=True):
    """An address to bury; its history stays. ``if_match`` as of :class:`agent_core.shapes.PutRequest`."""

    address: str
    note: str = ""
    if_match: str = ""
    op_id: str = ""
    wait_s: Wait = 0.0


class ListRequest(Shape, frozen=True, kw_only=True):
    """Which addresses; components may be wildcards."""

    pattern: str = ""
    limit: Limit = 1000


class LogRequest(Shape, frozen=True, kw_only=True):
    """An address whose versions are asked for."""

    address: str


class DiffRequest(Shape, frozen=True, kw_only=True):
    """Two versions of an address, by hash or temporal part; by default the latest and the one before."""

    address: str
    old: str = ""
    new: str = ""


class TailRequest(Shape, frozen=True, kw_only=True):
    """How many of the newest entries; of those before the one with the key ``before`` where that is given."""

    limit: Limit = 50
    before: str = ""


class ProveRequest(Shape, frozen=True, kw_only=True):
    """An entry: its number in the feed, its short id, or ``author/epoch/seq``. By default the feed is this node's newest epoch."""

    entry: str
    author: str = ""  #: peer id or agent id
    epoch: Annotated[int, Meta(ge=0, lt=2**53)] | None = None


class ExportRequest(Shape, frozen=True, kw_only=True):
    """A feed, by default this node's newest epoch, from an entry on; as many entries as one answer carries."""

    author: str = ""  #: peer id or agent id
    epoch: Annotated[int, Meta(ge=0, lt=2**53)] | None = None
    start: Annotated[int, Meta(ge=0, lt=2**40)] = 0
    bodies: bool = False


class JoinRequest(Shape, frozen=True, kw_only=True):
    """A cluster in reach, by the beginning of its id or the address of one of its nodes."""

    cluster: str
    force: bool = False  #: leave even though the old cluster has no majority that could let this voter go


class RecoverRequest(Shape, frozen=True, kw_only=True):
    """Whether the person means it."""

    force_new: bool = False


class ShareRequest(Shape, frozen=True, kw_only=True):
    """Show what was written before coming into the cluster."""

    op_id: str = ""


class RenewRequest(Shape, frozen=True, kw_only=True):
    """Whether the person means it."""

    confirmed: bool = False
    op_id: str = ""
    wait_s: float = 0.0


class PurgeRequest(Shape, frozen=True, kw_only=True):
    """An entry (short id or ``author/epoch/seq``) whose body is to be dropped everywhere."""

    key: str
    op_id: str = ""
    wait_s: Wait = 0.0


class CheckRequest(Shape, frozen=True, kw_only=True):
    """A text to look for secrets in."""

    text: Content


class EndPreview(Shape, frozen=True, kw_only=True):
    """What quitting will do, in words and as a fact."""

    text: str
    ends: bool


class Kept(Shape, frozen=True, kw_only=True):
    """The node goes on as a daemon."""

    mode: str
