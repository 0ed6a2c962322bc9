"""Messages to rooms: which messages a room has, how they hang together, who stands where. A pure function of the set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

from agent_core.feeds.model import Entry
from agent_core.hmmm.model import HMMM_MESSAGE, HMMM_PROCEED, Intent, MessageData, Post, Proceed, ProceedData
from agent_core.requests import OperationIndex


class RoomState:
    """One room: its messages and among them its proposals, by hash, and the ``proceed`` entries by the plan they name.

    What is derived from the messages is kept until the next one comes: views ask far more often than that.
    """

    def __init__(self, id: str) -> None:
        self.id = id
        self.posts: dict[str, Post] = {}
        self.proposals: dict[str, Post] = {}
        self.proceeds: dict[str, dict[str, Proceed]] = defaultdict(dict)

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


class RoomsFold:
    """All rooms. Implements :class:`agent_core.feeds.model.Fold`."""

    def __init__(self) -> None:
        self.rooms: dict[str, RoomState] = {}
        self.operations = OperationIndex()

    def apply(self, entries: Iterable[Entry]) -> None:
        """Take entries in; other types and unreadable data are skipped, repeats change nothing."""
        for entry in entries:
            if entry.header.type == HMMM_MESSAGE:
                self._message(entry)
            elif entry.header.type == HMMM_PROCEED:
                self._proceed(entry)

    def _message(self, entry: Entry) -> None:
        data = entry.data(MessageData)
        if data is None:
            return
        room = self._room(data.room)
        hash = entry.hash.hex()
        if hash not in room.posts:
            room.add(Post(hash, entry.id, entry.key, entry.order, entry.header.via, data))
            self.operations.add(entry)

    def _proceed(self, entry: Entry) -> None:
        data = entry.data(ProceedData)
        if data is not None:
            hash = entry.hash.hex()
            self._room(data.room).proceeds[data.plan][hash] = Proceed(hash, entry.key, entry.order, data)
            self.operations.add(entry)

    def _room(self, id: str) -> RoomState:
        if id not in self.rooms:
            self.rooms[id] = RoomState(id)
        return self.rooms[id]

    def post(self, hash: str) -> Post | None:
        """The message with this hash, in whichever room."""
        return next((room.posts[hash] for room in self.rooms.values() if hash in room.posts), None)

    def canonical(self) -> tuple[object, ...]:
        """The state in a form that is equal exactly when two folds hold the same."""
        return tuple(
            (
                room.id,
                tuple((post, root.hash) for post, root in room.roots.items()),
                tuple(sorted((on, tuple(sorted(p.hash for p in by.values()))) for on, by in room.stances.items())),
                tuple(sorted((plan, tuple(sorted(by))) for plan, by in room.proceeds.items())),
            )
            for _, room in sorted(self.rooms.items())
        )
