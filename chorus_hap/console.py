"""Starting the console: the node first, Textual while it comes up, then the screen until it is left."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_core.errors import ChorusError, InvalidInput
from agent_core.home import Home
from chorus_hap.flags import Launch

if TYPE_CHECKING:
    from agent_core.settings import Settings
    from chorus_hap.app import Options
    from chorus_hap.link import Starting
    from chorus_hap.wizard.dialogs import FirstRun


#: How the node that the console starts gets the ticket: command lines can be read by others.
_TICKET = "CHORUS_CLUSTER_TICKET"


def run_console(launch: Launch) -> int:
    """Run the console on a home, with a node of its own or the one that runs there already.

    Args:
        launch: how it was asked for; a home without identity is asked for name, role and network first.

    Returns:
        the exit status.

    Raises:
        ChorusError: the settings are wrong, or there is no terminal.
    """
    from agent_core.settings import load

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInput(
            "The console needs a terminal.",
            "Use `chorus-hap status` and the other commands in scripts, or `chorus-hap --daemon`.",
        )
    ticket = launch.settings.pop("cluster.ticket", None)
    if ticket:
        os.environ[_TICKET] = str(ticket)
    settings = load(launch.home, launch.settings)
    home = Home(settings.home)
    fresh = not home.identity.exists() or not any(home.identity.iterdir())
    words = _node_words(launch, fresh)
    starting = None if fresh and not home.node_file.exists() else _start(home, words)

    # Everything heavy comes after the node was spawned: it starts while Textual is imported.
    from chorus_hap.app import ConsoleApp
    from chorus_hap.source_link import LinkSource
    from chorus_hap.store import Store

    read_only = launch.read_only or settings.values.console.read_only
    answers: dict[str, str] = {}

    def flags() -> list[str]:
        out = list(words)
        for name, value in answers.items():
            out += ["--set", f"{name}={value}"]
        return out

    source = LinkSource(settings.home, flags, read_only, starting)
    app = ConsoleApp(Store(), source, _options(settings, launch, fresh and starting is None, read_only, answers))
    result = app.run()
    if result == "left":
        sys.stderr.write(f"The node goes on; `chorus-hap --home {settings.home}` attaches to it again.\n")
    return 1 if result == "failed" or app.return_code else 0


def _node_words(launch: Launch, fresh: bool) -> list[str]:
    return Launch(kind=launch.kind or ("human" if fresh else None), settings=launch.settings).argv()


def _start(home: Home, words: list[str]) -> Starting | None:
    """Spawn the node unless one answers; what goes wrong is shown by the console, with retry."""
    from chorus_hap.link import Starting, find

    try:
        connection = find(home)
        if connection is None:
            return Starting(home, words)
        connection.close()
    except ChorusError:
        pass
    return None


def _options(settings: Settings, launch: Launch, first_run: bool, read_only: bool, answers: dict[str, str]) -> Options:
    from agent_core.settings import default_agent_id
    from chorus_hap.app import Options
    from chorus_hap.wizard.dialogs import FirstRun

    values = settings.values
    proposal = FirstRun(
        values.agent.id or default_agent_id(launch.kind or "human"),
        values.agent.role or "operator",
        values.cluster.network,
        values.cluster.ticket,
    )

    def accept(given: FirstRun) -> None:
        if given.ticket:
            os.environ[_TICKET] = given.ticket
        answers.update({"agent.id": given.name, "agent.role": given.role, "cluster.network": given.network})
        remember(settings.home, given)

    async def run(words: tuple[str, ...]) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "chorus_hap", *words, *_command_flags(settings.home, words, read_only),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ, NO_COLOR="1", COLUMNS="100"),
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    return Options(
        home=settings.home,
        theme=values.console.theme,
        ascii=values.console.ascii or "utf" not in (sys.stderr.encoding or "").lower(),
        read_only=read_only,
        keys=dict(values.console.keys),
        run=run,
        setup=proposal if first_run else None,
        on_setup=accept,
        load_offline=lambda: offline(settings.home),
    )


def _command_flags(home: Path, words: tuple[str, ...], read_only: bool) -> list[str]:
    flags = [] if "--home" in words else ["--home", str(home)]
    return [*flags, *(["--read-only"] if read_only else [])]


def remember(home: Path, given: FirstRun) -> None:
    """Write the first run's answers into a new home's settings file; one that is there already is left alone.

    Raises:
        StoreError: the home can't be written.
    """
    from agent_core.home import write_whole

    place = Home(home)
    place.create()
    if place.config.exists():
        return

    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = [
        "[agent]",
        f"id = {quoted(given.name)}",
        f"role = {quoted(given.role)}",
        "",
        "[cluster]",
        f"network = {quoted(given.network)}",
        "",
    ]
    write_whole(place.config, "\n".join(lines).encode())


def offline(home: Path) -> dict[str, Any]:
    """What the store on disk says, as slices; empty where there is none yet.

    Raises:
        ChorusError: the store can't be read.
    """
    if not Home(home).store.exists():
        return {}
    from agent_core.api.offline import Offline

    with Offline(Home(home)) as store:
        return store.slices(("status", "election", "members", "rooms", "decisions", "ucxl", "attention", "log"))
