"""Scripted commands: stdout is data, stderr is narration, exit codes are an API (SPEC section 16).

No command imports Textual, libp2p, trio, asyncio or cryptography before it must: each lives in a module of its own that is
imported when it is named.
"""

from __future__ import annotations

import binascii
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from agent_core.errors import EXIT_INTERRUPTED, ChorusError, HomeInUse, InvalidInput, NoNode, Unavailable

if TYPE_CHECKING:
    from chorus_hap.cli.run import Run


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name.

    Returns:
        the exit status: 0 done, 1 refused or failed, 2 usage, 3 no node, 4 timed out, 130 interrupted.
    """
    from chorus_hap.cli.options import Options, take_options, wants_json
    from chorus_hap.cli.output import forgive_encodings
    from chorus_hap.cli.run import Run
    from chorus_hap.streams import ReaderGone

    run: Run | None = None
    forgive_encodings()
    try:
        try:
            options, words = take_options(argv)
            run = Run(options)
            if (said := _about_launching(words)) is not None:
                run.out.line(said)
                return 0
            return _run(run, words)
        except ChorusError as exc:
            return _refuse(exc, run or Run(Options(json=wants_json(argv))))
        except (KeyboardInterrupt, ReaderGone):
            raise
        except Exception as exc:
            return _refuse(_unforeseen(exc, run), run or Run(Options(json=wants_json(argv))))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except ReaderGone:
        return 0  # the reader has what it wanted
    finally:
        if run is not None:
            run.close()


_ASKING = frozenset({"--help", "-h", "--version"})


def _about_launching(words: Sequence[str]) -> str | None:
    """The help of console and daemon or the version, where the words ask for that; nothing where they name a command.

    Raises:
        InvalidInput: they start a daemon and want something of a command, too.
    """
    from agent_core.version import VERSION
    from chorus_hap.flags import LAUNCH_ONLY, is_launch, launch_help

    before = list(words[: words.index("--")] if "--" in words else words)
    flag = next((word for word in before if word.partition("=")[0] in LAUNCH_ONLY), None)
    alone = is_launch([word for word in before if word not in _ASKING])
    if flag is None or not (alone or flag == "--daemon"):
        return None
    if "--help" in before or "-h" in before:
        return launch_help()
    if "--version" in before:
        return VERSION
    raise InvalidInput(
        f"{flag} starts a node or the console, and the command line asks for something else, too.",
        "See `chorus-hap --daemon --help` for what goes with it, and `chorus-hap --help` for commands.",
    )


def _run(run: Run, words: Sequence[str]) -> int:
    import typer

    from chorus_hap.cli.app import application
    from chorus_hap.cli.blanks import refuse_blanks

    if words and words[0].startswith(("--show-completion", "--install-completion")):
        from chorus_hap.cli.completion import answer

        run.out.raw(answer(words).encode())
        return 0
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    try:
        command = refuse_blanks(typer.main.get_command(application(words)))
        status = command(list(words), prog_name="chorus-hap", obj=run, standalone_mode=False)
    except typer.Abort:
        return EXIT_INTERRUPTED
    except typer.TyperException as exc:
        said = exc.format_message().strip()
        if said == "Missing command.":
            at: Any = getattr(exc, "ctx", None)  # a group was named without what it should do
            said += f" It is one of {', '.join(at.command.commands)}." if at is not None else ""
        raise InvalidInput(said if said.endswith((".", "?", ")")) else f"{said}.", _usage_hint(words)) from exc
    sys.stdout.flush()
    return status if isinstance(status, int) else 0


def _usage_hint(words: Sequence[str]) -> str:
    from chorus_hap.cli.app import path_of

    return f"See `{' '.join(('chorus-hap', *path_of(words)))} --help`."


def _refuse(exc: ChorusError, run: Run) -> int:
    from chorus_hap.streams import OutputFailed

    if run.options.json and not isinstance(exc, OutputFailed):
        told = {name: run.out.here(value) for name, value in exc.to_dict().items()}
        try:
            run.out.data({"error": told})
        except OutputFailed as failed:
            _say(run, exc)  # it has to be said somewhere
            _say(run, failed)
    else:
        _say(run, exc)
    return NoNode.exit_code if isinstance(exc, HomeInUse) else exc.exit_code


def _say(run: Run, exc: ChorusError) -> None:
    run.out.say(f"chorus-hap: {exc.message}" + (f"\n  {exc.next}" if exc.next else ""))


def _unforeseen(exc: Exception, run: Run | None) -> ChorusError:
    """A sentence for what nobody thought of; the traceback goes to a file, not to the person."""
    if isinstance(exc, OSError) and exc.filename is not None:
        return ChorusError(f"{exc.filename}: {exc.strerror or exc}.", "Check the path and its permissions.")
    if isinstance(exc, (msgspec.MsgspecError, binascii.Error)):
        return Unavailable(f"The node's answer can't be read: {exc}.", "Use a command and node of the same version.")
    if isinstance(exc, UnicodeEncodeError) and exc.reason == "surrogates not allowed":
        return InvalidInput("An argument is not UTF-8 text.", "Send text, as UTF-8.")  # its bytes came as surrogates
    import traceback
    from datetime import UTC, datetime

    from agent_core.shhh.engine import redact

    place = "nowhere"
    if run is not None:
        log = run.home / "log" / "command.log"
        try:
            text = redact("".join(traceback.format_exception(exc)))
            with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
                file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{text}\n")
            place = str(log)
        except OSError:
            place = "nowhere, for the home can't be written"
    what = redact(f"{type(exc).__name__}: {exc}")
    return ChorusError(f"The command failed in a way nobody foresaw ({what}).", f"Details: {place}.")
