"""Five daemons in network namespaces under faults, a writer on each and one for the admin: afterwards nothing may be lost or double.

``python -m bench.nemesis`` prints its seed first, then one JSON object; exit 1 when something doesn't hold, with the sentences that say
what. ``--seed N`` strikes the same faults in the same order again. It needs root, iproute2 and nftables.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent_core.clock import wall_ms
from agent_core.election.chain import ActChain
from agent_core.errors import ChorusError, InvalidInput, Refused
from agent_core.feeds.store import Store
from agent_core.folds import FoldSet
from agent_core.identity.signing import Ed25519Verifier
from agent_core.ids import uuid7
from agent_core.shapes import MAX_LIMIT
from bench.systems import Chorus, until
from chorus_hap.link import Link, connect
from tests.support.namespaces import NoNamespaces, lan

FAULTS = 15
NODES = 5
#: Quick enough for an election or two within a fault.
PROFILE = (0.3, 1.0)
_POST_S, _DECIDE_S, _LOOK_S = 0.3, 2.0, 0.01
#: After the last fault everything is everywhere within this time (s).
CALM_S = 60.0
_CALL_S = 5.0


class Caller:
    """Calls one node's operations, over restarts and pauses, on a connection that nobody else uses."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._link: Link | None = None

    def __call__(self, method: str, **params: Any) -> Any:
        """The answer; nothing if there is none just now.

        Raises:
            Refused: the node said no.
            InvalidInput: it doesn't understand what it is asked, which waiting won't mend.
        """
        try:
            if self._link is None:
                self._link = connect(self._home, start=False)
            return self._link.call(method, timeout_s=_CALL_S, **params)
        except (Refused, InvalidInput):
            raise
        except ChorusError:
            self.close()
            return None

    def close(self) -> None:
        """Hang up."""
        if self._link is not None:
            self._link.close()
            self._link = None


class Nemesis:
    """One run.

    Args:
        system: the daemons, started.
        seed: decides the faults.
        faults: how many.
        tell: takes a line about each.
    """

    def __init__(self, system: Chorus, seed: int, faults: int, tell: Callable[[str], None]) -> None:
        self._system, self._faults, self._tell = system, faults, tell
        self._rng = random.Random(seed)
        self._over = threading.Event()
        self._stopped: set[int] = set()
        self.acknowledged: dict[int, list[str]] = {n: [] for n in system.nodes}
        self.proposed: list[str] = []
        #: Who was seen to lead a term, by any node's word, and when a node said so of itself: first and last (s).
        self._leaders: dict[int, set[str]] = {}
        self._claims: dict[tuple[int, int], tuple[float, float]] = {}
        self._committed = -1
        self._closed: dict[str, str] = {}
        self.wrong: list[str] = []

    def run(self) -> dict[str, Any]:
        """Strike, heal, look; what came of it."""
        nodes = self._system.nodes
        jobs = [(self._write, n) for n in nodes] + [(self._decide, n) for n in nodes] + [(self._look, n) for n in nodes]
        threads = [threading.Thread(target=job, args=(node,)) for job, node in jobs]
        for thread in threads:
            thread.start()
        try:
            for number in range(1, self._faults + 1):
                time.sleep(self._rng.uniform(0.5, 2.0))
                self._strike(number)
        finally:
            self._over.set()
            self._mend()
            for thread in threads:
                thread.join()
        self._judge()
        return {
            "faults": self._faults,
            "acknowledged": sum(map(len, self.acknowledged.values())),
            "decisions_proposed": len(self.proposed),
            "decisions_closed": len(self._closed),
            "committed_acts": self._committed + 1,
            "terms_seen": len(self._leaders),
            "claims_seen": len(self._claims),
            "wrong": self.wrong,
            "ok": not self.wrong,
        }

    # --- faults -------------------------------------------------------------------------------------------------------

    def _strike(self, number: int) -> None:
        system, rng = self._system, self._rng
        hosts = system.hosts
        kinds = (self._kill, self._pause, self._alone, self._one_way, self._halves, self._islands)
        kind = kinds[(number - 1) % len(kinds)] if number <= len(kinds) else rng.choice(kinds)
        order = rng.sample(list(system.nodes), len(hosts))
        at_leader, for_s = rng.random() < 0.6, rng.uniform(1.0, 4.0)
        if at_leader and (seen := system.agreed()):
            leader = system.node_of(seen.leader)
            order.remove(leader)
            order.insert(0, leader)
        self._tell(f"{number}: {kind.__name__[1:].replace('_', ' ')} for {for_s:.1f} s, first of {order}")
        kind(order)
        time.sleep(for_s)
        self._mend()

    def _kill(self, order: Sequence[int]) -> None:
        self._system.signal(order[0], signal.SIGKILL)

    def _pause(self, order: Sequence[int]) -> None:
        self._stopped.add(order[0])
        self._system.signal(order[0], signal.SIGSTOP)

    def _alone(self, order: Sequence[int]) -> None:
        self._cut(order[:1], order[1:])

    def _one_way(self, order: Sequence[int]) -> None:
        hosts = self._system.hosts
        for other in order[1:]:
            hosts.cut_one_way(hosts[order[0]], hosts[other])

    def _halves(self, order: Sequence[int]) -> None:
        self._cut(order[:2], order[2:])

    def _islands(self, order: Sequence[int]) -> None:
        self._cut(order[:2], order[2:4], order[4:])

    def _cut(self, *groups: Sequence[int]) -> None:
        hosts = self._system.hosts
        hosts.partition(*([hosts[n] for n in group] for group in groups))

    def _mend(self) -> None:
        system = self._system
        system.hosts.heal()
        for node in tuple(self._stopped):
            self._stopped.discard(node)
            system.signal(node, signal.SIGCONT)
        for node in system.nodes:
            if system.ended(node):
                system.revive(node)

    # --- what goes on meanwhile ---------------------------------------------------------------------------------------

    def _write(self, node: int) -> None:
        """Post without end; a post that got no answer is asked for again by the same ``op_id``."""
        call, number, op_id = Caller(self._system.home(node)), 0, ""
        while not self._over.wait(_POST_S):
            op_id = op_id or uuid7(wall_ms())
            text = f"{node}-{number}"
            if call("hmmm.post", room=f"writer-{node}", text=text, op_id=op_id):
                self.acknowledged[node].append(text)
                number, op_id = number + 1, ""
        call.close()

    def _decide(self, node: int) -> None:
        """Propose and vote, so that whoever leads has decisions to close."""
        call = Caller(self._system.home(node))
        number = 0
        while not self._over.wait(_DECIDE_S):
            try:
                if node == number % len(self._system.nodes):
                    posted = call(
                        "decisions.propose",
                        title=f"{node}-{number}",
                        description="x",
                        project="nemesis",
                        task="t",
                        deadline="8s",
                    )
                    if posted:
                        self.proposed.append(posted["id"])
                for decision in call("decisions.list") or ():
                    if decision["state"] == "open" and not decision["your_vote"]:
                        call("decisions.vote", id=decision["id"], choice="approve", reason="")
                    elif decision["state"] in ("approved", "rejected", "no_quorum"):
                        self._result(decision, node)
            except Refused:
                pass
            number += 1
        call.close()

    def _result(self, decision: Any, node: int) -> None:
        known = self._closed.setdefault(decision["id"], decision["state"])
        if known != decision["state"]:
            self.wrong.append(f"decision {decision['id']} was {known} and is {decision['state']} on node {node}")

    def _look(self, node: int) -> None:
        """Who leads by this node's word, and whether it says so of itself."""
        call = Caller(self._system.home(node))
        while not self._over.wait(_LOOK_S):
            shown = call("election.show")
            if shown is None:
                continue
            self._committed = max(self._committed, shown["committed_act"])
            claim = shown["claim"]
            if claim is None:
                continue
            self._leaders.setdefault(claim["term"], set()).add(claim["peer_id"])
            if claim["own"]:
                first = self._claims.get((node, claim["term"]), (claim["read_s"],))[0]
                self._claims[node, claim["term"]] = (first, claim["read_s"])
        call.close()

    # --- afterwards ---------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        system = self._system
        try:
            system.settled(CALM_S)
        except TimeoutError as exc:
            self.wrong.append(str(exc))
            return
        self._leaders_are_one()
        texts = {text for texts in self.acknowledged.values() for text in texts}
        for node in system.nodes:
            self._holds(node, texts)
        self._chains_are_one()

    def _leaders_are_one(self) -> None:
        self.wrong += [f"term {t} has the leaders {sorted(w)}" for t, w in self._leaders.items() if len(w) > 1]
        ordered = sorted((span, key) for key, span in self._claims.items())
        for (before, (a, a_term)), (after, (b, b_term)) in itertools.pairwise(ordered):
            if a != b and after[0] < before[1]:
                self.wrong.append(
                    f"node {a} (term {a_term}) and node {b} (term {b_term}) claimed for {before[1] - after[0]:.3f} s"
                )

    def _holds(self, node: int, texts: set[str]) -> None:
        call = Caller(self._system.home(node))

        def shown() -> Counter[str]:
            found: Counter[str] = Counter()
            for writer in self._system.nodes:
                room = call("hmmm.show", room=f"writer-{writer}", limit=MAX_LIMIT) or {"messages": ()}
                found.update(m["text"] for m in room["messages"])
            return found

        try:
            until(lambda: texts <= set(shown()), CALM_S, "everything is here", 0.2)
        except TimeoutError:
            self.wrong.append(f"node {node} lacks {len(texts - set(shown()))} of {len(texts)} acknowledged posts")
        self.wrong += [f"node {node} shows {t} {count} times" for t, count in shown().items() if count > 1]
        verified = call("log.verify")
        if not verified or not verified["ok"]:
            self.wrong.append(f"node {node}: log verify says {verified}")
        for decision in call("decisions.list") or ():
            if decision["id"] in self._closed:
                self._result(decision, node)
        for term in call("election.show")["timeline"]:
            checked = call("election.verify", term=term["term"])
            if not checked or not checked["ok"]:
                self.wrong.append(f"node {node}: election verify {term['term']} says {checked}")
        call.close()

    def _chains_are_one(self) -> None:
        """The committed acts by what is on disk: the same everywhere, none missing that was ever seen committed."""
        chains = {node: [a.hash for a in self._chain(node).committed] for node in self._system.nodes}
        shortest = min(map(len, chains.values()))
        if shortest <= self._committed:
            self.wrong.append(f"{self._committed + 1} acts were seen committed, and a node has {shortest}")
        if len({tuple(hashes[:shortest]) for hashes in chains.values()}) > 1:
            self.wrong.append("the committed acts differ")

    def _chain(self, node: int) -> ActChain:
        cluster = self._system.call(node, "status")["cluster_id"]
        store = Store.open(self._system.home(node) / "store.db", read_only=True)
        try:
            return FoldSet(cluster, Ed25519Verifier(), store).chain
        finally:
            store.close()


def run(root: Path, seed: int, faults: int = FAULTS, tell: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Start the daemons, strike them, end them.

    Args:
        root: where their homes go.
        seed: decides the faults.
        faults: how many.
        tell: takes a line about each.

    Raises:
        NoNamespaces: this machine can't make network namespaces.
    """
    with lan(NODES) as hosts:
        system = Chorus(hosts, root, *PROFILE)
        try:
            system.start()
            return Nemesis(system, seed, faults, tell).run() | {"seed": seed}
        finally:
            system.end()


def main(argv: Sequence[str] | None = None) -> int:
    """Run and say what came of it."""
    parser = argparse.ArgumentParser(description="Daemons under faults: nothing lost, nobody leads twice.")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--faults", type=int, default=FAULTS)
    options = parser.parse_args(argv)
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="chorus-nemesis-") as root:
            result = run(Path(root), options.seed, options.faults, lambda line: print(line, flush=True))
    except NoNamespaces as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    print(json.dumps(result | {"took_s": round(time.monotonic() - began)}))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
