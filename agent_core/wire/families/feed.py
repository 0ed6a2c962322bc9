"""Feeds: the news that somebody's log has grown; small entries come along, larger ones are fetched."""

from __future__ import annotations

from agent_core.feeds.heads import FeedHead
from agent_core.wire import topics
from agent_core.wire.payload import Family, MessageType

_ME = "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2"

FAMILY = Family(
    "feed",
    topics.FEEDS,
    (
        MessageType(
            "feed.head",
            FeedHead(author=_ME, epoch=0, size=9, checkpoint="chorus-hap/feed/v1\n9\n", start=9),
            "epoch {epoch} has {size:entry|entries}",
        ),
    ),
)
