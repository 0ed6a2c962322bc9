"""What passes and what lasts: traffic, the log, what waits for a person."""

from __future__ import annotations

from agent_core.shapes.base import Shape


class Traffic(Shape, frozen=True, kw_only=True):
    """One message as it passed: ``verdict`` is accept, ignore, reject or sent; refused ones have a reason."""

    n: int
    at: str
    topic: str
    type: str
    sender: str  #: agent id or peer id
    size: int
    verdict: str
    reason: str = ""
    text: str = ""  #: one line for people
    raw: str = ""  #: the envelope, pretty JSON, at most 8 KiB


class LogEntry(Shape, frozen=True, kw_only=True):
    """One durable entry as a line of the log."""

    id: str  #: short id
    key: str  #: author/epoch/seq
    at: str
    author: str  #: agent id
    type: str
    via: str
    text: str
    body: str  #: present, or the reason why it is missing
    held: bool = False
    counts_at: str = ""  #: of a held one, when it counts
    withdrawn: bool = False  #: it doesn't count: its author renewed its log, and said it again


class EntryProof(Shape, frozen=True, kw_only=True):
    """One entry with what proves it to anybody: C2SP tlog-proof over its header's bytes, and the author's verifier key."""

    key: str  #: author/epoch/seq
    id: str  #: short id
    size: int  #: of the tree that the checkpoint signs
    header: bytes  #: the leaf, exactly as its author made it
    proof: str  #: the tlog-proof, checkpoint included
    verifier: str  #: the key that checks the checkpoint (C2SP signed-note)


class FeedItem(Shape, frozen=True, kw_only=True):
    """One entry of a feed as stored; salt and body are empty when it has none, or it wasn't asked for."""

    header: bytes
    salt: bytes = b""
    body: bytes | None = None


class FeedPage(Shape, frozen=True, kw_only=True):
    """Some entries of a feed, in order, and the newest checkpoint that covers only what is held here."""

    author: str  #: peer id
    epoch: int
    size: int  #: of the tree that the checkpoint signs
    checkpoint: str  #: C2SP signed note
    verifier: str  #: the key that checks it
    start: int  #: number of the first item
    items: tuple[FeedItem, ...]


class Attention(Shape, frozen=True, kw_only=True):
    """Something that waits for the person."""

    id: str
    at: str
    kind: str  #: vote, approval, escalation, mention, minority, degraded, fork, secret
    text: str
    target: (
        str  #: where enter leads: decision:<id>, room:<id>/<message id>, members:<peer id>, election, attention:<id>
    )
    urgent: bool = False
