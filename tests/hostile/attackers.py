"""The attackers' process: reads the names of attacks, carries them out on the victim, prints what came of each as JSON.

A process of its own, so that what an attack costs the attacker isn't taken for what it costs the victim.
"""

from __future__ import annotations

import json
import sys
import traceback

import trio

from tests.hostile.catalogue import Outcome, load
from tests.hostile.peer import Target

#: No attack takes longer, seconds.
LONGEST_S = 25.0


async def _attack(name: str, to: Target) -> None:
    outcome = Outcome(ends=attacks[name].bound.ends)
    error = ""
    try:
        with trio.fail_after(LONGEST_S):
            await attacks[name].act(to, outcome)
    except Exception as exc:
        error = "".join(traceback.format_exception(exc))[-2500:]
    came = {"sent": outcome.sent, "end": outcome.end, "after_s": outcome.after_s, "note": outcome.note, "error": error}
    print(json.dumps({"name": name, "came": came}), flush=True)


async def main() -> None:
    """Serve until the input ends; several at a time if so many are asked for."""
    print(json.dumps({"ready": len(attacks)}), flush=True)
    async with trio.open_nursery() as nursery:
        while text := await trio.to_thread.run_sync(sys.stdin.readline):
            order = json.loads(text)
            nursery.start_soon(_attack, order["attack"], Target(**order["target"]))
        nursery.cancel_scope.cancel()


attacks = {a.name: a for a in load()}
if __name__ == "__main__":
    trio.run(main)
