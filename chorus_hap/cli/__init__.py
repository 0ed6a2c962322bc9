"""Scripted commands: stdout is data, stderr is narration, exit codes are an API (SPEC section 16).

No command imports Textual, libp2p, trio, asyncio or cryptography before it must: each lives in a module of its own that is
imported when it is named.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent_core.errors import EXIT_INTERRUPTED, ChorusError, HomeInUse, InvalidInput, NoNode

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
    from chorus_hap.cli.output import ReaderGone, forgive_encodings
    from chorus_hap.cli.run import Run

    run: Run | None = None
    forgive_encodings()
    try:
        try:
            options, words = take_options(argv)
            run = Run(options)
            return _run(run, words)
        except ChorusError as exc:
            return _refuse(exc, run or Run(Options(json=wants_json(argv))))
        except (KeyboardInterrupt, ReaderGone, BrokenPipeError):
            raise
        except Exception as exc:
            return _refuse(_unforeseen(exc, run), run or Run(Options(json=wants_json(argv))))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        # The reader has what it wanted. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        if run is not None:
            run.close()


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
    if run.options.json:
        told = {name: run.out.here(value) for name, value in exc.to_dict().items()}
        run.out.data({"error": told})
    else:
        run.out.say(f"chorus-hap: {exc.message}" + (f"\n  {exc.next}" if exc.next else ""))
    return NoNode.exit_code if isinstance(exc, HomeInUse) else exc.exit_code


def _unforeseen(exc: Exception, run: Run | None) -> ChorusError:
    """A sentence for what nobody thought of; the traceback goes to a file, not to the person."""
    if isinstance(exc, OSError) and exc.filename is not None:
        return ChorusError(f"{exc.filename}: {exc.strerror or exc}.", "Check the path and its permissions.")
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
