"""``doctor``: looks at everything around a node that can be wrong, and says what to do about each."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import typer

from agent_core.errors import ChorusError
from agent_core.home import Home
from agent_core.modes import readable_by_others
from agent_core.strict_json import UNREADABLE
from agent_core.system import PROC
from chorus_hap.cli.output import Cell
from chorus_hap.cli.run import Run, here
from chorus_hap.patience import Patience

_MARKS = {"ok": ("ok", "good"), "warn": ("warn", "warn"), "fail": ("fail", "bad")}
MIN_FREE_BYTES = 200 * 1024 * 1024
#: How long a node is waited for at most, how much of all the time at most, and how long any step may take at least, seconds.
NODE_S, NODE_SHARE, LEAST_S = 5.0, 0.8, 0.05
#: Files that are named at most.
MAX_NAMED = 12
MIN_COLUMNS, MIN_LINES = 80, 24
#: The program was released after this; a clock before it is wrong.
_NOT_BEFORE = 1_750_000_000


class Check(msgspec.Struct, frozen=True):
    """One thing looked at. ``verdict`` is ok, warn or fail; ``next`` says what to do."""

    name: str
    verdict: str
    text: str
    next: str = ""


def doctor(context: typer.Context) -> int:
    """Look for trouble; exit 1 when something fails."""
    run = here(context)
    checks = [
        msgspec.structs.replace(check, text=run.out.here(check.text), next=run.out.here(check.next))
        for check in examine(run)
    ]
    bad = any(check.verdict == "fail" for check in checks)
    if run.out.json:
        run.out.data({"ok": not bad, "checks": checks})
        return int(bad)
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark, role = _MARKS[check.verdict]
        run.out.line(Cell(f"{mark:<4}", role), f"  {check.name.ljust(width)}  {check.text}")
        if check.next:
            run.out.line(Cell(f"{'':4}  {'':{width}}  {check.next}", "dim"))
    return int(bad)


def examine(run: Run) -> Iterator[Check]:
    """All checks, in the order a person would look."""
    home = Home(run.home)
    running = False

    def settings() -> Iterable[Check]:
        return _settings(run, running=running)

    def outside() -> Iterable[Check]:
        return _outside(run, home, running=running)

    steps: tuple[tuple[str, Callable[[], Check | Iterable[Check]]], ...] = (
        ("python", _python),
        ("home", lambda: _home(home)),
        ("files", lambda: _permissions(home)),
        ("disk", lambda: _disk(home)),
        ("clock", _clock),
        ("node", lambda: _node(run)),
        ("settings", settings),
        ("outside", outside),
        ("terminal", _terminal),
        ("encoding", _encoding),
    )
    for name, step in steps:
        for check in _bounded(name, step, run.patience):
            yield check
            running |= check.name == "node" and check.text.startswith("answers")


def _bounded(name: str, step: Callable[[], Check | Iterable[Check]], patience: Patience) -> list[Check]:
    """What a step found, or that it took too long: a disk, a name server or a node may never answer."""
    found: list[Check] = []
    failed: list[Exception] = []

    def look() -> None:
        try:
            given = step()
            found.extend([given] if isinstance(given, Check) else given)
        except Exception as exc:  # whatever is wrong with a machine, the other steps are looked at
            failed.append(exc)

    looking = threading.Thread(target=look, name=name, daemon=True)
    looking.start()
    looking.join(max(patience.left_s(), LEAST_S))
    if failed:
        what = failed[0].message if isinstance(failed[0], ChorusError) else f"{type(failed[0]).__name__}: {failed[0]}"
        return [*found, Check(name, "fail", f"it can't be looked at: {what}")]
    if looking.is_alive():
        text = f"it wasn't to be found out within {patience.total_s:g} s"
        return [Check(name, "fail", text, "Give it more time with --timeout; look at disks and name servers.")]
    return found


def _python() -> Check:
    return Check("python", "ok", f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}")


def _home(home: Home) -> Check:
    root = home.root
    if not root.exists():
        above = next(p for p in root.absolute().parents if p.exists())
        if os.access(above, os.W_OK):
            return Check("home", "ok", f"{root} isn't there yet and can be made")
        return Check("home", "fail", f"{root} can't be made: {above} isn't writable", "Name another one with --home.")
    if not root.is_dir():
        return Check("home", "fail", f"{root} is no directory", "Move it away, or name another home with --home.")
    if _mounted_read_only(root):
        return Check(
            "home", "fail", f"{root} is on a file system that can only be read: what is in it can be looked at, no node can run on it",
            "Mount it for writing, or name another with --home.",
        )  # fmt: skip
    if not os.access(root, os.W_OK | os.X_OK):
        return Check("home", "fail", f"{root} isn't writable", "Mend its permissions, or name another with --home.")
    return Check("home", "ok", str(root))


def _mounted_read_only(root: Path) -> bool:
    try:
        return bool(os.statvfs(root).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _permissions(home: Home) -> Iterator[Check]:
    yield from _keys(home)
    if not home.root.is_dir():
        return
    try:
        found = readable_by_others(home.root)
    except OSError as exc:
        yield Check(
            "files", "fail", f"{exc.filename or home.root} can't be looked at: {exc.strerror}", "Mend its permissions."
        )
        return
    if not found:
        yield Check("files", "ok", "only you can read the home and what is in it")
        return
    names = [str(path.relative_to(home.root)) if path != home.root else str(path) for path in found]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    yield Check(
        "files",
        "fail",
        f"readable by others: {', '.join(names[:MAX_NAMED])}{more}",
        f"`chmod -R go-rwx {shlex.quote(str(home.root))}` mends it; so does a node when it starts, where the home is yours.",
    )


def _keys(home: Home) -> Iterator[Check]:
    secret = [home.identity, *sorted(home.identity.glob("*")), home.token]
    open_ = [path for path in secret if _readable_by_others(path)]
    if open_:
        names = " ".join(map(str, open_))
        yield Check("keys", "fail", f"readable by others: {names}", f"chmod go-rwx {names}")
    elif home.identity.is_dir() and any(home.identity.iterdir()):
        yield Check("keys", "ok", "only you can read them")
    else:
        yield Check("keys", "ok", "none yet: the first start makes them")


def _readable_by_others(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False


def _disk(home: Home) -> Check:
    place = next(p for p in (home.root.absolute(), *home.root.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.1f} GB free"
    if free < MIN_FREE_BYTES // 20:
        return Check("disk", "fail", text, "Free some space: nothing more can be stored.")
    return Check(
        "disk",
        "ok" if free >= MIN_FREE_BYTES else "warn",
        text,
        "" if free >= MIN_FREE_BYTES else "Free some space soon.",
    )


def _clock() -> Check:
    if time.time() < _NOT_BEFORE:
        return Check("clock", "fail", f"it is {time.strftime('%Y-%m-%d')} here", "Set the clock; run an NTP client.")
    return Check("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S %Z"))


def _node(run: Run) -> Check:
    from agent_core.shapes import Status
    from chorus_hap.link import Link, find
    from chorus_hap.starting import why_silent

    home = Home(run.home)
    # Most of the time and not all: what is found out about a silent node has to be said within it, too.
    patience = Patience(min(NODE_S, NODE_SHARE * run.patience.left_s()))
    held = "a process holds the home's lock, but: "
    try:
        connection = find(home, patience)
        if connection is None and not _locked(home):
            return _stored(run) or Check("node", "ok", "none runs on this home")
        if connection is None:
            return Check("node", "fail", f"{held}it doesn't answer.", "Look at log/node.jsonl; end it if it hangs.")
        held = ""
        with Link(connection, patience=patience) as link:
            status = link.ask(Status, "status")
    except ChorusError as exc:
        why, advice = why_silent(home)
        return Check(
            "node", "fail", why or f"{held}{exc.message}", advice or "Look at log/node.jsonl; end it if it hangs."
        )
    text = f"answers: {status.agent_id}, {status.stage}, {status.mode}"
    if status.ahead is not None:
        return Check("node", "fail", f"{text}; {status.ahead.text}", status.ahead.next)
    if abs(status.clock_skew_s) > 10:
        return Check(
            "node", "warn", f"{text}; its clock is {status.clock_skew_s:+.0f} s off the others'", "Run an NTP client."
        )
    if status.notes:
        return Check("node", "warn", text, " ".join(status.notes))
    return Check("node", "ok", ", ".join([text, *(doing.brief for doing in status.underway)]))


def _stored(run: Run) -> Check | None:
    """What the store says of a home that no node runs on: whether its log is ahead of the clock."""
    from agent_core.api.offline import Offline
    from agent_core.shapes import Status

    try:
        with Offline(Home(run.home)) as offline:
            status: Status = offline.call("status")
    except ChorusError:
        return None  # nothing there yet, or what is wrong with it is another check's
    if status.ahead is None:
        return None
    return Check("node", "fail", f"none runs on this home; {status.ahead.text}", status.ahead.next)


def _locked(home: Home) -> bool:
    """Whether a process holds the lock, by the kernel's list: trying it could make a node that starts just now fail."""
    try:
        inode = (home.run / "lock").stat().st_ino
        return any(
            line.split()[5].rsplit(":", 1)[1] == str(inode) for line in (PROC / "locks").read_text().splitlines()
        )
    except (OSError, IndexError):
        return False


def _settings(run: Run, *, running: bool) -> Iterator[Check]:
    from agent_core.settings import load

    try:
        settings = load(run.home, run.options.settings())
    except ChorusError as exc:
        yield Check("settings", "fail", exc.message, exc.next)
        return
    verdict = "warn" if settings.warnings else "ok"
    yield Check("settings", verdict, "config.toml and environment read", " ".join(settings.warnings))
    if running:
        return
    for name in ("p2p", "api", "health", "metrics"):
        section = getattr(settings.values, name)
        port, host = section.port, settings.values.p2p.host if name == "p2p" else settings.values.http.host
        if port in (0, "off") or _free(host, port):
            continue
        asked = settings.asked_for(f"{name}.port")
        next_step = f"Set {name}.port to another one." if asked else "A free one is taken in its place."
        yield Check(f"{name} port", "fail" if asked else "warn", f"{port} is in use", next_step)


def _outside(run: Run, home: Home, *, running: bool) -> Iterator[Check]:
    """What others than this machine reach: of a node that runs by the kernel's word, since its environment isn't this one's."""
    from agent_core.settings import load
    from chorus_hap.cli import outside
    from chorus_hap.starting import NodeFile

    try:
        if running:
            node = msgspec.json.decode(home.node_file.read_bytes(), type=NodeFile)
            found = outside.of_process(node.pid, node.ports)
        else:
            found = outside.of_settings(load(run.home, run.options.settings()))
    except (OSError, ChorusError, *UNREADABLE):
        return  # said above, or it ended just now
    bare, text, advice = outside.words(found)
    yield Check(
        "reachable from outside", "warn" if bare else "ok", text if running else f"once a daemon runs: {text}", advice
    )


def _free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _terminal() -> Check:
    if not sys.stdout.isatty():
        return Check("terminal", "ok", "output isn't a terminal")
    columns, lines = shutil.get_terminal_size()
    if columns < MIN_COLUMNS or lines < MIN_LINES:
        return Check("terminal", "warn", f"{columns}×{lines}", f"The console wants {MIN_COLUMNS}×{MIN_LINES} or more.")
    return Check("terminal", "ok", f"{columns}×{lines}")


def _encoding() -> Check:
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if encoding == "utf8":
        return Check("encoding", "ok", "UTF-8")
    return Check("encoding", "warn", sys.stdout.encoding or "unknown", "Set LANG=C.UTF-8, or console.ascii = true.")
