"""Markdown as plain lines: what message bodies look like, in a room and in the wizard's preview. Pure."""

from __future__ import annotations

from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from chorus_hap.widgets.lines import Line, Span, clean, wrap_spans

_PARSER = MarkdownIt("commonmark").enable("table").enable("strikethrough")
#: A body longer than this is shown as it is, unformatted.
MAX_CHARS = 64_000


def prose(text: str, width: int, role: str = "text") -> list[Line]:
    """Markdown text in lines of at most ``width`` columns."""
    return [list(line) for line in _prose(text, max(10, width), role)]


@lru_cache(maxsize=256)
def _prose(text: str, width: int, role: str) -> tuple[Line, ...]:
    if len(text) > MAX_CHARS:
        return tuple(line for part in text[:MAX_CHARS].split("\n") for line in wrap_spans([(part, role)], width))
    out: list[Line] = []
    indents: list[str] = []
    marks: list[str] = []
    counters: list[int] = []
    span_role = role
    for token in _PARSER.parse(text):
        kind = token.type
        indent = "".join(indents)
        if kind in ("bullet_list_open", "ordered_list_open"):
            counters.append(int(token.attrGet("start") or 1) if kind.startswith("ordered") else -1)
        elif kind in ("bullet_list_close", "ordered_list_close"):
            counters.pop()
            if not counters:
                _gap(out)
        elif kind == "list_item_open":
            bullet = "• " if counters[-1] < 0 else f"{counters[-1]}. "
            if counters[-1] >= 0:
                counters[-1] += 1
            marks.append(bullet)
            indents.append(" " * len(bullet))
        elif kind == "list_item_close":
            indents.pop()
            marks[:] = marks[: len(indents)]
        elif kind == "blockquote_open":
            indents.append("│ ")
        elif kind == "blockquote_close":
            indents.pop()
        elif kind == "heading_open":
            span_role = "accent bold"
        elif kind == "heading_close":
            span_role = role
        elif kind == "inline":
            lead, rest = indent, indent
            if marks and marks[-1]:
                lead = indent[: -len(marks[-1])] + marks[-1]
                marks[-1] = ""
            for number, spans in enumerate(_inline(token, span_role)):
                start = lead if number == 0 else rest
                lines = wrap_spans([(start, "dim"), *spans], width, rest)
                out += lines
        elif kind in ("fence", "code_block"):
            for code in token.content.rstrip("\n").split("\n"):
                out.append([(indent + "  ", "dim"), (clean(code), "you")])
            _gap(out)
        elif kind == "hr":
            out.append([("─" * width, "faint")])
        if kind in ("paragraph_close", "heading_close") and not token.hidden and not counters:
            _gap(out)
    while out and not out[-1]:
        out.pop()
    return tuple(out)


def _gap(out: list[Line]) -> None:
    if out and out[-1]:
        out.append([])


def _inline(token: Token, role: str) -> list[list[Span]]:
    lines: list[list[Span]] = [[]]
    styles: list[str] = []
    for child in token.children or ():
        roles = " ".join((role, *styles))
        match child.type:
            case "text" | "html_inline":
                lines[-1].append((child.content, roles))
            case "code_inline":
                lines[-1].append((child.content, "you"))
            case "strong_open":
                styles.append("bold")
            case "em_open":
                styles.append("italic")
            case "s_open":
                styles.append("strike")
            case "link_open":
                styles.append("under")
            case "strong_close" | "em_close" | "s_close" | "link_close":
                styles and styles.pop()
            case "softbreak" | "hardbreak":
                lines.append([])
            case "image":
                lines[-1].append((f"[{child.content}]", "dim"))
    return lines
