"""One term's ballot as a voter sees it: who stands, who voted for whom, and whom this voter chooses (SPEC section 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from agent_core.election.messages import Candidacy, Vote
from agent_core.election.model import Score, tie_break


class Ballot:
    """Candidacies and votes heard in one term.

    Args:
        term: the term.
        attempt: 1 for the first term tried since a leader was known, and so on.
        before: votes heard in the term before, by candidate.
        until: when the term has had time enough to find its leader (s).
    """

    def __init__(self, term: int, attempt: int, before: Counter[str], until: float = 0.0) -> None:
        self.term = term
        self.attempt = attempt
        self.until = until
        self._before = before
        self.candidacies: dict[str, Candidacy] = {}  # in the order heard
        self.votes: dict[str, Vote] = {}
        self.closes_at: float | None = None

    @property
    def tally(self) -> Counter[str]:
        """Votes by candidate."""
        return Counter(v.candidate for v in self.votes.values())

    def choose(self, eligible: list[str], score: Callable[[str], Score]) -> str | None:
        """Whom to vote for among the eligible candidates.

        First attempt: the best by own reckoning; second: the one with most votes heard in the term before; from the third: the
        first heard. Ties go to the lower digest of term and peer id.
        """
        heard = [c for c in self.candidacies if c in eligible]
        if not heard:
            return None
        if self.attempt == 1:
            best = max((score(c) for c in heard), key=lambda s: s.total)
            return min((c for c in heard if not best.beats(score(c))), key=lambda c: tie_break(self.term, c))
        if self.attempt == 2:
            return min(heard, key=lambda c: (-self._before[c], tie_break(self.term, c)))
        return heard[0]

    def hopeless(self, voters: tuple[str, ...], reached: Iterable[str]) -> bool:
        """Whether nobody gets a majority any more, if only the voters reached can still vote."""
        best = max(self.tally.values(), default=0)
        missing = sum(1 for v in reached if v not in self.votes)
        return best + missing <= len(voters) // 2
