"""Messages to rooms: which messages a room has, how they hang together, who stands where. A pure function of the set.

What is kept of a message lies in an ordered map that need not be in memory; views ask for a part of a room and get it as a
:class:`RoomState`, in which everything else is derived.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice

import msgspec

from agent_core.feeds.model import Entry, EntryKey
from agent_core.hmmm.model import HMMM_MESSAGE, HMMM_PROCEED, Intent, MessageData, Post, Proceed, ProceedData
from agent_core.ids import short_id
from agent_core.kept import Kept, MemoryKept

#: Threads that views look over for what needs a person: the last touched of those that can; older ones are left alone.
MAX_WATCHED = 1000
#: Messages of one thread that are looked at: its first one and the newest.
MAX_THREAD_POSTS = 2000
#: Messages in memory at most, of the threads that were looked at last.
_CACHED_POSTS = 4_000


class RoomState:
    """A room or a part of it: its messages and among them its proposals, by hash, and the ``proceed`` entries by the plan they name.

    What is derived from the messages is kept until the next one comes: views ask far more often than that.

    Args:
        id: the room.
        participants: the peer ids that wrote in the whole room; by default those of these messages.
    """

    def __init__(self, id: str, participants: Iterable[str] | None = None) -> None:
        self.id = id
        self.posts: dict[str, Post] = {}
        self.proposals: dict[str, Post] = {}
        self.proceeds: dict[str, dict[str, Proceed]] = defaultdict(dict)
        self._participants = None if participants is None else tuple(sorted(participants))

    def add(self, post: Post) -> None:
        """Take a message in."""
        self.posts[post.hash] = post
        if post.data.intent == Intent.PROPOSAL:
            self.proposals[post.hash] = post
        for derived in ("ordered", "participants", "roots", "threads", "stances"):
            self.__dict__.pop(derived, None)

    @cached_property
    def ordered(self) -> list[Post]:
        """The messages by (hlc, author, epoch, seq)."""
        return sorted(self.posts.values(), key=lambda p: p.order)

    @cached_property
    def participants(self) -> tuple[str, ...]:
        """The peer ids that wrote here, sorted."""
        if self._participants is not None:
            return self._participants
        return tuple(sorted({p.author for p in self.posts.values()}))

    @cached_property
    def roots(self) -> dict[str, Post]:
        """By message, in thread order, the first one of its thread: threads by their first, replies under what they answer.

        A message whose parent is unknown stands at the root. Links that run in a circle, which no honest writer can make,
        are cut at their least message.
        """
        children: dict[str, list[Post]] = defaultdict(list)
        top = []
        for post in self.ordered:
            parent = self._above(post)
            if parent is None:
                top.append(post)
            else:
                children[parent.hash].append(post)
        roots: dict[str, Post] = {}
        for root in [*top, *self.ordered]:
            todo = [root]
            while todo:
                post = todo.pop()
                if post.hash not in roots:
                    roots[post.hash] = root
                    todo.extend(reversed(children[post.hash]))
        return roots

    def _above(self, post: Post) -> Post | None:
        """What a message hangs under: its parent, else its thread's first message; nothing when neither is known here."""
        return self.posts.get(post.data.parent) or self.posts.get(post.data.thread)

    @cached_property
    def threads(self) -> dict[str, list[Post]]:
        """Each thread's messages in time order, by the hash of its first one."""
        threads: dict[str, list[Post]] = defaultdict(list)
        for post in self.ordered:
            threads[self.roots[post.hash].hash].append(post)
        return dict(threads)

    @cached_property
    def stances(self) -> dict[str, dict[str, Post]]:
        """By message, by author: the last message in which that author took a stance on it."""
        standing: dict[str, dict[str, Post]] = defaultdict(dict)
        for post in self.ordered:
            if post.data.stance and post.data.parent:
                standing[post.data.parent][post.author] = post
        return dict(standing)


class _Place(msgspec.Struct, array_like=True):
    """Where a message is found: by its room and stamp, and in which thread."""

    room: str
    hlc: str
    root: bytes


class _Row(msgspec.Struct, array_like=True):
    """What is kept of a message beside its hash."""

    author: str
    epoch: int
    seq: int
    hlc: str
    via: str
    data: MessageData


class _Thread(msgspec.Struct, array_like=True):
    """A thread's room, its newest stamp, and whether it may come to need a person."""

    room: str
    last: str = ""
    watched: bool = False


_pack = msgspec.msgpack.Encoder().encode
_place = msgspec.msgpack.Decoder(_Place).decode
_row = msgspec.msgpack.Decoder(_Row).decode
_thread = msgspec.msgpack.Decoder(_Thread).decode
_proceed = msgspec.msgpack.Decoder(Proceed).decode
_count = msgspec.msgpack.Decoder(int).decode

# What the keys begin with.
_PLACE = b"h"  #: hash → _Place
_POST = b"p"  #: room 0 stamp hash → _Row
_MEMBER = b"t"  #: root stamp hash: the messages of a thread
_THREAD = b"T"  #: root → _Thread
_WATCHED = b"w"  #: newest stamp, root
_WANTED = b"d"  #: hash that isn't here, hash of a message that names it
_ROOM = b"R"  #: room → how many messages
_SPEAKER = b"s"  #: room 0 author
_PLAN = b"P"  #: room 0 stamp hash: the proposals
_OPEN = b"o"  #: author 0 stamp hash: the proposals whose author hasn't gone ahead
_PROCEED = b"g"  #: room 0 plan hash → Proceed


class RoomsFold:
    """All rooms. Implements :class:`agent_core.feeds.model.Fold`.

    Args:
        kept: where the state is kept; in memory if not given.
    """

    def __init__(self, kept: Kept | None = None) -> None:
        self._kept: Kept = kept if kept is not None else MemoryKept()
        self._cached: dict[bytes, RoomState] = {}
        self._cached_posts = 0

    # --- growing ------------------------------------------------------------------------------------------------------

    def apply(self, entries: Iterable[Entry]) -> None:
        """Take entries in; other types and unreadable data are skipped, repeats change nothing."""
        unsettled: set[bytes] = set()
        for entry in entries:
            if entry.header.type == HMMM_MESSAGE:
                unsettled |= self._message(entry)
            elif entry.header.type == HMMM_PROCEED:
                self._take_proceed(entry)
        self._settle(unsettled)

    def _message(self, entry: Entry) -> set[bytes]:
        """Keep a message; returns the first messages of threads that hang together otherwise now."""
        data, hash = entry.data(MessageData), entry.hash
        if data is None or self._kept.get(_PLACE + hash) is not None:
            return set()
        header, kept, room = entry.header, self._kept, data.room.encode()
        above = self._find_above(data, hash)
        root = above.root if above else hash
        kept.put(_PLACE + hash, _pack(_Place(data.room, header.hlc, root)))
        stamp = header.hlc.encode()
        row = _Row(header.author, header.epoch, header.seq, header.hlc, header.via, data)
        kept.put(_POST + room + b"\0" + stamp + hash, _pack(row))
        kept.put(_MEMBER + root + stamp + hash)
        kept.put(_ROOM + room, _pack(self.count(data.room) + 1))
        kept.put(_SPEAKER + room + b"\0" + header.author.encode())
        if data.intent == Intent.PROPOSAL:
            kept.put(_PLAN + room + b"\0" + stamp + hash)
            went_ahead = any(
                _proceed(raw).key.author == header.author for _, raw in kept.scan(_PROCEED + room + b"\0" + hash)
            )
            if not went_ahead:
                kept.put(_open(header.author, header.hlc, hash))
        self._touch(root, _Thread(data.room, header.hlc, _may_need_a_person(data)))
        unsettled = set()
        waiting = [key[-32:] for key, _ in kept.scan(_WANTED + hash)]
        for other in waiting:
            place = self._place(other)
            kept.delete(_WANTED + hash + other)
            if place is not None and place.room == data.room:
                unsettled |= {place.root, root}
        return unsettled

    def _find_above(self, data: MessageData, hash: bytes) -> _Place | None:
        """The message that this one hangs under; what it names and isn't here is noted, for when it comes."""
        for named in (data.parent, data.thread):
            if not named:
                continue
            target = bytes.fromhex(named)
            place = self._place(target)
            if place is not None and place.room == data.room:
                return place
            if place is None and target != hash:
                self._kept.put(_WANTED + target + hash)
        return None

    def _touch(self, root: bytes, now: _Thread) -> None:
        """A thread got a message."""
        raw = self._kept.get(_THREAD + root)
        before = _thread(raw) if raw is not None else now
        self._set_thread(root, _Thread(now.room, max(before.last, now.last), before.watched or now.watched))

    def _set_thread(self, root: bytes, now: _Thread | None) -> None:
        raw = self._kept.get(_THREAD + root)
        before = _thread(raw) if raw is not None else None
        if before is not None and before.watched:
            self._kept.delete(_WATCHED + before.last.encode() + root)
        if now is None:
            self._kept.delete(_THREAD + root)
        else:
            self._kept.put(_THREAD + root, _pack(now))
            if now.watched:
                self._kept.put(_WATCHED + now.last.encode() + root)
        self._forget(root)

    def _settle(self, roots: set[bytes]) -> None:
        """A message came after ones that name it: the threads they are in hang together otherwise now."""
        by_room: dict[str, set[bytes]] = defaultdict(set)
        for root in roots:
            raw = self._kept.get(_THREAD + root)
            if raw is not None:
                by_room[_thread(raw).room].add(root)
        for name, among in by_room.items():
            room = RoomState(name)
            for root in among:
                for key, _ in self._kept.scan(_MEMBER + root):
                    self._add(room, key[-32:])
            threads = {bytes.fromhex(first): posts for first, posts in room.threads.items()}
            for root, posts in threads.items():
                for post in posts:
                    self._move(bytes.fromhex(post.hash), root)
            for root in among | threads.keys():
                now = threads.get(root)
                watched = any(_may_need_a_person(p.data) for p in now or ())
                self._set_thread(root, _Thread(name, max(p.hlc for p in now), watched) if now else None)

    def _move(self, hash: bytes, root: bytes) -> None:
        place = self._place(hash)
        if place is None or place.root == root:
            return
        stamp = place.hlc.encode()
        self._kept.delete(_MEMBER + place.root + stamp + hash)
        self._kept.put(_MEMBER + root + stamp + hash)
        self._kept.put(_PLACE + hash, _pack(_Place(place.room, place.hlc, root)))

    def _take_proceed(self, entry: Entry) -> None:
        data = entry.data(ProceedData)
        if data is None:
            return
        room = data.room.encode()
        if self._kept.get(_ROOM + room) is None:
            self._kept.put(_ROOM + room, _pack(0))
        proceed = Proceed(entry.hash.hex(), entry.key, entry.order, data)
        self._kept.put(_PROCEED + room + b"\0" + bytes.fromhex(data.plan) + entry.hash, _pack(proceed))
        plan = bytes.fromhex(data.plan)
        place = self._place(plan)
        if place is not None:
            if place.room == data.room:
                self._kept.delete(_open(entry.header.author, place.hlc, plan))
            self._forget(place.root)

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def rooms(self) -> Mapping[str, RoomState]:
        """All rooms, each read whole when it is asked for."""
        return _Rooms(self)

    def names(self) -> Iterator[str]:
        """The names of the rooms, sorted."""
        return (key[1:].decode() for key, _ in self._kept.scan(_ROOM))

    def count(self, room: str) -> int:
        """How many messages a room has."""
        raw = self._kept.get(_ROOM + room.encode())
        return _count(raw) if raw is not None else 0

    def participants(self, room: str) -> tuple[str, ...]:
        """The peer ids that wrote in a room, sorted."""
        prefix = _SPEAKER + room.encode() + b"\0"
        return tuple(key[len(prefix) :].decode() for key, _ in self._kept.scan(prefix))

    def last(self, room: str) -> Post | None:
        """A room's newest message."""
        newest: list[Post] = []
        for key, raw in self._kept.scan(_POST + room.encode() + b"\0", newest=True):
            post = _post(key[-32:], _row(raw))
            if newest and post.hlc != newest[0].hlc:
                break
            newest.append(post)
        return max(newest, key=lambda p: p.order, default=None)

    def whole(self, room: str) -> RoomState:
        """A room with all its messages."""
        return self._part(room, (bytes(key[-32:]) for key, _ in self._kept.scan(_POST + room.encode() + b"\0")))

    def newest(self, room: str, limit: int | None) -> tuple[RoomState, frozenset[str]]:
        """A room with the threads of its newest messages, and the hashes of these messages.

        Args:
            room: the room.
            limit: how many messages; all of them without one.
        """
        if limit is None:
            state = self.whole(room)
            return state, frozenset(state.posts)
        shown = [key[-32:] for key, _ in islice(self._kept.scan(_POST + room.encode() + b"\0", newest=True), limit)]
        wanted = dict.fromkeys(shown)
        for root in dict.fromkeys(place.root for hash in shown if (place := self._place(hash))):
            wanted |= dict.fromkeys(self._members(root))
        return self._part(room, wanted), frozenset(hash.hex() for hash in shown)

    def plan_thread(self, room: str) -> RoomState | None:
        """The thread of a room's newest proposal."""
        key, _ = next(self._kept.scan(_PLAN + room.encode() + b"\0", newest=True), (b"", b""))
        place = self._place(key[-32:]) if key else None
        return self._read_thread(place.root) if place else None

    def watched(self, limit: int = MAX_WATCHED) -> Iterator[RoomState]:
        """The threads that may need a person or wait for their proposer, one at a time, the last touched first."""
        for key in [key for key, _ in islice(self._kept.scan(_WATCHED, newest=True), limit)]:
            yield self._read_thread(key[-32:])

    def open_plans(self, author: str, limit: int = MAX_WATCHED) -> Iterator[RoomState]:
        """The threads of an author's proposals with which it hasn't gone ahead, one at a time, the newest proposal first."""
        prefix = _OPEN + author.encode() + b"\0"
        for key in [key for key, _ in islice(self._kept.scan(prefix, newest=True), limit)]:
            place = self._place(key[-32:])
            if place is not None:
                yield self._read_thread(place.root)

    def thread(self, hash: str) -> RoomState | None:
        """The thread that a message is in."""
        place = self._place(bytes.fromhex(hash))
        return self._read_thread(place.root) if place else None

    def root(self, hash: str) -> str:
        """The hash of the first message of the thread that a message is in."""
        place = self._place(bytes.fromhex(hash))
        return place.root.hex() if place else hash

    def post(self, hash: str) -> Post | None:
        """The message with this hash, in whichever room."""
        place = self._place(bytes.fromhex(hash))
        return self._post(bytes.fromhex(hash), place) if place else None

    def posts(self, room: str) -> Iterator[Post]:
        """A room's messages, the newest first."""
        for key, raw in self._kept.scan(_POST + room.encode() + b"\0", newest=True):
            yield _post(key[-32:], _row(raw))

    def hashes(self, room: str) -> list[str]:
        """The hashes of a room's messages, the oldest first."""
        return [key[-32:].hex() for key, _ in self._kept.scan(_POST + room.encode() + b"\0")]

    def canonical(self) -> tuple[object, ...]:
        """The state in a form that is equal exactly when two folds hold the same."""
        index = tuple(key for kind in (_THREAD, _WATCHED, _PLAN, _OPEN) for key, _ in self._kept.scan(kind))
        rooms = tuple(
            (
                room.id,
                tuple((post, root.hash) for post, root in room.roots.items()),
                tuple((post, self.root(post)) for post in sorted(room.posts)),
                tuple(sorted((on, tuple(sorted(p.hash for p in by.values()))) for on, by in room.stances.items())),
                tuple(sorted((plan, tuple(sorted(by))) for plan, by in room.proceeds.items())),
            )
            for _, room in sorted(self.rooms.items())
        )
        return (rooms, index)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _place(self, hash: bytes) -> _Place | None:
        raw = self._kept.get(_PLACE + hash)
        return _place(raw) if raw is not None else None

    def _post(self, hash: bytes, place: _Place) -> Post | None:
        raw = self._kept.get(_POST + place.room.encode() + b"\0" + place.hlc.encode() + hash)
        return _post(hash, _row(raw)) if raw is not None else None

    def _members(self, root: bytes) -> list[bytes]:
        """A thread's first message and its newest ones."""
        found = [key[-32:] for key, _ in islice(self._kept.scan(_MEMBER + root, newest=True), MAX_THREAD_POSTS)]
        return found if root in found else [root, *found]

    def _read_thread(self, root: bytes) -> RoomState:
        known = self._cached.get(root)
        if known is not None:
            return known
        raw = self._kept.get(_THREAD + root)
        thread = self._part(_thread(raw).room if raw is not None else "", self._members(root))
        if self._cached_posts > _CACHED_POSTS:
            self._cached.clear()
            self._cached_posts = 0
        self._cached[root] = thread
        self._cached_posts += len(thread.posts)
        return thread

    def _forget(self, root: bytes) -> None:
        gone = self._cached.pop(root, None)
        if gone is not None:
            self._cached_posts -= len(gone.posts)

    def _part(self, name: str, hashes: Iterable[bytes]) -> RoomState:
        room = RoomState(name, self.participants(name))
        for hash in hashes:
            self._add(room, hash)
        prefix = _PROCEED + name.encode() + b"\0"
        for plan in room.proposals:
            for _, raw in self._kept.scan(prefix + bytes.fromhex(plan)):
                proceed = _proceed(raw)
                room.proceeds[plan][proceed.hash] = proceed
        return room

    def _add(self, room: RoomState, hash: bytes) -> None:
        place = self._place(hash)
        post = self._post(hash, place) if place else None
        if post is not None:
            room.add(post)


class _Rooms(Mapping[str, RoomState]):
    def __init__(self, fold: RoomsFold) -> None:
        self._fold = fold

    def __getitem__(self, room: str) -> RoomState:
        if room not in self:
            raise KeyError(room)
        return self._fold.whole(room)

    def __contains__(self, room: object) -> bool:
        return isinstance(room, str) and self._fold._kept.get(_ROOM + room.encode()) is not None

    def __iter__(self) -> Iterator[str]:
        return self._fold.names()

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _may_need_a_person(data: MessageData) -> bool:
    """Whether a message can make its thread one that people must be told of: by what it asks, or by naming somebody."""
    return data.intent in (Intent.PROPOSAL, Intent.QUESTION, Intent.ESCALATION) or bool(data.mentions)


def _open(author: str, hlc: str, hash: bytes) -> bytes:
    return _OPEN + f"{author}\0{hlc}".encode() + hash


def _post(hash: bytes, row: _Row) -> Post:
    key = EntryKey(row.author, row.epoch, row.seq)
    return Post(hash.hex(), short_id(hash), key, (row.hlc, *key), row.via, row.data)
