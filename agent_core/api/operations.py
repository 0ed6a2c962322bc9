"""The facade: every operation of a node, once, typed. Control socket, HTTP and MCP call nothing else (SPEC section 15)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import msgspec

from agent_core.api import views
from agent_core.api.parts import NodeParts
from agent_core.api.reading import Reading
from agent_core.api.registry import Operation, operation, operations_of
from agent_core.api.requests import (
    DeleteRequest,
    EndPreview,
    FetchRequest,
    InviteRequest,
    JoinRequest,
    Kept,
    MemberRequest,
    Nothing,
    PolicyRequest,
    PurgeRequest,
    RecoverRequest,
    RenewRequest,
    ShareRequest,
    StageRequest,
    TriggerRequest,
    WithdrawRequest,
)
from agent_core.caller import Caller
from agent_core.clock import rfc3339
from agent_core.errors import ChorusError, Unavailable
from agent_core.feeds.model import EntryKey
from agent_core.grammar import plural
from agent_core.roster.warrants import Verb
from agent_core.shapes import (
    Election,
    Fetched,
    Moved,
    Posted,
    PostRequest,
    ProposeRequest,
    PutRequest,
    RosterDone,
    Staged,
    Ticket,
    Verification,
    VoteRequest,
    WaitingInfo,
)
from agent_core.ucxl import views as ucxl_views

#: Longest wait for a confirmation that a caller may ask for, seconds.
MAX_WAIT_S = 600.0


class Facade(Reading):
    """All operations of a running node.

    Args:
        parts: the collaborators.
    """

    def __init__(self, parts: NodeParts) -> None:
        super().__init__(parts.sources)
        self._parts = parts

    def check_clock(self) -> None:
        """See that what is written now would count now. Raises ``ClockAhead``."""
        self._sources.check_clock()

    @operation("election.trigger", changes=True, always=True)
    async def election_trigger(self, request: TriggerRequest, caller: Caller) -> Election:
        """Call an election now."""
        await self._parts.election.trigger(request.reason)
        return self._sources.election()

    @operation("election.resign", changes=True, always=True)
    async def election_resign(self, request: Nothing, caller: Caller) -> Election:
        """Hand the lead over to the best other voter."""
        await self._parts.election.resign()
        return self._sources.election()

    @operation("cluster.join", changes=True, always=True)
    async def cluster_join(self, request: JoinRequest, caller: Caller) -> Moved:
        """Move this home into another cluster in reach."""
        return await self._parts.moving.join(request.cluster, request.force)

    @operation("cluster.recover", changes=True, always=True)
    async def cluster_recover(self, request: RecoverRequest, caller: Caller) -> Moved:
        """Found a cluster in place of this one, whose majority is lost for good."""
        return await self._parts.moving.recover(request.force_new)

    @operation("cluster.share", changes=True)
    async def cluster_share(self, request: ShareRequest, caller: Caller) -> Moved:
        """Show the others what this home wrote before it came into their cluster."""
        return await self._parts.moving.share(op=request.op_id, via=caller.via, login=caller.login)

    @operation("members.pending")
    def members_pending(self, request: Nothing) -> tuple[WaitingInfo, ...]:
        """The newcomers that wait for a person's approval."""
        return views.waiting(self._sources.waiting(), self._sources.context())

    @operation("members.invite", changes=True, always=True)
    def members_invite(self, request: InviteRequest, caller: Caller) -> Ticket:
        """A ticket that admits one newcomer."""
        # Beyond this machine first: that is where a newcomer most likely is.
        addresses = sorted(self._sources.status().addresses, key=lambda a: "/127.0.0.1/" in a or "/::1/" in a)
        token, expires_ms = self._parts.roster.invite(request.expires_s, request.role, addresses)
        return Ticket(token=token, expires_at=rfc3339(expires_ms), role=request.role)

    @operation("members.approve", changes=True, always=True)
    async def members_approve(self, request: MemberRequest, caller: Caller) -> RosterDone:
        """Let a newcomer in that waits for approval."""
        return await self._change_roster(Verb.APPROVE, self._newcomer(request.id), request.reason, "is a member now")

    @operation("members.refuse", changes=True, always=True)
    async def members_refuse(self, request: MemberRequest, caller: Caller) -> RosterDone:
        """Turn a newcomer away that waits for approval."""
        return await self._change_roster(Verb.REFUSE, self._newcomer(request.id), request.reason, "was refused")

    @operation("members.revoke", changes=True, always=True)
    async def members_revoke(self, request: MemberRequest, caller: Caller) -> RosterDone:
        """Cut a member off for good; what it wrote so far stands."""
        return await self._change_roster(Verb.REVOKE, self._member(request.id), request.reason, "was revoked")

    @operation("members.evict", changes=True, always=True)
    async def members_evict(self, request: MemberRequest, caller: Caller) -> RosterDone:
        """Take a member that is away off the roster; it may be admitted again."""
        return await self._change_roster(Verb.EVICT, self._member(request.id), request.reason, "was evicted")

    @operation("members.promote", changes=True, always=True)
    async def members_promote(self, request: MemberRequest, caller: Caller) -> RosterDone:
        """Make a member a voter."""
        return await self._change_roster(Verb.PROMOTE, self._member(request.id), request.reason, "is a voter now")

    @operation("members.demote", changes=True, always=True)
    async def members_demote(self, request: MemberRequest, caller: Caller) -> RosterDone:
        """Make a voter a member without a vote, until a person promotes it again."""
        said = "is no voter any more"
        return await self._change_roster(Verb.DEMOTE, self._member(request.id), request.reason, said)

    @operation("cluster.policy", changes=True, always=True)
    async def cluster_policy(self, request: PolicyRequest, caller: Caller) -> RosterDone:
        """Change how newcomers are admitted."""
        act = await self._parts.roster.ask(Verb.POLICY, request.policy, request.reason)
        return RosterDone(text=f"Admission is {request.policy} now.", act=act)

    def _member(self, text: str) -> str:
        context = self._sources.context()
        roster = context.roster
        return views.find_member(text, {p: context.name(p) for p in roster.members} if roster else {})

    def _newcomer(self, text: str) -> str:
        return views.find_member(
            text, {w.peer_id: w.agent_id for w in self.members_pending(Nothing())}, "newcomer that waits"
        )

    async def _change_roster(self, verb: Verb, peer_id: str, reason: str, said: str) -> RosterDone:
        names = {w.peer_id: w.agent_id for w in self.members_pending(Nothing())}
        name = names.get(peer_id) or self._sources.context().name(peer_id)
        act = await self._parts.roster.ask(verb, peer_id, reason)
        return RosterDone(text=f"{name} (…{peer_id[-6:]}) {said}.", act=act, peer_id=peer_id)

    @operation("hmmm.post", changes=True)
    async def hmmm_post(self, request: PostRequest, caller: Caller) -> Posted:
        """Say something in a room."""
        return await self._delivered(await self._parts.rooms.post(request, caller), request.wait_s)

    @operation("decisions.propose", changes=True)
    async def decisions_propose(self, request: ProposeRequest, caller: Caller) -> Posted:
        """Put something to the vote."""
        return await self._delivered(await self._parts.decisions.propose(request, caller), request.wait_s)

    @operation("decisions.vote", changes=True)
    async def decisions_vote(self, request: VoteRequest, caller: Caller) -> Posted:
        """Vote on a decision, or change the vote while it is open."""
        return await self._delivered(await self._parts.decisions.vote(request, caller), request.wait_s)

    @operation("decisions.withdraw", changes=True)
    async def decisions_withdraw(self, request: WithdrawRequest, caller: Caller) -> Posted:
        """Take a proposal of your own back."""
        posted = await self._parts.decisions.withdraw(request.id, request.reason, request.op_id, caller)
        return await self._delivered(posted, request.wait_s)

    @operation("ucxl.put", changes=True)
    async def ucxl_put(self, request: PutRequest, caller: Caller) -> Posted:
        """Write a new version of an address."""
        posted = await self._parts.addresses.put(request, caller)
        if request.wait_s <= 0:
            return await self._delivered(posted, 0.0)
        held = await self._parts.blocks.wait_held(_key(posted), request.members, min(request.wait_s, MAX_WAIT_S))
        return msgspec.structs.replace(posted, delivered=held)

    @operation("ucxl.stage", changes=True)
    def ucxl_stage(self, request: StageRequest, caller: Caller) -> Staged:
        """Bring a part of content that is too large for one call; a put names it then."""
        return self._parts.addresses.stage(request.upload, request.data)

    @operation("ucxl.fetch")
    async def ucxl_fetch(self, request: FetchRequest) -> Fetched:
        """Fetch content that isn't here from those who have it."""
        key = ucxl_views.locate(self._sources.folds.ucxl, request.address, request.version)
        return Fetched(missing=await self._parts.blocks.fetch(key, max(0.0, min(request.wait_s, MAX_WAIT_S))))

    @operation("ucxl.delete", changes=True)
    async def ucxl_delete(self, request: DeleteRequest, caller: Caller) -> Posted:
        """Bury an address under a tombstone; its history stays."""
        posted = await self._parts.addresses.delete(
            request.address, request.note, request.op_id, caller, request.if_match
        )
        return await self._delivered(posted, request.wait_s)

    @operation("log.verify")
    async def log_verify(self, request: Nothing) -> Verification:
        """Check every hash, signature and proof in the store anew."""
        return await self._parts.verify()

    @operation("log.purge", changes=True)
    async def log_purge(self, request: PurgeRequest, caller: Caller) -> Posted:
        """Drop an entry's body everywhere; the entry itself stays and still verifies."""
        key = views.find_entry(request.key, self._sources.entries)
        entry = await self._parts.feeds.purge(key, op=request.op_id, via=caller.via, login=caller.login)
        posted = Posted(id=entry.id, key=str(entry.key), delivered=0, text=f"The body of {key} is dropped everywhere.")
        return await self._delivered(posted, request.wait_s)

    @operation("log.renew", changes=True, always=True)
    async def log_renew(self, request: RenewRequest, caller: Caller) -> Posted:
        """Go on in a new epoch of this home's log, whose clock starts now, and say again what the old one stamped later."""
        renew = self._parts.renew
        if renew is None:
            raise Unavailable("This node can't renew its log.")
        if request.confirmed and self._parts.election.successor():
            # Acts are of the one log or the other; who follows them is spared the change by another leader.
            with suppress(ChorusError):
                await self._parts.election.resign()
        done = await renew(confirmed=request.confirmed, op=request.op_id, via=caller.via, login=caller.login)
        number, key = done.said_again, done.entry.key
        entries = plural(number, "entry was", "entries were")
        text = f"This home's log goes on in epoch {key.epoch}, by the clock as it is now; {entries} withdrawn and said again."
        return await self._delivered(Posted(id=done.entry.id, key=str(key), delivered=0, text=text), request.wait_s)

    @operation("session.end_preview")
    def session_end_preview(self, request: Nothing) -> EndPreview:
        """What becomes of the node when this session ends."""
        sessions = self._parts.sessions
        others = max(0, len(sessions) - 1)
        if not sessions.owned:
            return EndPreview(text="node goes on: it runs as a daemon", ends=False)
        if others:
            return EndPreview(text=f"node goes on: {others} other session{'s' * (others > 1)}", ends=False)
        successor = self._parts.election.successor()
        return EndPreview(text=f"node ends ({successor} takes over)" if successor else "node ends", ends=True)

    @operation("session.keep_running")
    def session_keep_running(self, request: Nothing) -> Kept:
        """Let the node go on as a daemon when its sessions end."""
        self._parts.sessions.keep_running()
        return Kept(mode=self._parts.sessions.mode)

    async def _delivered(self, posted: Posted, wait_s: float) -> Posted:
        """How many others hold it: those that do by now, or after waiting for the first one."""
        key = _key(posted)
        feeds = self._parts.feeds
        held = await feeds.wait_held(key, 1, min(wait_s, MAX_WAIT_S)) if wait_s > 0 else feeds.holders(key)
        return msgspec.structs.replace(posted, delivered=held)


def _key(posted: Posted) -> EntryKey:
    author, epoch, seq = posted.key.split("/")
    return EntryKey(author, int(epoch), int(seq))


#: Every operation of a running node, by name.
OPERATIONS: Mapping[str, Operation] = operations_of(Facade)
