"""``chorus-hap --daemon``: the node, headless; also what a face starts as its owned node."""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import suppress

from agent_core.errors import ChorusError, HomeInUse
from agent_core.home import Home, write_whole
from agent_core.settings import load
from chorus_hap.flags import Launch


def run_daemon(launch: Launch) -> int:
    """Run a node in this process until it is told to end.

    A start that fails leaves its sentence in ``run/failure.json``, where the face that started it finds it.

    Args:
        launch: the flags.

    Returns:
        the exit status (SPEC section 16); 5 when another process has the home.
    """
    home: Home | None = None
    try:
        settings = load(launch.home, launch.settings)
        home = Home(settings.home)
        # A second starter of the same home ends before it imports what takes a second.
        import trio

        from agent_core.node import run
        from agent_core.roster.model import Kind

        async def node() -> None:
            await run(settings, Kind(launch.kind or "agent"), owned=launch.owned)

        trio.run(node)
    except BaseExceptionGroup as group:
        return _failed(home, _reason(group))
    except ChorusError as exc:
        return _failed(home, exc)
    return 0


def _reason(group: BaseExceptionGroup[BaseException]) -> ChorusError:
    """The one sentence in what came out of the nurseries; anything unforeseen goes to the log as well."""
    expected = group.subgroup(ChorusError)
    error: BaseException = expected or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ChorusError):
        return error
    traceback.print_exception(group)
    return ChorusError(f"The node stopped: {type(error).__name__}: {error}.", "Its log says more.")


def _failed(home: Home | None, error: ChorusError) -> int:
    print(f"chorus-hap: {error}", file=sys.stderr)
    # Another node's home isn't ours to write in.
    if home is not None and not isinstance(error, HomeInUse):
        with suppress(ChorusError, OSError):
            home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(home.failure, json.dumps(error.to_dict()).encode())
    return error.exit_code
