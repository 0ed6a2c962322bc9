"""Each safety rule broken on purpose, one at a time, so that it is known that the search would notice.

``python -m tests.simulated.mutants`` (``make mutants``) looks for the first seed that notices each, and writes it down for the
test that replays it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from agent_core.decisions.tally import Close
from agent_core.election import chain, core, leading, messages, model, promise, voting
from agent_core.election.chain import parse_act
from agent_core.election.lease import Lease
from agent_core.election.log import ActLog
from agent_core.election.machine import ElectionMachine
from agent_core.simulated import search

#: Which seed noticed which.
CAUGHT = Path(__file__).with_name("caught.json")
LIMIT = 2000

Patch = tuple[object, str, Any]
MUTANTS: dict[str, Callable[[], Sequence[Patch]]] = {}


def mutant(breaks: Callable[[], Sequence[Patch]]) -> Callable[[], Sequence[Patch]]:
    """Make a function a mutant: it names what is replaced, and by what."""
    MUTANTS[breaks.__name__] = breaks
    return breaks


@contextmanager
def broken(name: str) -> Iterator[None]:
    """While inside, the rule is broken."""
    patches = MUTANTS[name]()
    before = [(owner, attribute, vars(owner)[attribute]) for owner, attribute, _ in patches]
    parse_act.cache_clear()
    try:
        for owner, attribute, value in patches:
            setattr(owner, attribute, value)
        yield
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)


# --- votes ------------------------------------------------------------------------------------------------------------


@mutant
def vote_not_persisted() -> Sequence[Patch]:
    """The vote goes out at once; term and vote stay in memory."""

    def cast(self: voting.Voting, now: float) -> None:
        persist = self.persist
        self.persist = lambda then, *extra: then(now)  # type: ignore[method-assign]
        try:
            original(self, now)
        finally:
            self.persist = persist  # type: ignore[method-assign]

    original = voting.Voting._cast
    return [(voting.Voting, "_cast", cast)]


@mutant
def vote_on_the_wire_before_on_disk() -> Sequence[Patch]:
    """The vote is written down, but nobody waits for that."""

    def cast(self: voting.Voting, now: float) -> None:
        persist = self.persist

        def hasty(then: Callable[[float], None], *extra: Any) -> None:
            persist(lambda now: None, *extra)
            then(now)

        self.persist = hasty  # type: ignore[method-assign]
        try:
            original(self, now)
        finally:
            self.persist = persist  # type: ignore[method-assign]

    original = voting.Voting._cast
    return [(voting.Voting, "_cast", cast)]


@mutant
def majority_off_by_one() -> Sequence[Patch]:
    """Half of the voters, rounded down, is enough."""

    def enough(signed: Any, voters: tuple[str, ...]) -> bool:
        return len(set(signed).intersection(voters)) >= len(voters) // 2

    return [(m, "majority", enough) for m in (chain, leading, voting)]


@mutant
def promise_forgotten_at_restart() -> Sequence[Patch]:
    """A voter that starts is bound to nobody."""

    def init(self: core.Core, **given: Any) -> None:
        original(self, **given)
        self.promise_until = given["now"]

    original = core.Core.__init__
    return [(core.Core, "__init__", init)]


@mutant
def promise_ignored() -> Sequence[Patch]:
    """A voter votes for another while it is bound to its leader."""
    return [(promise.Promised, "free", lambda self, now: not self.reigning)]


@mutant
def older_chain_accepted() -> Sequence[Patch]:
    """A candidate that lacks acts which the voter acknowledged gets its vote."""
    return [(ActLog, "older_than_mine", lambda self, term, number: False)]


@mutant
def vote_without_cluster() -> Sequence[Patch]:
    """What a voter signs doesn't say for which cluster."""

    def signed(cluster: str, *rest: Any) -> bytes:
        return original("", *rest)

    original = messages.vote_message
    return [(m, "vote_message", signed) for m in (messages, voting)]


@mutant
def restored_home_votes() -> Sequence[Patch]:
    """A home that forgot votes and acknowledgements goes on voting."""
    return [(core.Core, "may_vote", property(lambda self: self.is_voter))]


@mutant
def restored_home_trusted_by_any_promotion() -> Sequence[Patch]:
    """A voter that forgot something trusts itself as long as the roster names it a voter."""

    def trusted(self: ElectionMachine, roster: Any) -> bool:
        member = roster.get(self.me) if roster is not None else None
        return member is not None and bool(member.voter)

    return [(ElectionMachine, "_trusted_again", trusted)]


# --- the claim --------------------------------------------------------------------------------------------------------


@mutant
def lease_from_any_traffic() -> Sequence[Patch]:
    """Whatever a voter says extends the claim."""

    def message(self: ElectionMachine, sender: str, said: Any, now: float) -> None:
        if self.reign is not None and sender in self.voters:
            self.reign.lease._acked_at[sender] = now
            self.reign.lease.count(self.voters)
        original(self, sender, said, now)

    original = ElectionMachine.message
    return [(ElectionMachine, "message", message)]


@mutant
def lease_from_arrival() -> Sequence[Patch]:
    """The claim is counted from when the acknowledgement came, not from when the heartbeat was sent."""

    def message(self: ElectionMachine, sender: str, said: Any, now: float) -> None:
        original(self, sender, said, now)
        ack = isinstance(said, messages.HeartbeatAck) and said.ok and said.term == self.term
        if ack and self.reign is not None and sender in self.voters:
            self.reign.lease._acked_at[sender] = now
            self.reign.lease.count(self.voters)

    original = ElectionMachine.message
    return [(ElectionMachine, "message", message)]


@mutant
def lease_longer_than_the_promise() -> Sequence[Patch]:
    """The claim outlives what the voters promised."""
    return [(model.Timings, "lease_s", property(lambda self: 1.5 * self.timeout_s))]


@mutant
def lease_carried_for_ever() -> Sequence[Patch]:
    """A leader goes on as long as nobody tells it that it doesn't lead."""

    def end(self: Lease, voters: tuple[str, ...]) -> float | None:
        return max(self._acked_at.values(), default=0.0) + self._length

    return [(Lease, "_end", end)]


@mutant
def claim_kept_while_the_mesh_is_rebuilt() -> Sequence[Patch]:
    """The leader closes its port without giving up its claim, and looks dead while it leads."""
    return [(ElectionMachine, "mesh_rebuilding", lambda self, now: self.connected.clear())]


@mutant
def claim_kept_after_resigning() -> Sequence[Patch]:
    """A leader says that its claim has ended and goes on leading."""

    def resign(self: leading.Leading, now: float, trigger: Any = None) -> str:
        successor = self.successor(now)
        if self.reign is not None:
            for member in self.other_members():
                self.send(member, messages.Resign(self.term, successor, self.log.term, self.log.number))
        return successor

    return [(leading.Leading, "resign", resign)]


# --- acts -------------------------------------------------------------------------------------------------------------


@mutant
def acknowledgement_not_persisted() -> Sequence[Patch]:
    """A voter acknowledges acts that it holds in memory only."""

    def save(self: core.Core, then: Callable[[float], None], *extra: Any) -> None:
        original(self, then, *extra)
        out = self._out[-1]
        assert isinstance(out, model.Persist)
        forgotten = msgspec.structs.replace(out.state, acts=(), proofs=(), tip="")
        self._out[-1] = model.Persist(forgotten, out.token)

    original = core.Core.persist
    return [(core.Core, "persist", save)]


@mutant
def acknowledgement_after_a_vote_in_a_later_term() -> Sequence[Patch]:
    """A voter that has moved on still acknowledges the acts of the leader it left."""

    def on_append(self: leading.Leading, sender: str, append: messages.Append, now: float) -> None:
        if append.term >= self.term or self.reigning:
            original(self, sender, append, now)
            return
        acts = [h for raw in append.acts if (h := parse_act(raw)) is not None]
        self.chain.learn(acts, append.proofs)
        self.log.rebase()
        ok = self.log.holds(append.prev_number, append.prev_hash) and self.log.extend(acts)
        mine = [h for h in acts if ok and h.term == append.term]
        self.chain_moved(now)

        def written(now: float) -> None:
            last = acts[-1].number if acts else append.prev_number
            sigs = tuple(self._signed(mine)) if self.may_vote else ()
            ack = messages.AppendAck(append.term, ok, last, "", self.chain.tip_number, sigs)
            self.send(sender, ack)

        self.persist(written)

    original = leading.Leading.on_append
    return [(leading.Leading, "on_append", on_append)]


@mutant
def change_of_voters_before_the_terms_first_act() -> Sequence[Patch]:
    """A leader doesn't wait for its term's own act to be committed."""

    def pump(self: leading.Leading, now: float) -> None:
        reign = self.reign
        if reign is not None and reign.opened and reign.appending is None and reign.queue:
            token, kind, payload = reign.queue.popleft()
            self._append(reign, token, kind, payload)
            return
        original(self, now)

    original = leading.Leading._pump
    return [(leading.Leading, "_pump", pump)]


@mutant
def term_opened_without_its_act() -> Sequence[Patch]:
    """A leader begins with whatever is asked of it."""

    def init(self: leading.Reign, *given: Any) -> None:
        original(self, *given)
        self.opened = True

    def pump(self: leading.Leading, now: float) -> None:
        reign = self.reign
        if reign is not None and reign.appending is None and reign.queue:
            token, kind, payload = reign.queue.popleft()
            self._append(reign, token, kind, payload)

    original = leading.Reign.__init__
    return [(leading.Reign, "__init__", init), (leading.Leading, "_pump", pump)]


@mutant
def two_voters_changed_at_once() -> Sequence[Patch]:
    """A change of voters follows one that isn't committed yet."""
    return [(ActLog, "voter_change_pending", property(lambda self: False))]


@mutant
def suffix_of_a_deposed_leader_kept() -> Sequence[Patch]:
    """A follower keeps its own uncommitted acts where the leader has others, and acknowledges nevertheless."""

    def extend(self: ActLog, acts: Any) -> bool:
        fresh = [h for h in acts if self.get(h.number) is None]
        return original(self, fresh) or True

    original = ActLog.extend
    return [
        (ActLog, "extend", extend),
        (ActLog, "holds", lambda self, number, hash: number <= self.number),
    ]


@mutant
def commit_before_the_majority() -> Sequence[Patch]:
    """A leader takes its own acknowledgement for enough, and so does everybody who checks."""

    def decided(self: chain.ActChain, acks: Any, path: Any) -> bool:
        return len(acks) >= 2

    return [
        (chain.ActChain, "_decided", decided),
        (leading, "majority", lambda signed, voters: len(set(signed)) >= 2),
    ]


# --- decisions --------------------------------------------------------------------------------------------------------


@mutant
def close_without_a_cut() -> Sequence[Patch]:
    """A closed decision counts whatever votes are held."""
    return [(Close, "within", lambda self, key: True)]


@mutant
def close_before_its_cut_is_held() -> Sequence[Patch]:
    """The result is said while votes within the cut are missing."""
    return [(Close, "missing", lambda self, held: 0)]


# --- the search for them ----------------------------------------------------------------------------------------------


def violation(name: str, seed: int) -> str:
    """What a seed says about a mutant; empty if it doesn't notice."""
    with broken(name):
        return search.run_seed(seed).violation


def first(name: str) -> tuple[str, int, str]:
    """The first seed that notices a mutant, and what it says; 0 if none does."""
    for seed in range(1, LIMIT + 1):
        if found := violation(name, seed):
            return name, seed, found
    return name, 0, ""


def main(argv: Sequence[str] | None = None) -> int:
    """Look for all, or for the ones named; exit status 1 if one isn't found."""
    parser = argparse.ArgumentParser(description="See whether the search notices every broken safety rule.")
    parser.add_argument("names", nargs="*", help="mutants; all by default")
    names = parser.parse_args(argv).names or list(MUTANTS)
    caught: dict[str, int] = json.loads(CAUGHT.read_text()) if CAUGHT.exists() else {}
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for name, seed, found in pool.imap_unordered(first, names):
            said = found.strip().splitlines()[-1] if found else f"not noticed in {LIMIT} seeds"
            sys.stdout.write(f"{name:<45} {seed or '-':>5}  {said}\n")
            sys.stdout.flush()
            caught[name] = seed
    kept = {name: caught[name] for name in MUTANTS if caught.get(name)}
    CAUGHT.write_text(json.dumps(kept, indent=2) + "\n")
    sys.stdout.write(f"{len(kept)} of {len(MUTANTS)} mutants are noticed\n")
    return 0 if len(kept) == len(MUTANTS) else 1


if __name__ == "__main__":
    sys.exit(main())
