"""Small pictures made of characters: meters, sparklines, tallies. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chorus_hap.themes import Glyphs
from chorus_hap.widgets.lines import Line


def meter(part: float, width: int, glyphs: Glyphs, role: str = "accent") -> Line:
    """A bar that is filled to ``part`` (0 to 1) of ``width`` columns."""
    filled = round(max(0.0, min(1.0, part)) * width)
    return [(glyphs.full * filled, role), (glyphs.empty * (width - filled), "faint")]


def sparkline(values: Sequence[float], width: int, glyphs: Glyphs) -> str:
    """The last ``width`` values as columns of eight heights, scaled to the greatest."""
    shown = list(values)[-width:]
    top = max(shown, default=0.0)
    levels = len(glyphs.spark) - 1
    bars = "".join(glyphs.spark[0 if top <= 0 else min(levels, round(v / top * levels))] for v in shown)
    return bars.rjust(width, glyphs.spark[0])


#: How a choice is painted; anything else is one of a proposal's own options.
CHOICE_ROLES = {"approve": "good", "reject": "bad", "abstain": "dim"}
_OPTION_ROLES = ("accent", "you", "warn", "good")


def choice_role(choice: str, options: Sequence[str] = ()) -> str:
    """The role a vote's choice is painted in."""
    if choice in CHOICE_ROLES:
        return CHOICE_ROLES[choice]
    return _OPTION_ROLES[list(options).index(choice) % len(_OPTION_ROLES)] if choice in options else "text"


def tally_bar(tally: Mapping[str, int], eligible: int, options: Sequence[str], width: int, glyphs: Glyphs) -> Line:
    """Votes cast, in the order of the options, against all who are eligible."""
    line: Line = []
    used = 0
    total = max(eligible, sum(tally.values()), 1)
    seen = 0
    for option in [*options, *(o for o in tally if o not in options)]:
        seen += tally.get(option, 0)
        upto = round(seen / total * width)
        line.append((glyphs.full * (upto - used), choice_role(option, options)))
        used = upto
    line.append((glyphs.empty * (width - used), "faint"))
    return line
