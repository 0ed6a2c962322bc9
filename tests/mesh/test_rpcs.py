"""Gossip frames are cut down before anything is made of them."""

from __future__ import annotations

from typing import Any

import pytest

from agent_core.budget import Bucket
from agent_core.mesh.rpcs import MAX_IWANT, cut, drop_unsigned

TOPICS = {"followed"}


@pytest.fixture
def rpc() -> Any:
    from libp2p.pubsub.pb import rpc_pb2

    return rpc_pb2.RPC()


def cut_down(rpc: Any, messages: float = 100, control: float = 100) -> tuple[int, bool]:
    """Cut with these rations left."""
    return cut(rpc, TOPICS, Bucket(1, messages), Bucket(1, control), 0.0)


def test_an_honest_frame_stays_as_it_is(rpc: Any) -> None:
    rpc.publish.add(data=b"one", topicIDs=["followed"])
    rpc.subscriptions.add(subscribe=True, topicid="another")
    rpc.control.graft.add(topicID="followed")
    rpc.control.ihave.add(topicID="followed", messageIDs=[b"aa", b"bb"])
    rpc.control.iwant.add(messageIDs=[b"cc"])
    before = rpc.SerializeToString()
    assert cut_down(rpc) == (0, False)
    assert rpc.SerializeToString() == before


def test_messages_beyond_the_ration_go(rpc: Any) -> None:
    for n in range(150):
        rpc.publish.add(data=b"%d" % n)
    assert cut_down(rpc) == (50, False)
    assert [m.data for m in rpc.publish] == [b"%d" % n for n in range(100)]


def test_control_beyond_the_ration_goes_altogether(rpc: Any) -> None:
    for n in range(60):
        rpc.subscriptions.add(subscribe=True, topicid=f"t{n}")
        rpc.control.graft.add(topicID="followed")
    assert cut_down(rpc) == (0, True)
    assert not rpc.subscriptions
    assert not rpc.HasField("control")


def test_nothing_is_kept_of_topics_that_nobody_follows_here_nor_of_peers_to_dial(rpc: Any) -> None:
    for topic in ("followed", "unknown", "followed"):
        rpc.control.graft.add(topicID=topic)
        rpc.control.prune.add(topicID=topic).peers.add(peerID=b"somebody")
    assert cut_down(rpc) == (0, False)
    assert [g.topicID for g in rpc.control.graft] == ["followed"]
    assert [(p.topicID, len(p.peers)) for p in rpc.control.prune] == [("followed", 0)]


def test_a_message_is_asked_for_once_and_not_too_many_at_a_time(rpc: Any) -> None:
    rpc.control.iwant.add(messageIDs=[b"aa"] * 500)
    rpc.control.iwant.add(messageIDs=[b"aa", *(b"%04x" % n for n in range(MAX_IWANT + 5))])
    assert cut_down(rpc) == (0, False)
    assert [len(one.messageIDs) for one in rpc.control.iwant] == [1, MAX_IWANT - 1]


def test_long_topics_are_not_remembered(rpc: Any) -> None:
    rpc.subscriptions.add(subscribe=True, topicid="x" * 300)
    rpc.subscriptions.add(subscribe=True, topicid="y")
    cut_down(rpc)
    assert [s.topicid for s in rpc.subscriptions] == ["y"]


def test_messages_that_lack_what_every_message_has_make_no_task(rpc: Any) -> None:
    whole = {"from_id": b"a", "seqno": bytes(8), "signature": b"s", "topicIDs": ["followed"]}
    rpc.publish.add(**whole)
    for lacking in whole:
        rpc.publish.add(**{name: value for name, value in whole.items() if name != lacking})
    rpc.publish.add(**whole | {"topicIDs": ["followed", "another"]})
    assert drop_unsigned(rpc) == 5
    assert len(rpc.publish) == 1
