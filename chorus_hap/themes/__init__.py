"""How the console looks: palettes by role, and the glyphs. Panes name roles (``dim``, ``good bold``), never colours."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.style import Style

if TYPE_CHECKING:
    from textual.theme import Theme


@dataclass(frozen=True)
class Palette:
    """Colours by role. Meaning is never carried by colour alone: a glyph or a word stands beside it."""

    name: str
    label: str
    dark: bool
    ground: str  #: background of everything
    bar: str  #: status line and footer
    select: str  #: the selected row of the focused list
    rest: str  #: the selected row of the others
    text: str
    dim: str  #: labels, times, what is second
    faint: str  #: hairlines
    accent: str
    good: str
    warn: str
    bad: str
    you: str

    def colour(self, role: str) -> str:
        """The colour of a role; unknown ones are text."""
        found = getattr(self, role, None)
        return found if isinstance(found, str) and found.startswith("#") else self.text

    def theme(self) -> Theme:
        """The same as a Textual theme, for its own widgets (fields, toasts, palette)."""
        from textual.theme import Theme

        return Theme(
            name=self.name,
            primary=self.accent,
            secondary=self.you,
            accent=self.accent,
            warning=self.warn,
            error=self.bad,
            success=self.good,
            foreground=self.text,
            background=self.ground,
            surface=self.ground,
            panel=self.bar,
            boost=self.rest,
            dark=self.dark,
            variables={
                "chorus-dim": self.dim,
                "chorus-faint": self.faint,
                "chorus-bar": self.bar,
                "chorus-select": self.select,
                "chorus-rest": self.rest,
                "block-cursor-background": self.select,
                "block-cursor-foreground": self.text,
                "block-cursor-text-style": "bold",
                "block-cursor-blurred-background": self.rest,
                "block-cursor-blurred-foreground": self.text,
                "block-hover-background": self.rest,
                "input-cursor-background": self.accent,
                "input-cursor-foreground": self.ground,
                "input-selection-background": self.select,
                "scrollbar": self.faint,
                "scrollbar-hover": self.dim,
                "scrollbar-active": self.accent,
                "scrollbar-background": self.ground,
                "scrollbar-background-hover": self.ground,
                "scrollbar-background-active": self.ground,
                "scrollbar-corner-color": self.ground,
                "border": self.accent,
                "border-blurred": self.faint,
            },
        )


DARK = Palette(
    "chorus-dark", "dark", True,
    ground="#11151b", bar="#1a212b", select="#2a3a55", rest="#1b2430",
    text="#d7dde6", dim="#8a95a5", faint="#364150",
    accent="#7fb0f5", good="#86c995", warn="#e5b769", bad="#ef7f7c", you="#c0a3f2",
)  # fmt: skip
LIGHT = Palette(
    "chorus-light", "light", False,
    ground="#fbfaf7", bar="#ecebe5", select="#cfe0fb", rest="#ebeef2",
    text="#20262d", dim="#5f6974", faint="#c6cbd0",
    accent="#1a5bb8", good="#22733a", warn="#8a5800", bad="#b0231b", you="#6539a0",
)  # fmt: skip
CONTRAST = Palette(
    "chorus-contrast", "high contrast", True,
    ground="#000000", bar="#1c1c1c", select="#0038b8", rest="#303030",
    text="#ffffff", dim="#d6d6d6", faint="#8c8c8c",
    accent="#6fdcff", good="#6dff7a", warn="#ffe75c", bad="#ff9a8f", you="#ffa8ff",
)  # fmt: skip
SAFE = Palette(  # after Okabe and Ito (2008): distinct with every common kind of colour vision
    "chorus-safe", "colour-blind safe", True,
    ground="#11151b", bar="#1a212b", select="#2a3a55", rest="#1b2430",
    text="#dde2ea", dim="#919cab", faint="#394453",
    accent="#56b4e9", good="#2bb592", warn="#f0e442", bad="#ec7a3c", you="#d894bb",
)  # fmt: skip

PALETTES: dict[str, Palette] = {p.name: p for p in (DARK, LIGHT, CONTRAST, SAFE)}


@lru_cache(maxsize=4096)
def style(palette: Palette, roles: str, ground: str, away: bool = False) -> Style:
    """The style of a span.

    Args:
        palette: the palette in force.
        roles: a colour role and modifiers (``bold`` ``italic`` ``under`` ``strike``), separated by blanks.
        ground: role of the background: ``ground``, ``select``, ``rest`` or ``bar``.
        away: the node is away: everything but the hairlines is dimmed.
    """
    names = roles.split()
    colour = "text"
    for name in names:
        if name not in ("bold", "italic", "under", "strike", "reverse"):
            colour = name
    if away and colour != "faint":
        colour = "dim"
    return Style(
        color=palette.colour(colour),
        bgcolor=palette.colour(ground),
        bold="bold" in names and not away,
        italic="italic" in names,
        underline="under" in names,
        strike="strike" in names,
        reverse="reverse" in names,
    )


@dataclass(frozen=True)
class Glyphs:
    """The signs in use; one set needs nothing but ASCII."""

    on: str = "●"
    off: str = "○"
    lead: str = "★"
    cursor: str = "▌"
    ok: str = "✓"
    no: str = "✗"
    skip: str = "·"
    up: str = "↑"
    right: str = "→"
    dot: str = "·"
    dash: str = "—"
    more: str = "…"
    full: str = "━"
    empty: str = "─"
    thumb: str = "▐"
    rule: str = "─"
    branch: str = "│"
    open: str = "▾"
    shut: str = "▸"
    warn: str = "▲"
    node: str = "●"
    fork: str = "◆"
    spark: str = "▁▂▃▄▅▆▇█"
    border: str = "round"
    translate: dict[int, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.border)


UNICODE = Glyphs()
ASCII = Glyphs(
    on="*", off="o", lead="#", cursor=">", ok="+", no="x", skip=".", up="^", right=">", dot="-", dash="-", more="~", full="=",
    empty="-", thumb="|", rule="-", branch="|", open="v", shut=">", warn="!", node="*", fork="%", spark=" .:-=+*#", border="ascii",
    translate={
        ord("·"): "-", ord("…"): "~", ord("—"): "-", ord("–"): "-", ord("→"): ">", ord("↑"): "^", ord("↓"): "v", ord("“"): '"',
        ord("”"): '"', ord("’"): "'", ord("≥"): ">=", ord("×"): "x", ord("⏎"): "enter", ord("▌"): ">", ord("│"): "|", ord("─"): "-",
    },
)  # fmt: skip
