"""The feeds protocol ``/chorus/feeds/1.0.0``: its frames, and the answer to each, computed from a store. No I/O of its own.

One side asks, the other answers, one frame each; both directions have streams of their own. docs/protocol-feeds.md has the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from agent_core.errors import VerificationFailed
from agent_core.feeds.forks import PROBES, ForkProof, Side
from agent_core.feeds.heads import MAX_EPOCH, MAX_SIZE, Item
from agent_core.feeds.merkle import MAX_PROOF, NodeReader, consistency_proof, inclusion_proof
from agent_core.feeds.model import Bundle, Entry, EntryKey, Head, Missing
from agent_core.feeds.store import FeedKey, Store

PROTOCOL = "/chorus/feeds/1.0.0"
MAX_FRAME_BYTES = 256 * 1024
#: No answer takes longer, seconds, or the stream is given up.
ANSWER_TIMEOUT_S = 10.0
#: Heads in one frame; a node with more feeds shows them page by page.
PAGE = 1000
#: Ids of fork proofs in one frame; they have pages, too.
MAX_FORKS = 512
MAX_BODIES = 64
#: Leaves room in a frame for checkpoint, proof and framing.
_MAX_ITEMS_BYTES = MAX_FRAME_BYTES - 16 * 1024
_MAX_ITEMS = 4096

T = TypeVar("T")

_Name: TypeAlias = Annotated[str, Meta(max_length=64)]
_Epoch: TypeAlias = Annotated[int, Meta(ge=0, lt=MAX_EPOCH)]
_Number: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_SIZE)]
_Id: TypeAlias = Annotated[str, Meta(max_length=64)]


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="t"):
    """Base of all frames: a MessagePack map with the frame's name under ``t``; unknown keys are ignored."""


class Have(Frame, frozen=True, kw_only=True, tag="have"):
    """What the sender holds, asked and answered with the same frame.

    With ``page`` the other side answers with that page of all its heads, else with its heads of the feeds named.
    """

    heads: Annotated[tuple[Head, ...], Meta(max_length=PAGE)] = ()
    forks: Annotated[tuple[_Id, ...], Meta(max_length=MAX_FORKS)] = ()
    page: Annotated[int, Meta(ge=0, lt=1 << 20)] | None = None
    pages: Annotated[int, Meta(ge=0, lt=1 << 20)] = 0


class Want(Frame, frozen=True, kw_only=True, tag="want"):
    """Asks for entries from a number on; several such questions may be out at once, and are answered in their order."""

    author: _Name
    epoch: _Epoch
    start: _Number
    end: _Number | None = None  #: nothing from this number on is needed; more may come


class Range(Frame, frozen=True, kw_only=True, tag="range"):
    """Entries from the number asked for, provable as a whole; no items when the sender has or can prove none."""

    items: Annotated[tuple[Item, ...], Meta(max_length=_MAX_ITEMS)] = ()
    checkpoint: Annotated[str, Meta(max_length=4096)] = ""
    proof: Annotated[tuple[bytes, ...], Meta(max_length=MAX_PROOF)] = ()


class AskRoots(Frame, frozen=True, kw_only=True, tag="ask_roots"):
    """Asks for the roots of earlier sizes, to find where two histories part."""

    author: _Name
    epoch: _Epoch
    sizes: Annotated[tuple[_Number, ...], Meta(max_length=PROBES)]


class Roots(Frame, frozen=True, kw_only=True, tag="roots"):
    """The roots asked for, in order; empty for sizes that aren't held."""

    roots: Annotated[tuple[bytes, ...], Meta(max_length=PROBES)]


class AskSide(Frame, frozen=True, kw_only=True, tag="ask_side"):
    """Asks for one side of a fork proof."""

    author: _Name
    epoch: _Epoch
    seq: _Number


class SideIs(Frame, frozen=True, kw_only=True, tag="side"):
    """The side, or nothing if the sender can't prove it."""

    side: Side | None = None


class AskForks(Frame, frozen=True, kw_only=True, tag="ask_forks"):
    """Asks for fork proofs by id."""

    ids: Annotated[tuple[_Id, ...], Meta(max_length=MAX_FORKS)]


class Forks(Frame, frozen=True, kw_only=True, tag="forks"):
    """As many of the proofs asked for as fit; at least one if the sender has any."""

    proofs: Annotated[tuple[ForkProof, ...], Meta(max_length=MAX_FORKS)] = ()


class AskBodies(Frame, frozen=True, kw_only=True, tag="ask_bodies"):
    """Asks for bodies that were missing."""

    author: _Name
    epoch: _Epoch
    seqs: Annotated[tuple[_Number, ...], Meta(max_length=MAX_BODIES)]


class Bodies(Frame, frozen=True, kw_only=True, tag="bodies"):
    """Number, salt and body of those the sender has and that fit."""

    bodies: Annotated[tuple[tuple[_Number, bytes, bytes], ...], Meta(max_length=MAX_BODIES)] = ()


AnyFrame: TypeAlias = Have | Want | Range | AskRoots | Roots | AskSide | SideIs | AskForks | Forks | AskBodies | Bodies

_decoder = msgspec.msgpack.Decoder(AnyFrame)
_encoder = msgspec.msgpack.Encoder()


def encode(frame: Frame) -> bytes:
    """A frame's bytes."""
    return _encoder.encode(frame)


def decode(raw: bytes) -> AnyFrame:
    """Read a frame.

    Raises:
        VerificationFailed: not a frame, or out of bounds.
    """
    frame: AnyFrame = read_frame(_decoder, raw, MAX_FRAME_BYTES)
    return frame


def read_frame(decoder: msgspec.msgpack.Decoder[T], raw: bytes, max_bytes: int) -> T:
    """Read a frame of any protocol.

    Raises:
        VerificationFailed: not a frame, or longer than so many bytes.
    """
    if len(raw) > max_bytes:
        raise VerificationFailed("A frame is too long.")
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise VerificationFailed(f"A frame doesn't parse: {exc}.") from exc


class Limited(Protocol):
    """A store of which not all is wanted."""

    @property
    def store(self) -> Store: ...

    def limit(self, author: str, epoch: int) -> int | None:
        """How many entries of an epoch are fetched and shown; nothing for all of them."""
        ...


def end_of(of: Limited, author: str, epoch: int) -> int | None:
    """Where an epoch ends for good: a proven fork, or what stands of a revoked author's; nothing while it may grow."""
    ends = (of.store.fork_limit(author, epoch), of.limit(author, epoch))
    return min((end for end in ends if end is not None), default=None)


class Shown(Limited, Protocol):
    """What of the store peers are shown: whose feeds, and how much of them."""

    def wants(self, author: str) -> bool:
        """Whether an author's feeds are fetched and shown."""
        ...


def head_of(shown: Shown, author: str, epoch: int) -> Head:
    """How much of an epoch is held, as far as it is shown."""
    head, limit = shown.store.head(author, epoch), shown.limit(author, epoch)
    if limit is None or head.size <= limit:
        return head
    root = shown.store.root_at(author, epoch, limit) if limit else None
    return Head(author=author, epoch=epoch, size=limit if root else 0, root=root.hex() if root else "")


def vector(shown: Shown, page: int) -> Have:
    """One page of all heads held of accepted authors, and of the ids of the fork proofs kept."""
    store = shown.store
    heads = [head_of(shown, head.author, head.epoch) for head in store.heads() if shown.wants(head.author)]
    forks = store.forks()
    return Have(
        heads=tuple(heads[page * PAGE : (page + 1) * PAGE]),
        forks=tuple(forks[page * MAX_FORKS : (page + 1) * MAX_FORKS]),
        page=page,
        pages=max(-(-len(heads) // PAGE), -(-len(forks) // MAX_FORKS)),
    )


def heads_of(shown: Shown, feeds: Iterable[FeedKey]) -> Have:
    """The heads held of some feeds."""
    return Have(heads=tuple(head_of(shown, *feed) for feed in feeds if shown.wants(feed[0]))[:PAGE])


def answer(shown: Shown, frame: AnyFrame) -> Frame:
    """The answer to a question.

    Raises:
        VerificationFailed: the frame isn't a question.
        StoreError: the disk fails.
    """
    store = shown.store
    match frame:
        case Have(page=None):
            return heads_of(shown, [(head.author, head.epoch) for head in frame.heads])
        case Have(page=int(page)):
            return vector(shown, page)
        case Want():
            if not shown.wants(frame.author):
                return Range()
            return _range(store, frame, shown.limit(frame.author, frame.epoch))
        case AskRoots():
            roots = [store.root_at(frame.author, frame.epoch, size) or b"" for size in frame.sizes]
            return Roots(roots=tuple(roots))
        case AskSide():
            return SideIs(side=side(store, frame.author, frame.epoch, frame.seq))
        case AskForks():
            return Forks(proofs=_proofs(store, frame.ids))
        case AskBodies():
            if not shown.wants(frame.author):
                return Bodies()
            return Bodies(bodies=_bodies(store, frame, shown.limit(frame.author, frame.epoch)))
    raise VerificationFailed("A peer asked with a frame that is an answer.")


def side(store: Store, author: str, epoch: int, seq: int) -> Side | None:
    """This store's side of a fork that parts at ``seq``; nothing if it can't prove one."""
    found = _whole(store, author, epoch, seq)
    if found is None:
        return None
    entry, size, note, node = found
    return Side(entry.raw, inclusion_proof(seq, size, node), consistency_proof(seq, size, node), note)


def bundle(store: Store, key: EntryKey) -> Bundle | None:
    """One entry with all it takes to believe it; nothing if it isn't held, or nothing held whole covers it."""
    found = _whole(store, *key)
    if found is None:
        return None
    entry, size, note, node = found
    proof = inclusion_proof(key.seq, size, node)
    body = store.stored_body(key)
    if isinstance(body, Missing):
        return Bundle(header=entry.raw, proof=proof, checkpoint=note)
    return Bundle(header=entry.raw, proof=proof, checkpoint=note, salt=body.salt, body=body.data)


def _whole(store: Store, author: str, epoch: int, seq: int) -> tuple[Entry, int, str, NodeReader] | None:
    """An entry with a checkpoint that covers it and whose tree is held whole: size, note, and the tree's nodes."""
    entry = store.entry(EntryKey(author, epoch, seq))
    for base, size, note, _ in store.checkpoints(author, epoch):
        if entry is not None and base == size and seq < size:
            return entry, size, note, partial(store.node, author, epoch)
    return None


def _range(store: Store, want: Want, limit: int | None) -> Range:
    ends = (want.start + _MAX_ITEMS, want.end, limit)
    end = min(end for end in ends if end is not None)
    if end <= want.start:
        return Range()
    items = store.items(want.author, want.epoch, want.start, end, _MAX_ITEMS_BYTES)
    proven = store.certificate(want.author, want.epoch, want.start + len(items))
    if proven is None or proven[0] <= want.start:
        return Range()
    end, note, proof = proven
    return Range(items=tuple(items[: end - want.start]), checkpoint=note, proof=proof)


def _proofs(store: Store, ids: Sequence[str]) -> tuple[ForkProof, ...]:
    found: list[ForkProof] = []
    room = _MAX_ITEMS_BYTES
    for id_ in ids:
        proof = store.fork(id_)
        if proof is not None:
            room -= len(_encoder.encode(proof))
            if room < 0 and found:
                break
            found.append(proof)
    return tuple(found)


def _bodies(store: Store, ask: AskBodies, limit: int | None) -> tuple[tuple[int, bytes, bytes], ...]:
    found: list[tuple[int, bytes, bytes]] = []
    room = _MAX_ITEMS_BYTES
    for seq in (n for n in ask.seqs if limit is None or n < limit):
        body = store.stored_body(EntryKey(ask.author, ask.epoch, seq))
        if isinstance(body, Missing):
            continue
        room -= len(body.data) + 64
        if room < 0:
            break
        found.append((seq, body.salt, body.data))
    return tuple(found)
