"""What a person has this node ask for: tickets that it signs itself, and changes of the roster that the leader makes."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

import trio

from agent_core.errors import InvalidInput, NoQuorum, Refused, Unavailable
from agent_core.roster.belonging import Belonging
from agent_core.roster.means import Means
from agent_core.roster.model import Member
from agent_core.roster.roles import Role
from agent_core.roster.warrants import (
    MAX_TICKET_S,
    TICKET_S,
    Invitation,
    Verb,
    may,
    signed_ask,
    signed_ticket,
    to_token,
)
from agent_core.wire.envelope import one_line
from agent_core.wire.families.cooee import Asked, CooeeAsk, CooeeReply, CooeeTicket

#: How long a request may take, which the leader may have to hand over for first, and how soon it is made again; seconds.
ASK_S = 20.0
_ASK_AGAIN_S = 0.2


class Asking:
    """Asks in this node's name.

    Args:
        home: where this node belongs.
        means: signing, time.
        roles: the roles in force.
        put: brings a request to the leader, within so many seconds; nothing if it didn't answer.
    """

    def __init__(
        self,
        home: Belonging,
        means: Means,
        roles: Callable[[], Mapping[str, Role]],
        put: Callable[[CooeeAsk, float], Awaitable[CooeeReply | None]],
    ) -> None:
        self._home = home
        self._means = means
        self._roles = roles
        self._put = put

    def invite(self, expires_s: float = TICKET_S, role: str = "", addresses: Sequence[str] = ()) -> tuple[str, int]:
        """A ticket for one newcomer, as one word to copy, and when it expires (Unix milliseconds).

        Args:
            expires_s: for how long it is good, seconds.
            role: the role it is for; empty for any.
            addresses: where the newcomer finds a member.

        Raises:
            Refused: this node may not invite.
            InvalidInput: a time out of range, or a role that nobody knows here.
        """
        self._refuse_unless_may(Verb.INVITE)
        if not 1 <= expires_s <= MAX_TICKET_S:
            raise InvalidInput("A ticket is good for 1 s at least and 30 days at most.", "For example --expires 1h.")
        roles = self._roles()
        if role and role not in roles:
            raise InvalidInput(f"There is no role {role[:40]!r}.", f"Known here: {', '.join(sorted(roles))}.")
        expires_ms = self._means.now_ms() + round(expires_s * 1000)
        ticket = CooeeTicket(
            cluster=self._home.bound,
            by=self._home.peer_id,
            nonce=secrets.token_hex(16),
            expires_ms=expires_ms,
            role=role,
        )
        invitation = Invitation(
            ticket=signed_ticket(ticket, self._means.signer),
            network=self._home.network_name,
            addresses=tuple(addresses),
        )
        return to_token(invitation), expires_ms

    async def ask(self, verb: Verb, target: str, reason: str = "") -> int:
        """Have the leader change the roster; returns the act's number, 0 where none was needed.

        Args:
            verb: what is to be done.
            target: to whom, a peer id; for a policy, its name.
            reason: why, for everybody to read.

        Raises:
            Refused: it may not be, or not now; the sentence says why.
            NoQuorum: no leader did it in time.
            Unavailable: this node belongs nowhere yet.
        """
        roster = self._home.roster
        self._refuse_unless_may(verb, roster.get(target) if roster is not None else None)
        end = trio.current_time() + ASK_S
        said = CooeeReply(status="pending", message="No leader is in reach.", next="Wait for the election.")
        while (left_s := end - trio.current_time()) > 0:
            request = CooeeAsk(
                cluster=self._home.bound,
                by=self._home.peer_id,
                at_ms=self._means.now_ms(),
                verb=cast(Asked, verb.value),
                target=target,
                reason=reason,
            )
            said = await self._put(signed_ask(request, self._means.signer), left_s) or said
            if said.status == "done":
                await self._home.folded(said.act)
                return said.act
            if said.status == "refused":
                raise Refused(one_line(said.message, 500), one_line(said.next, 500))
            await trio.sleep(_ASK_AGAIN_S)
        raise NoQuorum(one_line(said.message, 500) or "No leader did it in time.", one_line(said.next, 500))

    def _refuse_unless_may(self, verb: Verb, over: Member | None = None) -> None:
        roster, me = self._home.roster, self._home.peer_id
        if roster is None:
            raise Unavailable("This node belongs to no cluster yet.", "Wait until it is a member.")
        refusal = may(roster, me, verb, over)
        if refusal:
            able = [roster.name(p) for p, m in roster.members.items() if m.active and not may(roster, p, verb, over)]
            raise Refused(refusal, f"These may: {', '.join(sorted(able)[:5])}." if able else "Nobody here may.")
