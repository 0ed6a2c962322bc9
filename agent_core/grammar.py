"""Words that follow an article or a number in the sentences that are made: one helper each. Pure, and imports nothing."""

from __future__ import annotations

#: Words that begin with a vowel as it is written and not as it is said, and the other way round.
_SAID_WITH_CONSONANT = ("uni", "unan", "use", "user", "usual", "eu", "one", "ucxl", "uuid", "uri", "url")
_SAID_WITH_VOWEL = (
    "hour",
    "honest",
    "honour",
    "heir",
    "hmmm",
    "http",
    "mdns",
    "rpc",
    "sql",
    "ssh",
    "xml",
    "html",
    "hlc",
    "lru",
)


def a(word: str) -> str:
    """``a room``, ``an address``: the word with the article that it is said with."""
    lowered = word.lower()
    if lowered.startswith(_SAID_WITH_VOWEL):
        return f"an {word}"
    vowel = (
        lowered[:1] in tuple("aeiou8") or lowered.startswith(("11 ", "18 ", "11-", "18-")) or lowered in ("11", "18")
    )
    return f"an {word}" if vowel and not lowered.startswith(_SAID_WITH_CONSONANT) else f"a {word}"


def plural(count: int, one: str, many: str = "") -> str:
    """``1 vote``, ``2 votes``: a number with the word in the form that it takes."""
    return f"{count} {noun(count, one, many)}"


def noun(count: int, one: str, many: str = "") -> str:
    """The word alone, for numbers that are written in a way of their own."""
    return one if count == 1 else many or one + "s"


class Counted(int):
    """A number in a format string that says what is counted: ``{votes:vote|votes}`` gives ``1 vote``."""

    def __format__(self, spec: str) -> str:
        one, bar, many = spec.partition("|")
        return plural(int(self), one, many) if bar else format(int(self), spec)


def are(count: int) -> str:
    """``is`` of one, ``are`` of others."""
    return "is" if count == 1 else "are"
