"""The program: the console, ``--daemon``, or one scripted command."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the way in that the command line asks for; returns the exit status."""
    from chorus_hap.flags import is_launch

    argv = sys.argv[1:]
    if not is_launch(argv):
        from chorus_hap.cli import main as command

        return command(argv)
    from agent_core.errors import ChorusError
    from chorus_hap.flags import parse_launch

    try:
        launch = parse_launch(argv)
        if launch.daemon:
            from chorus_hap.daemon import run_daemon

            return run_daemon(launch)
        from chorus_hap.console import run_console

        return run_console(launch)
    except ChorusError as exc:
        from chorus_hap.program import Here

        print(f"chorus-hap: {Here()(str(exc))}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
