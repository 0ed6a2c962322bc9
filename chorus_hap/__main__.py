"""The program: the console, ``--daemon``, or one scripted command."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main() -> int:
    """Run the way in that the command line asks for; returns the exit status."""
    from agent_core.modes import keep_private
    from agent_core.system import mend_environment
    from chorus_hap import streams

    streams.mend()
    keep_private()
    mend_environment()
    try:
        return streams.settle(_run(sys.argv[1:]))
    except KeyboardInterrupt:
        return 130


def _run(argv: Sequence[str]) -> int:
    from chorus_hap.flags import is_launch

    if not is_launch(argv):
        from chorus_hap.cli import main as command

        return command(argv)
    from agent_core.errors import ChorusError
    from chorus_hap.flags import parse_launch
    from chorus_hap.streams import say

    try:
        launch = parse_launch(argv)
        if launch.daemon:
            from chorus_hap.daemon import run_daemon

            return run_daemon(launch)
        from chorus_hap.console import run_console

        return run_console(launch)
    except ChorusError as exc:
        from chorus_hap.program import Here

        say(f"chorus-hap: {Here()(str(exc))}")
        return exc.exit_code


if __name__ == "__main__":
    sys.exit(main())
