"""Kills a process that appends, again and again at random instants, and checks from outside that nothing acknowledged is lost.

    python -m tests.crash [--kills 200] [--seed N] [--full]

With ``--full`` its disk is filled meanwhile, too: it stays in a small file system in a mount namespace of its own, which needs
root and is gone with the process. Prints JSON; exit 1 and one sentence when something is wrong. The seed decides when to kill, so
that a run can be tried again, though never repeated exactly.

Checked after every kill: all that was acknowledged is there, at its place and the same; every head that was signed and left for
the peers is a prefix of what is held, and so is what was held before; no new epoch was needed. At the end: sequence without a
gap, no operation twice, every hash, signature and body (``log verify``).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import selectors
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from agent_core.errors import ChorusError
from agent_core.feeds.store import Store
from agent_core.identity.signing import Ed25519Signer
from tests.crash import appender

KILLS = 200
#: A life's length at most, seconds: of some from the fork on, so that they end while the store is being opened, of the
#: others from when it is open, so that on the slowest machine most lives end in the middle of their work.
LIFE_S = 0.3
_ENDS_EARLY = 0.3
#: How long a process may take until it appends, refuses, or goes on, seconds.
PATIENCE_S = 30.0
#: Room for a store that grows all the time, MiB: it must be full because it is filled.
FULL_MIB = 256
_REPEATED = 8
# mount(2), unshare(2), umount2(2)
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x20000, 0x4000, 1 << 18, 2


class Wrong(Exception):
    """Something that must never be."""


class Life:
    """One life of the appending process: forked, so that it begins at once, with what it says on a pipe."""

    def __init__(self, home: Path, repeat: tuple[str, ...], seed: int) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(writing, 1)
            os.closerange(3, 64)
            os._exit(appender.main(home, repeat, seed))
        os.close(writing)
        self._pipe = reading
        self._rest = b""
        self._watch = selectors.DefaultSelector()
        self._watch.register(reading, selectors.EVENT_READ)
        self.ended = False

    def read(self, seconds: float) -> list[list[str]]:
        """What it says within some seconds, as soon as it says something."""
        if self.ended or not self._watch.select(seconds):
            return []
        data = os.read(self._pipe, 1 << 20)
        self.ended = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode().split(" ", 3) for line in lines]

    def kill(self) -> list[list[str]]:
        """End it at this instant; the rest of what it said."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        said = []
        while not self.ended:
            said += self.read(PATIENCE_S)
        self._watch.close()
        os.close(self._pipe)
        return said


class Checker:
    """What the outside world was told, and whether the store keeps it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.me = Ed25519Signer(appender.SEED).peer_id
        self.acked: dict[int, tuple[str, str]] = {}
        self.heads: dict[int, str] = {}
        self.refusals: set[str] = set()
        self.refused = self.lives = 0
        self.trouble = ""
        self._unchecked: list[int] = []
        self._held = 0

    @property
    def last_ops(self) -> tuple[str, ...]:
        return tuple(op for _, op in list(self.acked.values())[-_REPEATED:])

    def hear(self, said: list[list[str]]) -> None:
        """Take what a life said."""
        for line in said:
            match line:
                case ["A", seq, hash, op]:
                    known = self.acked.setdefault(int(seq), (hash, op))
                    if known != (hash, op):
                        raise Wrong(f"entry {seq} was acknowledged as {known} and as {(hash, op)}")
                    self._unchecked.append(int(seq))
                case ["P", size, root]:
                    if self.heads.setdefault(int(size), root) != root:
                        raise Wrong(f"two heads of size {size} were signed: the feed forked")
                case ["O", epoch, *why]:
                    self.lives += 1
                    if int(epoch) != 0 or "".join(why):
                        raise Wrong(f"the home takes itself for restored: {why}")
                case ["E", *words]:
                    self.refused += 1
                    self.refusals.add(" ".join(words))
                case ["D", *words]:
                    self.trouble = " ".join(words)
                case _:
                    raise Wrong(f"it says {line}")

    def look(self) -> None:
        """Compare the store with what was told, after a kill."""
        if not (self.home / appender.STORE).exists():
            if self.acked:
                raise Wrong("the store is gone")
            return
        try:
            store = Store.open(self.home / appender.STORE)
        except ChorusError as exc:
            raise Wrong(f"the store doesn't open by itself: {exc}") from exc
        try:
            head = store.head(self.me, 0)
            if head.size < self._held:
                raise Wrong(f"{self._held} entries were held, and now {head.size}")
            for size, root in self.heads.items():
                found = store.root_at(self.me, 0, size)
                if found is None or found.hex() != root:
                    raise Wrong(f"the head of size {size} that was signed is no prefix of what is held")
            for seq in self._unchecked:
                entry = next(store.entries(self.me, 0, seq, seq + 1), None)
                if entry is None:
                    raise Wrong(f"entry {seq} was acknowledged and is not there")
                if (entry.hash.hex(), entry.header.op) != self.acked[seq]:
                    raise Wrong(f"entry {seq} is another than was acknowledged")
            self._unchecked.clear()
            # What was held stays a prefix: two heads are enough to hold all others to it.
            self.heads = {size: self.heads[size] for size in sorted(self.heads)[-1:]} | {head.size: head.root}
            self._held = head.size
        finally:
            store.close()

    def last(self) -> dict[str, object]:
        """Everything once more, from the bytes."""
        store = Store.open(self.home / appender.STORE)
        try:
            ops = set()
            size = 0
            for seq, entry in enumerate(store.entries(self.me, 0)):
                if entry.header.seq != seq or entry.header.op in ops:
                    raise Wrong(f"entry {seq} is out of order, or its operation was carried out twice")
                if seq in self.acked and self.acked[seq] != (entry.hash.hex(), entry.header.op):
                    raise Wrong(f"entry {seq} is another than was acknowledged")
                ops.add(entry.header.op)
                size += 1
            if self.acked and max(self.acked) >= size:
                raise Wrong("acknowledged entries are missing at the end")
            found = store.verify()
            if not found.ok or found.forks or len(store.heads()) != 1:
                raise Wrong(f"log verify: {found}")
            return {"entries": size, "acknowledged": len(self.acked), "verified": found.ok}
        finally:
            store.close()


def kill_often(home: Path, kills: int, rng: random.Random) -> Checker:
    """Lives that end at random instants."""
    checker = Checker(home)
    for _ in range(kills):
        life = Life(home, checker.last_ops, rng.getrandbits(64))
        early, lasts_s = rng.random() < _ENDS_EARLY, rng.uniform(0, LIFE_S)
        try:
            if not early:
                checker.hear(life.read(PATIENCE_S))
            end = time.monotonic() + lasts_s
            while (left := end - time.monotonic()) > 0 and not life.ended:
                checker.hear(life.read(left))
        finally:
            rest = life.kill()
        checker.hear(rest)
        checker.look()
        if checker.refused:
            raise Wrong(f"an append was refused: {checker.refusals}")
    return checker


def kill_on_a_full_disk(home: Path, kills: int, rng: random.Random) -> Checker:
    """Lives in which the disk fills up; some are killed while it is full, the others must go on by themselves."""
    checker, filler = Checker(home), home / "filler"
    for _ in range(kills):
        life = Life(home, checker.last_ops, rng.getrandbits(64))
        try:
            _until(life, checker, lambda: len(checker.acked), "appends")
            _fill(filler)
            _until(life, checker, lambda: checker.refused, "refuses")
            if rng.random() < 0.5:
                checker.hear(life.read(rng.uniform(0, LIFE_S)))
                rest = life.kill()
                checker.hear(rest)
                # A start on the full disk works, or says why in words; it never loses anything.
                life = Life(home, (), rng.getrandbits(64))
                _until(life, checker, lambda: checker.refused, "says that the disk is full")
            filler.unlink()
            if life.ended:
                life.kill()
                checker.trouble = ""  # a life that begins well has nothing to take back
                life = Life(home, checker.last_ops, rng.getrandbits(64))
            _until(life, checker, lambda: len(checker.acked), "goes on by itself")
            _until(life, checker, lambda: not checker.trouble, "says that the disk is well", change=False)
        finally:
            filler.unlink(missing_ok=True)
            rest = life.kill()
        checker.hear(rest)
        checker.look()
        checker.trouble = ""
    strange = [r for r in checker.refusals if "disk" not in r or ("acknowledged" not in r and "Check" not in r)]
    if strange or not checker.refusals:
        raise Wrong(f"a full disk was called: {checker.refusals}")
    return checker


def _until(life: Life, checker: Checker, what: Callable[[], object], words: str, *, change: bool = True) -> None:
    """Listen until a figure grows (or just holds)."""
    before, end = what(), time.monotonic() + PATIENCE_S
    while (what() == before) if change else not what():
        if time.monotonic() > end:
            raise Wrong(f"it never {words}; it said {checker.refusals}")
        checker.hear(life.read(0.2))
        if life.ended and what() == before:
            raise Wrong(f"it ended before it {words}; it said {checker.refusals}")


def _fill(path: Path) -> None:
    """Take all the space there is."""
    with path.open("ab", buffering=0) as file:
        for piece in (1 << 20, 1 << 12):
            with suppress(OSError):
                while file.write(bytes(piece)):
                    pass


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A small file system on a folder, seen by this process and its children only: it is gone with them, whatever happens."""
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), "there is no file system of its own: that needs root")

    check(libc.unshare(_CLONE_NEWNS))
    check(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
    check(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={FULL_MIB}m".encode()))
    try:
        yield
    finally:
        check(libc.umount2(os.fsencode(folder), _MNT_DETACH))


def main() -> int:
    """Kill, check, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    began = time.perf_counter()
    result: dict[str, object] = {"kills": args.kills, "seed": args.seed, "full_disk": args.full}
    with tempfile.TemporaryDirectory(prefix="chorus-crash-") as place:
        home = Path(place)
        try:
            with _small_disk(home) if args.full else nullcontext():
                work = kill_on_a_full_disk if args.full else kill_often
                checker = work(home, args.kills, random.Random(args.seed))
                result |= checker.last() | {"lives_that_opened": checker.lives, "refused": checker.refused}
        except Wrong as exc:
            print(f"seed {args.seed}: {exc}", file=sys.stderr)
            return 1
    print(json.dumps(result | {"seconds": round(time.perf_counter() - began, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
