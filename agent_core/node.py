"""The composition root: builds the rooms in order, supervises them, shuts down in reverse."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import trio

from agent_core.api import live
from agent_core.api.control import ControlServer, Greeting
from agent_core.api.dispatch import Dispatcher
from agent_core.api.sessions import Sessions
from agent_core.api.slices import SliceHub
from agent_core.blocks.store import BlockStore
from agent_core.clock import wall_ms
from agent_core.errors import ChorusError, StoreDamaged
from agent_core.feeds.schema import watching
from agent_core.feeds.store import Store
from agent_core.home import Home, HomeLock, write_whole
from agent_core.ids import uuid7
from agent_core.roster.model import Kind
from agent_core.roster.settings import invited
from agent_core.settings import Settings, catalogue, default_agent_id, load
from agent_core.shapes import Status, Voters
from agent_core.shhh.door import Door
from agent_core.system import open_files, started_at
from agent_core.telemetry import logs
from agent_core.telemetry.supervisor import Supervisor
from agent_core.text import is_text
from agent_core.version import VERSION

if TYPE_CHECKING:
    from trio_typing import TaskStatus

    from agent_core.assembly import Assembly

log = logging.getLogger("chorus.node")

#: How long a leader that is told to end may take to hand over, and a console's voter to take leave, seconds.
HAND_OVER_S = 3.0
_AUDIT_KEY_BYTES = 32
LEAVE_S = 3.0
#: How often it is looked whether file descriptors run out, seconds.
OPEN_FILES_EVERY_S = 2.0


class Node:
    """One node on one home, from its lock to its last byte.

    Args:
        settings: the settings in force.
        kind: what a new home's identity is made as; an existing one keeps its own.
        owned: started by a face: ends some seconds after the last one leaves (SPEC section 0).
    """

    def __init__(self, settings: Settings, kind: Kind, *, owned: bool) -> None:
        self.settings = invited(settings)
        self.home = Home(settings.home)
        self.kind = kind
        self.stage = "starting"
        self.notes: list[str] = list(settings.warnings)
        self.ports: dict[str, int] = {}
        self.begun = time.monotonic()
        self._stop = trio.Event()
        self._damage: StoreDamaged | None = None
        self.hub = SliceHub()
        self.sessions = Sessions(owned=owned, changed=self._sessions_changed)
        self.supervisor = Supervisor(self._changed)
        self.dispatcher = Dispatcher(self.starting_status)
        self.greeting = Greeting(VERSION, uuid7(wall_ms()))
        self.control = ControlServer(self.home.socket, self.greeting, self.dispatcher, self.hub, self.sessions)
        self.assembly: Assembly | None = None
        live.expect_slices(self.hub)
        live.status_while_starting(self.hub, self.starting_status)

    def _damaged(self, damage: StoreDamaged) -> None:
        """A database isn't what was written, whoever came upon it: the node ends, and is started again on what can be saved."""
        if self._damage is None:
            self._damage = damage
            log.critical("%s", damage)
            self._trio.run_sync_soon(self._stop.set)

    def stop(self) -> None:
        """Ask the node to end cleanly; :meth:`run` returns when it has."""
        self._stop.set()

    async def run(self) -> None:
        """Run until stopped, or until an owned node is abandoned.

        Raises:
            ChorusError: the node can't start; the sentence says why and what to do.
        """
        self.home.create()
        self._trio = trio.lowlevel.current_trio_token()
        databases = (self.home.store, self.home.blocks, self.home.snapshot)
        with HomeLock(self.home), self._files(), watching(databases, self._damaged):
            door = Door(self._audit_key())
            logs.configure(
                self.home.log,
                level=self.settings.values.log.level,
                redact=door.log,
                stderr=not self.sessions.owned,
            )
            log.info("node %s starts on %s", VERSION, self.home.root)
            async with trio.open_nursery() as faces:
                await faces.start(self.hub.run)
                await faces.start(self.control.run)
                self._write_node_file()
                faces.start_soon(self._end_when_abandoned)
                faces.start_soon(self._watch_open_files)
                self.stage = "store"
                with (
                    closing(Store.open(self.home.store)) as store,
                    closing(BlockStore.open(self.home.blocks)) as blocks,
                ):
                    await self._live(store, blocks, door)
                faces.cancel_scope.cancel()
            if self._damage is not None:
                raise self._damage
            log.info("node ended")

    async def _live(self, store: Store, blocks: BlockStore, door: Door) -> None:
        from agent_core.assembly import Assembly

        self.stage = "identity"
        built = self.assembly = Assembly(self, store, blocks, door)
        self.greeting.peer_id = built.identity.peer_id
        try:
            async with trio.open_nursery() as services:
                self.stage = "listening"
                # All made before the first one starts: a port that is taken must be said before a cluster is founded.
                for name, service in tuple(built.services()):
                    await services.start(self.supervisor.run, name, service)
                await built.keep_port()
                self.stage = "up"
                self._write_node_file()
                self.dispatcher.open(built.facade)
                self._changed()
                await self._stop.wait()
                self.stage = "ending"
                if self._damage is None:
                    await self._part(built)
                services.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await built.close()

    async def _part(self, built: Assembly) -> None:
        """Hand over and take leave, so that nobody has to notice by a timeout."""
        with trio.move_on_after(HAND_OVER_S + LEAVE_S):
            try:
                await built.part(HAND_OVER_S, LEAVE_S)
            except ChorusError as exc:
                log.warning("parting: %s", exc)

    async def _end_when_abandoned(self) -> None:
        await self.sessions.abandoned()
        self.stop()

    async def _watch_open_files(self) -> None:
        """Say when connections have to wait for want of file descriptors, and when they don't any more."""
        said = ""
        while True:
            now = open_files()
            if now.short and not said:
                said = (
                    f"The node has {now.used} of {now.limit} files open: new connections wait. "
                    "Raise the limit (`ulimit -n`, LimitNOFILE= of a systemd unit) and start it again."
                )
                self.note(said)
            elif said and not now.short:
                self.settled(said)
                said = ""
            await trio.sleep(OPEN_FILES_EVERY_S)

    def starting_status(self) -> Status:
        """How the node stands while its rooms are being built."""
        values = self.settings.values
        return Status(
            peer_id=self.greeting.peer_id,
            agent_id=values.agent.id or default_agent_id(self.kind.value),
            role=values.agent.role,
            kind=self.kind.value,
            authority="",
            network=values.cluster.network,
            cluster_id="",
            leader=None,
            term=0,
            state="idle",
            stage=self.stage,
            voters=Voters(),
            peers=0,
            addresses=(),
            entries=0,
            uptime_s=self.uptime_s,
            version=VERSION,
            home=str(self.home.root),
            mode=self.sessions.mode,
            sessions=len(self.sessions),
            notes=tuple(self.notes),
        )

    def reload(self) -> None:
        """Read the settings again; says what can't change while the node runs (SPEC section 17)."""
        old = self.settings
        try:
            new = invited(load(old.home, old.flags))
            if self.assembly is not None:
                self.assembly.reload_roles()
        except ChorusError as exc:
            self.note(f"The settings were not reloaded: {exc}")
            return
        logging.getLogger().setLevel(new.values.log.level.upper())
        changed = [
            s.name for s in catalogue() if new.value(s.name) != old.value(s.name) and not s.name.startswith("log.")
        ]
        self.settings = new
        if changed:
            self.note(f"Changed settings that need a restart: {', '.join(changed)}.")

    @property
    def uptime_s(self) -> float:
        return round(time.monotonic() - self.begun, 3)

    def note(self, sentence: str) -> None:
        """Tell the person something; the same sentence once."""
        if sentence and sentence not in self.notes:
            self.notes.append(sentence)
            del self.notes[:-20]
            log.warning("%s", sentence)
            self._changed()

    def settled(self, sentence: str) -> None:
        """What the person was told is no longer so."""
        if sentence in self.notes:
            self.notes.remove(sentence)
            log.info("no longer so: %s", sentence)
            self._changed()

    def _changed(self) -> None:
        self.hub.mark("status", "attention")

    def _sessions_changed(self) -> None:
        if self.assembly is not None:
            self.assembly.sessions_changed()
        self._changed()

    # --- files in the home --------------------------------------------------------------------------------------------

    @contextmanager
    def _files(self) -> Iterator[None]:
        """``run/node.json`` while the node is up; ``run/failure.json`` after a start that failed."""
        self.home.failure.unlink(missing_ok=True)
        try:
            yield
        finally:
            self.home.node_file.unlink(missing_ok=True)

    def _write_node_file(self) -> None:
        content = {
            "pid": os.getpid(),
            "start_time": started_at(),
            "version": VERSION,
            "mode": self.sessions.mode,
            "ports": self.ports,
            # A runtime directory of another encoding can't stand in JSON; who looks for the socket finds it by itself then.
            "socket": str(self.control.path) if is_text(str(self.control.path)) else "",
            "log": str(self.home.log),
        }
        write_whole(self.home.node_file, json.dumps(content).encode())

    def _audit_key(self) -> bytes:
        """The key of SHHH's audit hashes, kept in the home so that equal secrets can be told apart from others."""
        path = self.home.root / "shhh.key"
        key = path.read_bytes() if path.exists() else b""
        if len(key) < _AUDIT_KEY_BYTES:  # new, or cut off: a shorter one could be guessed
            key = os.urandom(_AUDIT_KEY_BYTES)
            write_whole(path, key)
        return hashlib.sha256(b"chorus-hap shhh audit v1\n" + key).digest()


async def run(settings: Settings, kind: Kind, *, owned: bool, notes: Sequence[str] = ()) -> None:
    """Run a node until SIGTERM or SIGINT, or until an owned one is abandoned. SIGHUP reads the settings again.

    Args:
        settings: the settings in force.
        kind: what a new home's identity is made as.
        owned: a face started it.
        notes: what a person should read first.

    Raises:
        StoreDamaged: a database was found damaged, now or while it ran.
        ChorusError: it can't start.
    """
    node = Node(settings, kind, owned=owned)
    node.notes += notes
    async with trio.open_nursery() as nursery:
        await nursery.start(_heed_signals, node)
        await node.run()
        nursery.cancel_scope.cancel()


async def _heed_signals(node: Node, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    heeded = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    with trio.open_signal_receiver(*heeded) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, heeded)  # those that came before
        task_status.started()
        async for number in signals:
            if number == signal.SIGHUP:
                node.reload()
            else:
                node.stop()
