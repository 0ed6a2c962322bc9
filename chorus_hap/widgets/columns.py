"""The one rule of how wide the columns of a table are. Pure.

Every column has what it needs (the widest thing in it), a least and a wish; one column or more is the *main* one, for whose sake
the table is read: names, titles, texts. Nothing takes more cells than it needs, so no blank stands beside a word that was cut:

1. Everybody gets the least. While that is too much, the columns of the highest rank are left out.
2. The main columns grow to :data:`COMFORT` cells, then the others to their wish, in the order of their ranks.
3. What is over goes to the main columns as far as they need it, then to the others, and the rest of the line stays free
   at the end of the last main column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chorus_hap.widgets.lines import Line, Span, clean, clip, fit, width_of

#: A main column is never narrower than this while a lesser column can give way, unless all it has to show is shorter.
LEAST = 24
#: What a main column has before lesser ones get more than their least.
COMFORT = 40
_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    ``width`` is what it wishes for, in cells; 0 makes it a main column. ``least`` is what it can't be narrower than, else the
    wish. ``rank`` says what gives way: the highest goes first, 0 never goes.
    """

    title: str
    width: int = 0
    right: bool = False
    rank: int = 0
    least: int = 0

    @property
    def main(self) -> bool:
        return not self.width


Cell = Span | Line


def cell_width(cell: Cell) -> int:
    """Cells that a cell's content needs."""
    return width_of([(clean(text), roles) for text, roles in (cell if isinstance(cell, list) else [cell])])


def needs_of(titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> list[int]:
    """The widest thing in each column, its title too; nothing else in it leaves a column out."""
    found = [0] * len(titles)
    for row in rows:
        for index, cell in enumerate(row[: len(found)]):
            found[index] = max(found[index], cell_width(cell))
    return [max(need, width_of([(title, "")])) if need else 0 for need, title in zip(found, titles, strict=True)]


def allot(columns: Sequence[Column], needs: Sequence[int], width: int) -> list[int]:
    """Cells for each column of a table of this width; 0 for one that is left out.

    Args:
        needs: the widest thing in each column.
        width: cells for the columns and the gaps between them.
    """
    shown = [i for i, c in enumerate(columns) if c.main or needs[i]]
    least = [min(needs[i] or 1, LEAST) if c.main else min(needs[i], c.least or c.width) for i, c in enumerate(columns)]

    def room() -> int:
        return width - sum(least[i] for i in shown) - _GAP * (len(shown) - 1)

    while room() < 0 and (going := [i for i in shown if columns[i].rank]):
        worst = max(columns[i].rank for i in going)
        shown = [i for i in shown if columns[i].rank != worst]
    out = [least[i] if i in shown else 0 for i in range(len(columns))]
    left = room()
    if left < 0:  # not even the least fits: the main columns give way, evenly, then everything is clipped at the edge
        main = [i for i in shown if columns[i].main]
        for number, i in enumerate(main):
            share = -left // (len(main) - number)
            taken = min(share, max(0, out[i] - 4))
            out[i] -= taken
            left += taken
        return out

    def grow(indexes: list[int], goal: list[int]) -> None:
        nonlocal left
        for i in indexes:
            more = max(0, min(left, goal[i] - out[i]))
            out[i] += more
            left -= more

    main = [i for i in shown if columns[i].main]
    lesser = sorted((i for i in shown if not columns[i].main), key=lambda i: columns[i].rank)
    whole = list(needs)
    grow(main, [min(n, COMFORT) for n in needs])
    grow(lesser, [min(n, c.width) for n, c in zip(needs, columns, strict=True)])
    grow(main, whole)
    grow(lesser, whole)
    if main:
        out[main[-1]] += max(0, left)
    return out


def lay(columns: Sequence[Column], cells: Sequence[Cell], sizes: Sequence[int]) -> Line:
    """A row of a table: each cell in its column."""
    line: Line = []
    for cell, column, size in zip(cells, columns, sizes, strict=False):
        if not size:
            continue
        if isinstance(cell, list):
            part = clip([(clean(text), roles) for text, roles in cell], size)
            gap = (" " * (size - width_of(part)), "")
            line += [gap, *part] if column.right else [*part, gap]
        else:
            line.append((fit(clean(cell[0]), size, column.right), cell[1]))
        line.append((" " * _GAP, ""))
    return line[:-1]
