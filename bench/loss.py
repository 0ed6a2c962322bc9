"""A fifth of all gossip lost: every durable entry arrives everywhere all the same, and how soon. Prints JSON.

    python -m bench.loss [--seeds 100] [--nodes 7] [--daemons 4]

Simulated: each gossip hop is lost with 20 %; times are virtual, each node talks to about three others.

Real: daemons in processes of their own, on hosts of their own (network namespaces; needs root, iproute2 and nftables). Gossip travels
inside encrypted streams, so no proxy outside can take out a message: each daemon loses 20 % of the messages that come in, before
they are judged, and beside that each host's firewall drops 20 % of all packets that arrive, as a bad line does.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tests.support import loss
from tests.support.namespaces import NoNamespaces


def simulated(seeds: int, nodes: int) -> dict[str, object]:
    """Many seeds on both cores; a seed in which something doesn't arrive raises."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(partial(loss.simulated, nodes=nodes), range(seeds))
    times = sorted(one.converged_s for one in found)
    hops = sum(one.lost + one.let for one in found)
    return {
        "seeds": seeds,
        "nodes": nodes,
        "entries": sum(one.entries for one in found),
        "entries_missing_anywhere": 0,
        "gossip_hops_lost_share": round(sum(one.lost for one in found) / hops, 3),
        "entry_everywhere_median_s": round(statistics.median(one.entry_median_s for one in found), 3),
        "entry_everywhere_worst_s": max(one.entry_worst_s for one in found),
        "converged_median_s": round(statistics.median(times), 3),
        "converged_p95_s": times[int(len(times) * 0.95)],
        "converged_worst_s": times[-1],
    }


def real(daemons: int) -> dict[str, object] | str:
    """Daemons that lose gossip and packets; says why where they can't be had."""
    try:
        with tempfile.TemporaryDirectory() as name:
            return asdict(loss.real(Path(name), daemons, posts_each=20))
    except NoNamespaces as exc:
        return str(exc)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=100, help="simulated meshes")
    arguments.add_argument("--nodes", type=int, default=7, help="nodes of a simulated mesh")
    arguments.add_argument("--daemons", type=int, default=4, help="real daemons")
    chosen = arguments.parse_args()
    print(json.dumps({"simulated": simulated(chosen.seeds, chosen.nodes), "real": real(chosen.daemons)}, indent=2))
