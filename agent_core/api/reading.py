"""The operations that only read: the same code answers for a live node and for a store on disk. Synchronous and quick."""

from __future__ import annotations

from agent_core.api import views
from agent_core.api.attention import attention
from agent_core.api.parts import Sources
from agent_core.api.registry import operation
from agent_core.api.requests import (
    CheckRequest,
    DecisionRequest,
    DiffRequest,
    ExportRequest,
    GetRequest,
    ListRequest,
    LogRequest,
    Nothing,
    ProveRequest,
    RoomRequest,
    TailRequest,
    TermRequest,
)
from agent_core.decisions import views as decision_views
from agent_core.election.verify import certificate
from agent_core.feeds import proofs
from agent_core.feeds.model import EntryKey
from agent_core.hmmm import views as room_views
from agent_core.identity.signing import Ed25519Verifier
from agent_core.roster.history import history
from agent_core.shapes import (
    AddressInfo,
    Attention,
    CertificateCheck,
    Content,
    Decision,
    Diff,
    Election,
    EntryProof,
    FeedItem,
    FeedPage,
    Finding,
    LogEntry,
    MemberInfo,
    PeerInfo,
    Room,
    RoomView,
    RosterChange,
    Status,
    Version,
)
from agent_core.ucxl import views as ucxl_views

#: Bytes of entries in one page of an export: as base64 it fits a line of the control socket with room to spare.
_PAGE_BYTES = 512 * 1024


class Reading:
    """Reading operations over whatever sources are given."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    @operation("status")
    def status(self, request: Nothing) -> Status:
        """How this node and its cluster stand."""
        return self._sources.status()

    @operation("peers")
    def peers(self, request: Nothing) -> tuple[PeerInfo, ...]:
        """The peers with an open connection."""
        return tuple(self._sources.peers())

    @operation("members")
    def members(self, request: Nothing) -> tuple[MemberInfo, ...]:
        """The enrolled members, and who of them votes."""
        status = self._sources.status()
        leader = status.leader.peer_id if status.leader and status.leader.certain else ""
        return views.members(self._sources.context(), self._sources.entries, leader)

    @operation("members.log")
    def members_log(self, request: Nothing) -> tuple[RosterChange, ...]:
        """Every committed change of the roster, oldest first."""
        return history(self._sources.context())

    @operation("attention")
    def attention(self, request: Nothing) -> tuple[Attention, ...]:
        """What waits for the person."""
        return attention(self._sources)

    @operation("election.show")
    def election_show(self, request: Nothing) -> Election:
        """Who leads, in which term, and why: one consistent read."""
        return self._sources.election()

    @operation("election.verify")
    def election_verify(self, request: TermRequest) -> CertificateCheck:
        """Check the certificate of a past term by what is held here."""
        return certificate(request.term, self._sources.context(), Ed25519Verifier())

    @operation("hmmm.rooms")
    def hmmm_rooms(self, request: Nothing) -> tuple[Room, ...]:
        """All rooms, the one spoken in last first."""
        return room_views.rooms(self._sources.folds.rooms, self._sources.context(), self._sources.periods)

    @operation("hmmm.show")
    def hmmm_show(self, request: RoomRequest) -> RoomView:
        """One room with its newest messages, in threads."""
        room_views.known(self._sources.folds.rooms, self._sources.context(), request.room.strip())
        return self.room(request)

    def room(self, request: RoomRequest) -> RoomView:
        """The same for those who wait for a room's first message: one that nobody has written to is empty."""
        sources = self._sources
        room = request.room.strip()
        return room_views.view(sources.folds.rooms, sources.context(), room, sources.periods, request.limit)

    @operation("decisions.list")
    def decisions_list(self, request: Nothing) -> tuple[Decision, ...]:
        """All decisions, newest first."""
        return decision_views.listing(self._sources.folds.decisions, self._sources.context())

    @operation("decisions.show")
    def decisions_show(self, request: DecisionRequest) -> Decision:
        """One decision with its votes and tally."""
        context = self._sources.context()
        return decision_views.decision(decision_views.find(self._sources.folds.decisions, context, request.id), context)

    @operation("ucxl.get")
    def ucxl_get(self, request: GetRequest) -> Content:
        """What stands at an address."""
        sources = self._sources
        return ucxl_views.get(sources.folds.ucxl, sources.context(), request.address, request.version, request.offset)

    @operation("ucxl.ls")
    def ucxl_ls(self, request: ListRequest) -> tuple[AddressInfo, ...]:
        """The addresses that a pattern covers."""
        found = ucxl_views.listing(self._sources.folds.ucxl, self._sources.context(), request.pattern)
        return found[: request.limit]

    @operation("ucxl.log")
    def ucxl_log(self, request: LogRequest) -> tuple[Version, ...]:
        """The versions of an address, newest first."""
        return ucxl_views.log(self._sources.folds.ucxl, self._sources.context(), request.address)

    @operation("ucxl.diff")
    def ucxl_diff(self, request: DiffRequest) -> Diff:
        """What changed between two versions of an address."""
        return ucxl_views.diff(
            self._sources.folds.ucxl, self._sources.context(), request.address, request.old, request.new
        )

    @operation("log.tail")
    def log_tail(self, request: TailRequest) -> tuple[LogEntry, ...]:
        """The newest entries of all feeds, oldest first; page by page with the key of a page's first as the next ``before``."""
        entries = self._sources.entries
        before = entries.entry(views.find_entry(request.before, entries)) if request.before else None
        found = entries.tail(request.limit, before)
        return views.log(found, self._sources.context())

    @operation("log.prove")
    def log_prove(self, request: ProveRequest) -> EntryProof:
        """What proves one entry to anybody, by other people's tools too."""
        sources = self._sources
        if request.entry.strip().isdecimal():
            author, epoch = views.find_feed(request.author, request.epoch, sources.entries, sources.context())
            key = EntryKey(author, epoch, int(request.entry.strip()[:15]))
        else:
            key = views.find_entry(request.entry, sources.entries)
        head, path = proofs.inclusion(sources.entries, key)
        entry = sources.entries.entry(key)
        assert entry is not None  # the checkpoint covers it
        return EntryProof(
            key=str(key),
            id=entry.id,
            size=head.size,
            header=entry.raw,
            proof=proofs.tlog_proof(key.seq, path, head.note),
            verifier=proofs.verifier_key(key.author, key.epoch),
        )

    @operation("log.export")
    def log_export(self, request: ExportRequest) -> FeedPage:
        """Entries of a feed as they are stored, with the signed checkpoint that covers them."""
        sources = self._sources
        author, epoch = views.find_feed(request.author, request.epoch, sources.entries, sources.context())
        head = proofs.signed_head(sources.entries, author, epoch)
        items = sources.entries.items(author, epoch, request.start, head.size, _PAGE_BYTES)
        return FeedPage(
            author=author,
            epoch=epoch,
            size=head.size,
            checkpoint=head.note,
            verifier=proofs.verifier_key(author, epoch),
            start=request.start,
            items=tuple(
                FeedItem(header=i.header, salt=i.salt, body=i.body) if request.bodies else FeedItem(header=i.header)
                for i in items
            ),
        )

    @operation("shhh.check")
    def shhh_check(self, request: CheckRequest) -> tuple[Finding, ...]:
        """The secrets in a text; it is neither kept nor sent."""
        return tuple(self._sources.findings(request.text))
