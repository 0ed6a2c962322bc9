"""What one gossip frame may hold: cut down, in place, to what somebody honest would send, before libp2p makes tasks and tables of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from agent_core.budget import Bucket

#: Longest topic; ids in all IHAVE and all IWANT of one frame.
MAX_TOPIC, MAX_IHAVE, MAX_IWANT = 256, 5000, 1024
#: So many ids cost as much as one entry of control.
_IDS_AN_ENTRY = 64


def cut(rpc: Any, topics: Collection[str], arrivals: Bucket, control: Bucket, now: float) -> tuple[int, bool]:
    """Cut a frame down.

    Messages beyond their ration go, and all subscriptions or all control when they are beyond theirs. Of control remains what
    GossipSub 1.1 has and what is about topics that are followed here; peers that a PRUNE recommends go always: who is
    dialled isn't theirs to say.

    Args:
        rpc: libp2p's ``RPC``; changed in place.
        topics: those followed here.
        arrivals: the peer's ration of messages.
        control: the peer's ration of subscriptions and control entries.
        now: seconds.

    Returns:
        How many messages went, and whether subscriptions or control did that were beyond the ration.
    """
    return _messages(rpc, arrivals, now), _control(rpc, topics, control, now)


def drop_unsigned(rpc: Any) -> int:
    """Take out messages that lack what every message has (author, number, signature, one topic); returns how many."""
    found = len(rpc.publish)
    whole = [m for m in rpc.publish if m.from_id and len(m.seqno) == 8 and m.signature and len(m.topicIDs) == 1]
    if len(whole) < found:
        del rpc.publish[:]
        rpc.publish.extend(whole)
    return found - len(whole)


def _messages(rpc: Any, arrivals: Bucket, now: float) -> int:
    found = len(rpc.publish)
    if not found or arrivals.take(found, now):
        return 0
    room = int(arrivals.level)
    arrivals.take(room, now)
    del rpc.publish[room:]
    return found - room


def _control(rpc: Any, topics: Collection[str], ration: Bucket, now: float) -> bool:
    has_control = rpc.HasField("control")
    cost = len(rpc.subscriptions)
    if has_control:
        c = rpc.control
        ids = sum(len(one.messageIDs) for one in c.ihave) + sum(len(one.messageIDs) for one in c.iwant)
        cost += len(c.ihave) + len(c.iwant) + len(c.graft) + len(c.prune) + len(c.idontwant) + ids // _IDS_AN_ENTRY
    if cost and not ration.take(cost, now):
        ration.level = 0.0
        rpc.ClearField("subscriptions")
        rpc.ClearField("control")
        return True
    if any(len(sub.topicid) > MAX_TOPIC for sub in rpc.subscriptions):
        kept = [sub for sub in rpc.subscriptions if len(sub.topicid) <= MAX_TOPIC]
        rpc.ClearField("subscriptions")
        rpc.subscriptions.extend(kept)
    if has_control:
        for entries in (rpc.control.ihave, rpc.control.graft, rpc.control.prune):
            _keep(entries, topics)
        for prune in rpc.control.prune:
            prune.ClearField("peers")
        rpc.control.ClearField("idontwant")
        _few_ids(rpc.control.ihave, MAX_IHAVE)
        _few_ids(rpc.control.iwant, MAX_IWANT)
    return False


def _keep(entries: Any, topics: Collection[str]) -> None:
    """Only entries about topics followed here, one of each topic."""
    kept = {one.topicID: one for one in entries if one.topicID in topics}
    if len(kept) < len(entries):
        kept_entries = list(kept.values())
        del entries[:]
        entries.extend(kept_entries)


def _few_ids(entries: Any, most: int) -> None:
    """Each id once, and not more than so many."""
    seen: set[bytes] = set()
    for entry in entries:
        ids = [i for i in dict.fromkeys(entry.messageIDs) if i not in seen][: most - len(seen)]
        seen.update(ids)
        if len(ids) < len(entry.messageIDs):
            del entry.messageIDs[:]
            entry.messageIDs.extend(ids)
