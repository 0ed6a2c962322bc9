"""The names of what actions act on, for the questions that are asked before. Pure functions of the store."""

from __future__ import annotations

from chorus_hap.store import Store
from chorus_hap.widgets.lines import cut, one_line, plural

#: A purge is asked about with so much of what is purged, columns.
_EXCERPT = 60


def subject(store: Store, action: str, key: str) -> str:
    """What an action would act on.

    Args:
        store: what is known.
        action: the action's id.
        key: what is selected or was typed: a peer id, a name, an address, an entry's key or id, a decision's id.

    Returns:
        its name as a person knows it; what was typed where nothing is known of it; empty for nothing.
    """
    match action:
        case "policy" | "recover":
            return one_line(store.status.network) if store.status and store.status.network else "this cluster"
        case "renew":
            return f"the log of {one_line(store.status.agent_id)}" if store.status else "this home's log"
        case "trigger" | "resign":
            return _office(store)
        case "approve" | "refuse":
            who = next((w for w in store.items("waiting") if key in (w.peer_id, w.agent_id)), None)
            return f"{one_line(who.agent_id)} (…{who.peer_id[-6:]})" if who else key
        case "revoke" | "evict" | "demote" | "promote":
            member = next((m for m in store.items("members") if key in (m.peer_id, m.agent_id)), None)
            return f"{one_line(member.agent_id)} (…{member.peer_id[-6:]})" if member else key
        case "delete":
            info = next((a for a in store.items("ucxl") if a.address == key), None)
            if info is None:
                return key
            return f"{key} ({plural(info.versions, 'version stays', 'versions stay')} readable in history)"
        case "purge":
            entry = next((e for e in store.ring("log") if key in (e.key, e.id)), None)
            return f"{entry.id} by {one_line(entry.author)} (“{cut(one_line(entry.text), _EXCERPT)}”)" if entry else key
        case "withdraw":
            found = next((d for d in store.items("decisions") if d.id == key), None)
            return f"“{one_line(found.title)}” ({plural(sum(found.tally.values()), 'vote')} so far)" if found else key
    return key


def _office(store: Store) -> str:
    """The lead that an election or a resignation is about: the cluster, who leads it and in which term."""
    status, (leader, _certain) = store.status, store.leader()
    cluster = one_line(status.network) if status and status.network else "this cluster"
    if leader is None:
        return f"{cluster} (nobody leads)"
    return f"{cluster} ({one_line(leader.agent_id or leader.peer_id[-6:])} leads, term {leader.term})"
