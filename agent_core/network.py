"""The network as the rest of the node sees it: one small protocol, implemented by ``mesh`` (libp2p) and ``simulated``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Protocol, TypeAlias

import msgspec


class Verdict(StrEnum):
    """What judging says of a gossip message before it is relayed (SPEC section 3)."""

    ACCEPT = "accept"
    IGNORE = "ignore"
    REJECT = "reject"


class DialResult(StrEnum):
    """How a fresh dial ended. Only ``REFUSED`` is evidence of death: silence isn't refusal (SPEC section 5)."""

    CONNECTED = "connected"
    REFUSED = "refused"
    SILENT = "silent"


class Offence(StrEnum):
    """What a peer is refused something for; these are the only values that metrics and `peers` show."""

    MESSAGE = "message"  #: a gossip message that any honest relay would have refused
    BUDGET = "budget"  #: more gossip than its budget
    CONTROL = "control"  #: gossip's control: more of it, or of what nobody asks
    FRAME = "frame"  #: a frame of the muxer that can't be
    WINDOW = "window"  #: more than a stream's window, or a window without end
    FLOOD = "flood"  #: pings, streams or other frames without end
    STALL = "stall"  #: it doesn't read what it asked for
    NEGOTIATION = "negotiation"  #: protocols without end
    HELLO = "hello"  #: no hello, or none that can be read
    QUESTION = "question"  #: on one of our streams: what can't be read or doesn't hold
    REQUESTS = "requests"  #: more questions than anybody has


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One live connection."""

    peer_id: str
    addresses: tuple[str, ...] = ()
    direction: str = ""  #: ``in`` or ``out``
    connected_at_ms: int = 0
    rtt_ms: float | None = None
    score: float = 0.0
    offences: tuple[tuple[str, int], ...] = ()  #: what it was refused for and how often, most often first
    graylisted_s: float = 0.0  #: for how many seconds it is still refused altogether


class Stream(Protocol):
    """One bidirectional stream to a peer, framed: each frame is sent and received whole.

    Frames are length-prefixed (4 bytes, big endian) on the wire; none is longer than the limit given when it was opened.
    """

    @property
    def peer_id(self) -> str:
        """The authenticated peer at the other end."""
        ...

    async def send(self, frame: bytes) -> None:
        """Send one frame. Raises :class:`StreamClosed` when the other end is gone."""
        ...

    async def receive(self) -> bytes:
        """The next frame. Raises :class:`StreamClosed` at the end, or for a frame over the limit."""
        ...

    async def aclose(self) -> None:
        """Close both directions; never raises."""
        ...


class StreamClosed(Exception):
    """The stream ended, was reset, or its peer broke the framing."""


StreamHandler: TypeAlias = Callable[[Stream], Awaitable[None]]
#: Called synchronously for every gossip message before it is relayed: topic, relaying peer, payload, and the peer whose
#: signature on it the network has checked.
Judge: TypeAlias = Callable[[str, str, bytes, str], Verdict]
#: Called synchronously with every accepted message of a joined topic, our own ones too: topic, relaying peer, payload.
Receiver: TypeAlias = Callable[[str, str, bytes], None]
#: Called synchronously when a peer's first connection opens or its last one closes: peer, connected,
#: and for a close whether it was closed from the other side.
PeerWatcher: TypeAlias = Callable[[str, bool, bool], None]


class Network(Protocol):
    """What the node asks of a network. All of it is best effort: what must arrive goes by feed replication."""

    @property
    def peer_id(self) -> str:
        """This node's own peer id."""
        ...

    @property
    def addresses(self) -> Sequence[str]:
        """Full multiaddrs of this node, each with ``/p2p/<peer id>``."""
        ...

    def peers(self) -> Sequence[Peer]:
        """The peers with an open connection now."""
        ...

    def shunned(self) -> Sequence[Peer]:
        """Peers without a connection that were refused something lately, the worst first; bounded."""
        ...

    def offended(self, peer_id: str, offence: Offence) -> None:
        """A peer did on one of our streams what nobody honest does: it loses its score, and in the end its connection."""
        ...

    def watch_peers(self, watcher: PeerWatcher) -> None:
        """Call the watcher at each connect and disconnect from now on."""
        ...

    def set_judge(self, judge: Judge) -> None:
        """The one judge of all gossip; before it is set everything is ignored."""
        ...

    def set_receiver(self, receiver: Receiver) -> None:
        """The one receiver of all accepted gossip."""
        ...

    async def join(self, topic: str) -> None:
        """Subscribe to a topic; idempotent."""
        ...

    async def leave(self, topic: str) -> None:
        """Unsubscribe; idempotent."""
        ...

    async def publish(self, topic: str, payload: bytes) -> None:
        """Gossip a payload; it comes back to this node's receiver as well. Raises ``TooLarge`` over 256 KiB."""
        ...

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """Serve a stream protocol. An exception in the handler is logged and costs that stream only."""
        ...

    async def open(self, peer_id: str, protocol: str) -> Stream:
        """Open a stream to a connected peer. Raises :class:`StreamClosed` when it can't be had."""
        ...

    async def dial(self, address: str) -> DialResult:
        """Dial a full multiaddr (with ``/p2p/``) and keep the connection. Never raises for what the network does."""
        ...

    async def probe(self, peer_id: str) -> DialResult:
        """A fresh transport-level dial to a known peer's last addresses, only to see whether its host refuses."""
        ...

    async def disconnect(self, peer_id: str, refuse_s: float = 0.0) -> None:
        """Close all connections to a peer, and for so many seconds neither dial it nor let it in."""
        ...
