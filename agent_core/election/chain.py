"""The chain of acts as a node can prove it: entries (and what the election stream brought early) to committed acts and rosters.

The committed prefix is a pure function of the set of acts and acknowledgements held. The genesis is committed by being the
cluster's id. A later act is committed by a majority's acknowledgements of it, counted against the voters as they stood before
it, and commits what precedes it by the hash links. At most one change of voters is ever uncommitted (SPEC section 4), and majorities
of adjacent voter sets overlap, so acknowledgements may be counted against the voters on either side of the newest change.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from typing import TypeAlias

import msgspec

from agent_core.election.acts import ACT, ACT_COMMIT, Ack, Act, ActData, ActKind, CommitData, ack_message
from agent_core.election.messages import Certificate, TermPayload, majority
from agent_core.errors import VerificationFailed
from agent_core.feeds.model import Entry
from agent_core.identity.signing import Verifier
from agent_core.roster.fold import after, founded, genesis_of
from agent_core.roster.model import Roster

#: Kinds that may change the set of voters.
VOTER_KINDS = frozenset({ActKind.VOTER_ADD, ActKind.VOTER_REMOVE, ActKind.MEMBER_REVOKE, ActKind.MEMBER_EVICT})
#: More acknowledgements than this in one entry is noise: there are at most seven voters.
MAX_ACKS = 16


#: An act as acknowledgements name it: number, term, hash.
_Place: TypeAlias = tuple[int, int, str]


class HeldAct(msgspec.Struct, frozen=True):
    """An act with its link and the header bytes it is stored in."""

    act: Act
    cluster: str
    prev: str
    cert: str
    raw: bytes

    @property
    def number(self) -> int:
        return self.act.number

    @property
    def term(self) -> int:
        return self.act.term

    @property
    def hash(self) -> str:
        return self.act.hash

    @property
    def changes_voters(self) -> bool:
        return self.act.kind in VOTER_KINDS


class TermRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One term as its ``term`` act tells it."""

    term: int
    leader: str
    trigger: str
    hlc: str
    certified: bool


def held_act(entry: Entry) -> HeldAct | None:
    """An ``act`` entry as an act; nothing if it can't be one."""
    data = entry.data(ActData)
    if data is None or data.number < 0 or data.term < 0:
        return None
    genesis = data.kind == ActKind.GENESIS
    if genesis != (data.number == 0) or genesis != (not data.cluster) or genesis != (not data.prev):
        return None
    header = entry.header
    act = Act(
        number=data.number,
        term=data.term,
        hash=entry.hash.hex(),
        kind=data.kind,
        payload=data.payload,
        author=header.author,
        epoch=header.epoch,
        seq=header.seq,
        hlc=header.hlc,
    )
    return HeldAct(act, data.cluster, data.prev, data.cert, entry.raw)


@lru_cache(maxsize=256)
def parse_act(raw: bytes) -> HeldAct | None:
    """Header bytes from the election stream as an act; nothing if they can't be one."""
    try:
        entry = Entry.parse(raw)
    except VerificationFailed:
        return None
    return held_act(entry) if entry.header.type == ACT else None


class ActChain:
    """Implements ``Fold`` and ``acts.Chain``.

    Args:
        cluster_id: the genesis' leaf hash (hex); empty while the node belongs to no cluster.
        verifier: checks the acknowledgements.
    """

    def __init__(self, cluster_id: str, verifier: Verifier) -> None:
        self._verifier = verifier
        self._pool: dict[str, HeldAct] = {}
        self._children: dict[str, set[str]] = {}
        #: Acts held by the election stream only, not yet as entries.
        self._loose: dict[str, HeldAct] = {}
        self._terms: dict[int, dict[str, HeldAct]] = {}
        #: What is said to be acknowledgements, by act that isn't committed yet: of entries, and while a stream's are looked at.
        #: Only those of voters are ever checked, and only once the act's place is reached: others cost nothing.
        self._acks: dict[_Place, set[Ack]] = {}
        self._checked: dict[_Place, dict[Ack, bool]] = {}
        self._certified: dict[str, bool] = {}
        #: Every commit that came as an entry, for :meth:`adopt`.
        self._commits: list[CommitData] = []
        self._reset(cluster_id)

    def _reset(self, cluster_id: str) -> None:
        self.cluster_id = cluster_id
        #: Grows with every change of the committed prefix.
        self.revision = getattr(self, "revision", -1) + 1
        self._committed: list[Act] = []
        self._held: list[HeldAct] = []
        self._rosters: list[Roster] = []
        self._versions: list[int] = []
        #: The commit by which each step was taken, in order: what a node that lags is sent.
        self._proofs: list[CommitData] = []
        self._loose_proofs: dict[str, CommitData] = {}
        #: The chain of the cluster that this one replaces, and the number of its last act that counts.
        self._lost: ActChain | None = None
        self._lost_last = -1
        #: Of an act whose commit a stream brings just now: the acknowledgements that are held as entries.
        self._by_feed: dict[_Place, frozenset[Ack]] = {}
        #: Voters in force and before their newest change; sorted.
        self.voters: tuple[str, ...] = ()
        self.voters_before: tuple[str, ...] = ()
        self._promoted: dict[str, int] = {}

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def committed(self) -> Sequence[Act]:
        """Committed acts by number, from 0 without gaps."""
        return self._committed

    @property
    def acts(self) -> Sequence[Act]:
        """The acts that count here: those taken over from the clusters that this one replaces, then the committed ones."""
        if self._lost is None:
            return self._committed
        beyond = self._lost.tip_number - self._lost_last
        return (*self._lost.acts[: len(self._lost.acts) - beyond], *self._committed)

    @property
    def lineage(self) -> frozenset[str]:
        """This cluster's id and those of the clusters whose place it took."""
        return (self._lost.lineage if self._lost else frozenset()) | {self.cluster_id}

    @property
    def roster(self) -> Roster | None:
        """The roster after the last committed act."""
        return self._rosters[-1] if self._rosters else None

    def roster_at(self, version: int) -> Roster | None:
        """The roster as it stood after act number ``version``; nothing if that act isn't proven here."""
        if version > self.tip_number:
            return None
        at = bisect_right(self._versions, version)
        return self._rosters[at - 1] if at else None

    def roster_of(self, cluster_id: str, version: int) -> Roster | None:
        """The roster at a version of this cluster or of one that it replaces; nothing of what doesn't count here."""
        if cluster_id == self.cluster_id:
            return self.roster_at(version)
        if self._lost is None or (cluster_id == self._lost.cluster_id and version > self._lost_last):
            return None
        return self._lost.roster_of(cluster_id, version)

    @property
    def tip_number(self) -> int:
        """Number of the last committed act; -1 without a genesis."""
        return len(self._committed) - 1

    @property
    def tip_hash(self) -> str:
        """Hash of the last committed act."""
        return self._committed[-1].hash if self._committed else ""

    def held(self, number: int) -> HeldAct:
        """A committed act with its bytes."""
        return self._held[number]

    def get(self, hash: str) -> HeldAct | None:
        """Any act held, committed or not."""
        return self._pool.get(hash)

    def proofs_after(self, number: int) -> Sequence[CommitData]:
        """The commits by which the prefix grew beyond a number, in order."""
        return self._proofs[bisect_right(self._proofs, number, key=lambda p: p.number) :]

    def promoted_at(self, peer_id: str) -> int:
        """Number of the act that last made the peer a voter; -1 if none did."""
        return self._promoted.get(peer_id, -1)

    def loose(self) -> tuple[tuple[bytes, ...], tuple[CommitData, ...]]:
        """Acts and commits held by the election stream only, not yet as entries: they must be kept apart."""
        return tuple(h.raw for h in self._loose.values()), tuple(self._loose_proofs.values())

    def proven_by_feeds(self) -> int:
        """Number of the last committed act that entries alone prove, so that whoever gets the feeds can prove it too."""
        loose = min((h.number for h in self._loose.values() if self._is_committed(h)), default=self.tip_number + 1)
        proofs = (p.number for p in self._proofs if p.number < loose and p.hash not in self._loose_proofs)
        return max(proofs, default=min(0, self.tip_number))

    def timeline(self) -> Sequence[TermRecord]:
        """The terms this node knows leaders of, oldest first; ``certified`` if the certificate holds."""
        return [self._record(acts) for _, acts in sorted(self._terms.items())]

    def led(self, last: int) -> Sequence[str]:
        """Who led the newest terms, by committed acts only: anybody can write that it leads, and nobody else's word counts."""
        terms = (act.author for act in reversed(self._committed) if act.kind == ActKind.TERM)
        return list(islice(terms, last))

    def opening(self, term: int) -> Act | None:
        """The act that opened a term, committed or not; of several that say so, the one that is proven best."""
        acts = self._terms.get(term)
        return self._best(acts).act if acts else None

    def _best(self, acts: dict[str, HeldAct]) -> HeldAct:
        return min(acts.values(), key=lambda h: (not self._is_committed(h), not self._is_certified(h), h.hash))

    def _record(self, acts: dict[str, HeldAct]) -> TermRecord:
        chosen = self._best(acts)
        payload = _term_payload(chosen)
        return TermRecord(
            term=chosen.term,
            leader=chosen.act.author,
            trigger=payload.trigger if payload else "",
            hlc=chosen.act.hlc,
            certified=self._is_certified(chosen),
        )

    def _is_committed(self, held: HeldAct) -> bool:
        return held.number <= self.tip_number and self._held[held.number].hash == held.hash

    def _is_certified(self, held: HeldAct) -> bool:
        known = self._certified.get(held.hash)
        if known is not None:
            return known
        payload = _term_payload(held)
        certificate: Certificate | None = payload.certificate if payload else None
        roster = self.roster_at(certificate.roster) if certificate else None
        if certificate is None or roster is None:
            return False
        holds = (
            certificate.term == held.term
            and certificate.leader == held.act.author
            and certificate.digest == held.cert
            and certificate.verify(self._verifier, roster)
        )
        self._certified[held.hash] = holds
        return holds

    def canonical(self) -> bytes:
        """A digest of the state: equal on nodes that hold the same entries."""
        digest = hashlib.sha256(self.cluster_id.encode())
        for act in self._committed:
            digest.update(act.hash.encode())
        for record in self.timeline():
            digest.update(f"\n{record.term} {record.leader} {record.certified}".encode())
        return digest.digest()

    # --- growing ------------------------------------------------------------------------------------------------------

    def adopt(self, cluster_id: str) -> None:
        """Belong to a cluster from now on: look again at all that is held."""
        if cluster_id == self.cluster_id:
            return
        self._reset(cluster_id)
        self._acks.clear()
        self._checked.clear()
        self._certified.clear()
        for commit in self._commits:
            self._take(commit)
        self._advance()

    def apply(self, entries: Iterable[Entry]) -> None:
        """Take ``act`` and ``act.commit`` entries in; others and unreadable ones are skipped."""
        touched = False
        for entry in entries:
            if entry.header.type == ACT:
                held = held_act(entry)
                if held is not None:
                    touched |= self.hold(held)
                    self._loose.pop(held.hash, None)
            elif entry.header.type == ACT_COMMIT:
                commit = entry.data(CommitData)
                if commit is not None and len(commit.acks) <= MAX_ACKS:
                    self._commits.append(commit)
                    touched |= self._take_entry(commit)
        if touched:
            self._advance()

    def hold(self, held: HeldAct) -> bool:
        """Keep an act for when its commit comes; whether it was new."""
        if held.hash in self._pool:
            return False
        self._pool[held.hash] = self._loose[held.hash] = held
        self._children.setdefault(held.prev, set()).add(held.hash)
        if held.act.kind == ActKind.TERM:
            self._terms.setdefault(held.term, {})[held.hash] = held
        return True

    def learn(self, acts: Iterable[HeldAct], proofs: Iterable[CommitData]) -> None:
        """Take in acts and commits that came ahead of their entries; acts that no commit proves aren't kept."""
        fresh = [h for h in acts if h.hash not in self._pool and self.hold(h)]
        before = self.tip_number
        if fresh:
            self._advance()
        for proof in proofs:
            if not self._prove(proof):
                break  # whatever else a peer says that says so is not worth looking at
        for held in fresh:
            if not (before < held.number <= self.tip_number and self._held[held.number].hash == held.hash):
                self._forget(held)

    def _prove(self, proof: CommitData) -> bool:
        """Take the step a stream's commit proves; what proves none isn't kept. False if signatures were checked in vain."""
        place = (proof.number, proof.term, proof.hash)
        known = self._acks.get(place, set())
        before = frozenset(known)
        if len(proof.acks) <= MAX_ACKS and self._take(proof):
            self._by_feed[place] = before
            self._advance()
            del self._by_feed[place]
            if place in self._acks:
                self._acks[place] &= before
                if not before:
                    del self._acks[place]
                return self._checked.pop(place, None) is None
        return True

    def _forget(self, held: HeldAct) -> None:
        if self._pool.pop(held.hash, None) is None:
            return
        self._loose.pop(held.hash, None)
        self._children[held.prev].discard(held.hash)
        if held.act.kind == ActKind.TERM:
            self._terms[held.term].pop(held.hash, None)
            if not self._terms[held.term]:
                del self._terms[held.term]

    def _take_entry(self, commit: CommitData) -> bool:
        if commit.number <= self.tip_number:
            proof = self._loose_proofs.get(commit.hash)
            if proof is not None and set(proof.acks) <= set(commit.acks):
                del self._loose_proofs[commit.hash]
            return False
        return self._take(commit)

    def _take(self, commit: CommitData) -> bool:
        if commit.cluster != self.cluster_id or commit.number <= self.tip_number:
            return False
        known = self._acks.setdefault((commit.number, commit.term, commit.hash), set())
        before = len(known)
        known.update(commit.acks)
        return len(known) > before

    def _advance(self) -> None:
        if not self._held:
            genesis = self._pool.get(self.cluster_id)
            if genesis is None or not self._take_over(genesis.act):
                return
            self._commit([genesis])
        while self._step():
            pass

    def _take_over(self, act: Act) -> bool:
        """Whether the cluster that this genesis replaces, if any, is proven here up to the act that it names."""
        genesis = genesis_of(act)
        if genesis is None or not genesis.replaces:
            return True
        lost = ActChain("", self._verifier)
        for held in self._pool.values():
            lost.hold(held)
        lost._commits = self._commits
        lost.adopt(genesis.replaces)
        if lost.tip_number < genesis.last or lost.held(genesis.last).hash != genesis.last_hash:
            return False
        self._lost, self._lost_last = lost, genesis.last
        return True

    def _step(self) -> bool:
        if not self._acks or not self._children.get(self.tip_hash):
            return False
        for place in [p for p in self._acks if p[0] <= self.tip_number]:
            del self._acks[place]
            self._checked.pop(place, None)
        for place in sorted(p for p in self._acks if p[2] in self._pool):
            number, term, hash = place
            path = self._path(hash)
            if path is None or path[-1].number != number or path[-1].term != term:
                continue
            valid = self._valid(place)
            if self._decided(valid, path):
                acks = tuple(Ack(voter, sig) for voter, sig in sorted(valid.items()))
                proof = CommitData(cluster=self.cluster_id, term=term, number=number, hash=hash, acks=acks)
                self._proofs.append(proof)
                if not set(acks) <= self._by_feed.get(place, self._acks[place]):
                    self._loose_proofs[hash] = proof
                self._commit(path)
                return True
        return False

    def _valid(self, place: _Place) -> dict[str, bytes]:
        """The true acknowledgements of an act by those who may count."""
        number, term, hash = place
        message = ack_message(self.cluster_id, term, number, hash)
        checked = self._checked.setdefault(place, {})
        valid: dict[str, bytes] = {}
        for ack in sorted(
            (a for a in self._acks[place] if a.voter in self.voters or a.voter in self.voters_before),
            key=lambda a: (a.voter, a.sig),
        ):
            if ack not in checked:
                checked[ack] = self._verifier.verify(ack.voter, message, ack.sig)
            if checked[ack]:
                valid.setdefault(ack.voter, ack.sig)
        return valid

    def _path(self, hash: str) -> list[HeldAct] | None:
        """The acts from just after the committed prefix to the given one, if the links lead there."""
        path: list[HeldAct] = []
        while hash != self.tip_hash:
            held = self._pool.get(hash)
            if held is None or held.number <= self.tip_number or held.cluster != self.cluster_id:
                return None
            if path and (held.number != path[-1].number - 1 or held.term > path[-1].term):
                return None
            path.append(held)
            hash = held.prev
        path.reverse()
        return path if path and path[0].number == self.tip_number + 1 else None

    def _decided(self, acks: dict[str, bytes], path: list[HeldAct]) -> bool:
        changes = sum(h.changes_voters for h in path)
        if changes <= 1 and majority(acks, self.voters):
            return True
        return changes == 0 and bool(self.voters_before) and majority(acks, self.voters_before)

    def _commit(self, path: Iterable[HeldAct]) -> None:
        for held in path:
            act, before = held.act, self.roster
            if before is None and self._lost is not None:
                roster = founded(act, self._lost.roster_at(self._lost_last))
            else:
                roster = after(before, act)
            self._committed.append(act)
            self._held.append(held)
            if roster is not None and roster is not before:
                self._rosters.append(roster)
                self._versions.append(act.number)
                if held.changes_voters or before is None:
                    voters = roster.voters
                    if voters != self.voters:
                        for peer in set(voters) - set(self.voters):
                            self._promoted[peer] = act.number
                        self.voters, self.voters_before = voters, self.voters
        self.revision += 1
        for held in [h for h in self._loose.values() if h.number <= self.tip_number]:
            if not self._is_committed(held):
                self._forget(held)  # void, and nobody's entry yet


def _term_payload(held: HeldAct) -> TermPayload | None:
    try:
        return msgspec.json.decode(held.act.payload, type=TermPayload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
