"""The program with some of the gossip that reaches it thrown away, judged by nobody and relayed to nobody. For tests alone.

    python -m tests.support.lossy <share> <seed> python -m chorus_hap --daemon …

Gossip shares its encrypted streams with everything else, so nothing outside of a process can take out single messages; this takes
them where they come in, and a copy by another way doesn't help: GossipSub has seen the message.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

from agent_core import assembly
from agent_core.mesh.service import LibP2PNetwork
from agent_core.network import Judge, Verdict

#: The last line a daemon prints begins with it; how many messages were lost, and how many let in.
SAID = "gossip lost and let in: "


def lossy(share: float, rng: random.Random, count: Counter[str]) -> type[LibP2PNetwork]:
    """A network that loses a share, 0 to 1, of the gossip that comes in; counts what was ``lost`` and what was ``let`` in."""

    class Lossy(LibP2PNetwork):
        def set_judge(self, judge: Judge) -> None:
            def some(topic: str, relay: str, payload: bytes, author: str) -> Verdict:
                word = "lost" if rng.random() < share else "let"
                count[word] += 1
                return Verdict.IGNORE if word == "lost" else judge(topic, relay, payload, author)

            super().set_judge(some)

    return Lossy


def prefix(share: float, seed: int) -> tuple[str, ...]:
    """What is put before a daemon's command to make it lossy."""
    return (sys.executable, "-m", "tests.support.lossy", str(share), str(seed))


if __name__ == "__main__":
    from chorus_hap.__main__ import main

    _, share, seed, *command = sys.argv
    count: Counter[str] = Counter()
    assembly.LibP2PNetwork = lossy(float(share), random.Random(int(seed)), count)  # type: ignore[misc]
    sys.argv = command[2:]  # without the interpreter and its -m
    status = main()
    print(f"\n{SAID}{count['lost']} {count['let']}", flush=True)
    sys.exit(status)
