"""``chorus-hap --daemon``: the node, headless; also what a face starts as its owned node."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable
from contextlib import suppress

from agent_core.errors import ChorusError, HomeInUse, StoreDamaged, StoreError
from agent_core.home import Home, write_whole
from agent_core.settings import home_of, load
from chorus_hap.flags import Launch
from chorus_hap.streams import say


def run_daemon(launch: Launch) -> int:
    """Run a node in this process until it is told to end.

    A start that fails leaves its sentence in ``run/failure.json``, where the face that started it finds it.

    Args:
        launch: the flags.

    Returns:
        the exit status (SPEC section 16); 5 when another process has the home.
    """
    # Signals wait until the node heeds them, so that one which comes during the imports ends it cleanly too.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    home = Home(home_of(launch.home))
    try:
        settings = load(launch.home, launch.settings)
        # A second starter of the same home ends before it imports what takes a second.
        import trio

        from agent_core.node import run
        from agent_core.roster.model import Kind
        from agent_core.telemetry.logs import catch_strays

        notes: list[str] = []

        async def node() -> None:
            await run(settings, Kind(launch.kind or "agent"), owned=launch.owned, notes=notes)

        catch_strays()
        while (failed := _ended(home, lambda: trio.run(node))) is not None:
            if not isinstance(failed, StoreDamaged) or len(notes) == MENDED_AT_MOST:
                return _failed(home, failed)
            from agent_core.mending import mend

            notes.append(str(mend(home, failed)))
            say(f"chorus-hap: {notes[-1]}")
    except ChorusError as exc:
        return _failed(home, exc)
    return 0


#: Databases put aside in one life of the process; when more are damaged the disk is.
MENDED_AT_MOST = 4


def _ended(home: Home, node: Callable[[], None]) -> ChorusError | None:
    """Run a node to its end; why it failed, if it did."""
    try:
        node()
    except BaseExceptionGroup as group:
        return _reason(home, group)
    except ChorusError as exc:
        return exc
    return None


def _reason(home: Home, group: BaseExceptionGroup[BaseException]) -> ChorusError:
    """The one sentence in what came out of the nurseries; where anything unforeseen came from goes to the log."""
    expected = group.subgroup(StoreDamaged) or group.subgroup(ChorusError)
    error: BaseException = expected or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ChorusError):
        return error
    if logging.getLogger().hasHandlers():  # else it would go to the person
        logging.getLogger("chorus.node").critical("the node stopped", exc_info=group)
    if isinstance(error, OSError):
        what = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        return StoreError(
            f"The node on {home.root} stopped: {what}.",
            "Free space, mend permissions, or name another home with --home.",
        )
    return ChorusError(f"The node stopped: {type(error).__name__}: {error}.", f"{home.log} says more.")


def _failed(home: Home, error: ChorusError) -> int:
    say(f"chorus-hap: {error}")
    # Another node's home isn't ours to write in, and one that was never made isn't made for a failure.
    if home.root.is_dir() and not isinstance(error, HomeInUse):
        with suppress(ChorusError, OSError):
            home.run.mkdir(mode=0o700, exist_ok=True)
            write_whole(home.failure, json.dumps(error.to_dict()).encode())
    return error.exit_code
