"""What a feed is made of: headers, entries, bodies, bundles. The stored form can't change later; see docs/protocol-feeds.md."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from agent_core.clock import Hlc, is_hlc
from agent_core.errors import VerificationFailed
from agent_core.ids import short_id
from agent_core.strict_json import has_key_twice

T = TypeVar("T")

HEADER_VERSION = 1
MAX_HEADER_BYTES = 16 * 1024
#: Bodies over this are blocks addressed by the SHA-256 of their stored bytes (SPEC section 8).
MAX_BODY_BYTES = 32 * 1024
SALT_BYTES = 16


#: A place in the total order: (hlc, author, epoch, seq).
Order: TypeAlias = tuple[str, str, int, int]


class Via(StrEnum):
    """By which road an entry was made (SPEC section 0)."""

    CONSOLE = "console"
    COMMAND = "command"
    HTTP = "http"
    MCP = "mcp"
    SERVICE = "service"


class EntryKey(NamedTuple):
    """The place of an entry: nothing else in the mesh has the same, or a fork is proven."""

    author: str
    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.author}/{self.epoch}/{self.seq}"


class BodyRef(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a header says of its body: the salted hash (hex) and the size in bytes.

    With ``content`` the body is a manifest: it names the blocks that hold so many bytes (docs/protocol-blocks.md).
    """

    hash: str
    size: int
    content: int = 0

    @property
    def shown_size(self) -> int:
        """Bytes of what is shown: of the body itself, or of what its blocks hold."""
        return self.content or self.size


class Again(msgspec.Struct, frozen=True, gc=False):
    """The place of an entry of the same author, withdrawn with the clock that stamped it, that another one says again."""

    epoch: int
    seq: int


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The part of an entry that is proven and that folds decide on. Unknown fields are kept in the bytes and ignored."""

    v: int
    author: str
    epoch: int
    seq: int
    hlc: Hlc
    type: str
    via: str = Via.SERVICE.value
    login: str = ""  #: the operating system's login, for local faces
    op: str = ""  #: the caller's operation id (UUIDv7)
    body: BodyRef | None = None
    again: Again | None = None  #: what it says again
    data: msgspec.Raw = msgspec.Raw(b"{}")  #: typed by ``type``; a JSON object


_encode = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(Header).decode


def leaf_hash(raw: bytes) -> bytes:
    """The RFC 6962 leaf hash of a header's stored bytes."""
    return hashlib.sha256(b"\x00" + raw).digest()


def body_hash(salt: bytes, body: bytes) -> str:
    """The salted hash of a body, hex. The salt lies beside the body and goes with it, so a purged body can't be guessed."""
    return hashlib.sha256(b"chorus-hap body v1\n" + salt + body).hexdigest()


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One header with the exact bytes it was stored in."""

    header: Header
    raw: bytes
    hash: bytes  #: leaf hash, 32 bytes

    @classmethod
    def parse(cls, raw: bytes) -> Entry:
        """Read stored bytes.

        Raises:
            VerificationFailed: not a header of this version, or out of bounds.
        """
        if len(raw) > MAX_HEADER_BYTES:
            raise VerificationFailed(f"A header has {len(raw)} bytes; the limit is {MAX_HEADER_BYTES}.")
        try:
            header = _decode_header(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise VerificationFailed(f"A header doesn't parse: {exc}.") from exc
        if header.v != HEADER_VERSION or header.epoch < 0 or header.seq < 0 or not is_hlc(header.hlc):
            raise VerificationFailed("A header has an unknown version or a malformed epoch, number or clock.")
        return cls(header, raw, leaf_hash(raw))

    @property
    def key(self) -> EntryKey:
        return EntryKey(self.header.author, self.header.epoch, self.header.seq)

    @property
    def id(self) -> str:
        """The short id by which people name this entry (SPEC section 7)."""
        return short_id(self.hash)

    @property
    def order(self) -> Order:
        """The total order in which conflicts are settled: (hlc, author, epoch, seq)."""
        h = self.header
        return (h.hlc, h.author, h.epoch, h.seq)

    def data(self, kind: type[T]) -> T | None:
        """The header's data as the given struct, or nothing if it isn't one: folds skip what they can't read.

        A header with a key twice is stored, since feeds have no gaps, and says nothing: what it says would depend on who reads it.
        """
        if has_key_twice(self.raw):
            return None
        try:
            return msgspec.json.decode(self.header.data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry that isn't placed yet: the feed adds author, epoch, number and clock."""

    type: str
    data: msgspec.Struct | msgspec.Raw
    body: bytes | None = None
    via: str = Via.SERVICE.value
    login: str = ""
    op: str = ""
    content: int = 0  #: bytes in the blocks of which the body is the manifest; 0 for a body that is shown itself
    again: Again | None = None


class Body(msgspec.Struct, frozen=True, gc=False):
    """A body and the salt its hash was made with."""

    salt: bytes
    data: bytes

    def matches(self, ref: BodyRef) -> bool:
        """Whether this is the body that the header names."""
        return len(self.data) == ref.size and body_hash(self.salt, self.data) == ref.hash


class Missing(StrEnum):
    """Why a body isn't shown."""

    NONE = "no body"
    NOT_FETCHED = "not fetched yet"
    PURGED = "purged"
    QUARANTINED = "quarantined"
    ENCRYPTED = "encrypted to others"
    EXPIRED = "expired"
    ON_DEMAND = "fetched when it is asked for"
    FETCHING = "being fetched"
    NO_HOLDER = "nobody connected has it"
    NO_ROOM = "no room for it here"
    DAMAGED = "its list of blocks can't be read"


def new_header(draft: Draft, *, author: str, epoch: int, seq: int, hlc: Hlc, salt: bytes) -> tuple[Entry, Body | None]:
    """Place a draft: its header bytes as they will be stored for ever, and its body."""
    body = None if draft.body is None else Body(salt, draft.body)
    header = Header(
        v=HEADER_VERSION,
        author=author,
        epoch=epoch,
        seq=seq,
        hlc=hlc,
        type=draft.type,
        via=draft.via,
        login=draft.login,
        op=draft.op,
        body=None if body is None else BodyRef(body_hash(salt, body.data), len(body.data), draft.content),
        again=draft.again,
        data=msgspec.Raw(_encode(draft.data)),
    )
    raw = _encode(header)
    if len(raw) > MAX_HEADER_BYTES:
        raise VerificationFailed(f"A header would have {len(raw)} bytes; the limit is {MAX_HEADER_BYTES}.")
    return Entry(header, raw, leaf_hash(raw)), body


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """One entry that travels alone, with all it takes to believe it: inclusion proof and signed checkpoint."""

    header: bytes
    proof: tuple[bytes, ...]  #: RFC 6962 inclusion path, 32 bytes each
    checkpoint: str  #: C2SP signed note
    salt: bytes = b""
    body: bytes | None = None


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one epoch of a feed is held: the have-vector's element, and a cut's."""

    author: str
    epoch: int
    size: int
    root: str  #: Merkle root over ``size`` leaves, hex


class BodyReader(Protocol):
    """Gives views the bodies they show; folds never see them."""

    def body(self, key: EntryKey) -> bytes | Missing:
        """The body of an entry, or why it is missing."""
        ...

    def part(self, key: EntryKey, start: int, end: int) -> bytes | Missing:
        """So many bytes of a body, or why it is missing: for bodies too large to be had whole."""
        ...


class Fold(Protocol):
    """Entries to state. The state depends on the set of entries applied, never on their order."""

    def apply(self, entries: Iterable[Entry]) -> None:
        """Take entries in; unknown types and unreadable data are skipped, the same entry twice changes nothing."""
        ...


class Durable(Protocol):
    """Small values on disk."""

    def read(self, key: str) -> bytes | None:
        """The value, if there is one."""
        ...

    async def write(self, key: str, value: bytes) -> None:
        """Keep a value; on disk when it returns."""
        ...


class Appender(Protocol):
    """The one way to write: through SHHH, durable when it returns (SPEC sections 2 and 11)."""

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Entry]:
        """Append drafts to this node's feed in one commit.

        A draft whose ``op`` was used before isn't appended again: the first entry comes back in its place.

        Raises:
            SecretFound: SHHH refuses a draft; nothing was appended.
            TooLarge: a body is over its limit.
            StoreError: the disk refuses.
            Conflict: the ``op`` was used for an entry of another type.
            Unavailable: this node may not append now (clock far off, epoch being opened).
        """
        ...


class OwnFeed(Appender, Protocol):
    """This node's own feed: written, and asked what an operation wrote."""

    def made(self, op: str) -> Entry | None:
        """The first entry that an operation of this node made, if it made one."""
        ...
