"""What the UCXL pane says: the tree of addresses, the rail of versions, a content with what it leans on and who decided it. Pure."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent_core.shapes import AddressInfo, Content, Decision, Version
from chorus_hap.panes.decisions import STATE_ROLES, state_glyph, tally_words
from chorus_hap.program import Here
from chorus_hap.themes import UNICODE, Glyphs
from chorus_hap.widgets.bars import choice_role
from chorus_hap.widgets.grid import Row
from chorus_hap.widgets.lines import Line, clock, facts, one_line, plural, since, size, wrap
from chorus_hap.widgets.prose import prose

#: Longest body that is shown; a longer one is told by its size.
_SHOWN_BYTES = 256 * 1024


@dataclass
class Node:
    """A place of the tree: a project, a task, a folder of a path, or an address."""

    name: str
    key: str
    children: dict[str, Node] = field(default_factory=dict)
    info: AddressInfo | None = None


def split_address(address: str) -> tuple[str, str, str, list[str]]:
    """Project, task, ``agent:role`` and path segments of an address, whatever its temporal part."""
    rest = address.removeprefix("ucxl://")
    authority, _, tail = rest.partition("/")
    who, _, where = authority.partition("@")
    project, _, task = where.partition(":")
    segments = [s for s in tail.split("/") if s]
    if segments and (segments[0] in ("*^", "*~", "#") or segments[0][:2] in ("~~", "^^") or segments[0][:1] == "@"):
        segments = segments[1:]
    return project or "?", task or "?", who or "?", segments


def tree_of(addresses: Iterable[AddressInfo]) -> Node:
    """Addresses by project, task and path; where two authors keep the same path, the author is part of the last name."""
    root = Node("", "")
    for info in sorted(addresses, key=lambda a: a.address):
        project, task, who, path = split_address(info.address)
        node = root
        for name in (project, task, *path[:-1]):
            node = node.children.setdefault(name, Node(name, f"{node.key}/{name}"))
        leaf = path[-1] if path else "(root)"
        name = leaf if leaf not in node.children else f"{leaf}  {who}"
        node.children[name] = Node(name, info.address, info=info)
    return root


def tree_rows(root: Node, shut: set[str], glyphs: Glyphs, filtering: bool) -> list[Row]:
    """The rows of the tree that are seen."""
    rows: list[Row] = []

    def walk(node: Node, depth: int) -> None:
        for child in node.children.values():
            indent = "  " * depth
            if child.info is None:
                closed = child.key in shut and not filtering
                sign = glyphs.shut if closed else glyphs.open
                label: Line = [(f"{indent}{sign} ", "dim"), (child.name, "text bold" if depth == 0 else "text")]
                rows.append(Row(child.key, (label, ("", "")), {"path": child.key}, group=True))
                if not closed:
                    walk(child, depth + 1)
            else:
                info = child.info
                gone = " deleted" if info.deleted else ""
                label = [(f"{indent}  ", ""), (child.name, "dim strike" if info.deleted else "text"), (gone, "dim")]
                if info.siblings:
                    label.append((f" {glyphs.fork}{info.siblings + 1}", "warn"))
                fields = {"path": info.address, "author": info.author, "address": info.address}
                rows.append(Row(info.address, (label, (str(info.versions), "dim")), fields, copy=info.address))

    walk(root, 0)
    return rows


def version_rows(versions: Sequence[Version], glyphs: Glyphs, now: Any) -> list[Row]:
    """The version rail, newest first."""
    return [
        Row(
            v.hash,
            (
                [(f"{glyphs.node if v.latest else glyphs.fork if v.sibling else glyphs.off} ", "good" if v.latest else "warn" if v.sibling else "dim"), (v.hash[:8], "text")],
                ("latest" if v.latest else "beside it" if v.sibling else f"~~{i}", "text" if v.latest else "warn" if v.sibling else "dim"),
                (since(v.at, now), "dim"),
                (v.author, "text"),
                ("deleted" if v.deleted else size(v.size), "dim"),
                (one_line(v.note), "dim"),
            ),
            {"author": v.author, "note": v.note, "hash": v.hash},
            copy=v.hash,
        )
        for i, v in enumerate(versions)
    ]  # fmt: skip


def body_of(content: Content) -> str | None:
    """The content as text; None when it isn't text, or isn't here whole."""
    if content.more or content.missing:
        return None
    try:
        return base64.b64decode(content.data).decode("utf-8")
    except ValueError:
        return None


def beginning_of(content: Content) -> tuple[str | None, int]:
    """As much of the content as is shown, and how many bytes that is; None when it isn't text."""
    data = base64.b64decode(content.data)
    whole = not content.more and len(data) <= _SHOWN_BYTES
    decoder = codecs.getincrementaldecoder("utf-8")()  # a character may be cut in two where the part ends
    try:
        text = decoder.decode(data[:_SHOWN_BYTES], final=whole)
    except ValueError:
        return None, 0
    return text, len(text.encode())


def why_not_edited(content: Content) -> str:
    """Why a content can't be opened in an editor; empty when it can."""
    if content.version.deleted:
        return ""
    if content.missing:
        return f"Its content is not here: {content.missing}. Writing now would replace what nobody here has read."
    if content.more:
        return (
            f"{size(content.version.size)} are too much for an editor here: get it with `chorus-hap ucxl get`, change the "
            "file, and put it back with `chorus-hap ucxl put`."
        )
    return "" if body_of(content) is not None else "This is not text; use `chorus-hap ucxl put` with a file."


def _how_to_get(content: Content, what: str, width: int, here: Here) -> list[Line]:
    """What of a large content is shown, and the command that has all of it."""
    # the version's hash, since the address alone would answer the latest
    command = here(f"chorus-hap ucxl get '{content.address}' --version {content.version.hash[:16]} > FILE")
    lines: list[Line] = [[(part, "warn")] for part in wrap(f"{what} All of it, in a shell:", width)]
    return lines + [[("  " + part, "accent")] for part in wrap(command, max(8, width - 2))]


@dataclass(frozen=True, slots=True)
class Link:
    """Where a citation leads: a pane and what to open in it."""

    pane: str
    target: str
    label: str


def links_of(content: Content, decisions: Sequence[Decision]) -> list[Link]:
    """Where one can go from a content: the decisions on it, what cites it, what it cites."""
    out = [Link("decisions", d.id, f"decision {one_line(d.title)}") for d in decided_by(content, decisions)]
    decided = {d.address for d in decisions}
    for by in content.cited_by:
        kind, _, name = by.partition(":")
        if kind == "room":
            out.append(Link("hmmm", name, f"message {name}"))
        elif by not in decided:
            out.append(Link("ucxl", by, by))
    out += [Link("ucxl", c.address, c.address) for c in content.cites if c.address not in decided]
    return out


def decided_by(content: Content, decisions: Sequence[Decision]) -> list[Decision]:
    """The decisions whose record this is, or whose record cites it or is cited by it."""
    near = {content.address, *content.cited_by, *(c.address for c in content.cites)}
    return [d for d in decisions if d.address in near]


def _decided_lines(decision: Decision, width: int, glyphs: Glyphs) -> list[Line]:
    """Who decided it, and why: state, tally, and the reasons given."""
    role = STATE_ROLES.get(decision.state, "text")
    state = f"{state_glyph(decision.state, glyphs)} {decision.state.replace('_', ' ')}"
    head: Line = [(state, role), (f"  {one_line(decision.title)}", "text bold"), (f"  {tally_words(decision)}", "dim")]
    lines = facts([("", head)], 2, width)
    for vote in decision.votes:
        if vote.choice:
            said: Line = [
                (f"{vote.voter} ", "you" if vote.you else "text"),
                (vote.choice, choice_role(vote.choice, decision.options)),
            ]
            said += [(f"  {one_line(vote.reason)}", "text")] if vote.reason else []
            lines += facts([("", said)], 4, width)
    return lines


def content_lines(
    content: Content,
    width: int,
    glyphs: Glyphs = UNICODE,
    decisions: Sequence[Decision] = (),
    key: str = "",
    here: Here | None = None,
) -> list[Line]:
    """A version's content, who decided it and why, and what leans on it.

    Args:
        key: the key that follows the links, as it is called on screen.
        here: how commands are called here.
    """
    version = content.version
    lines: list[Line] = []
    if content.missing:
        lines += [[(part, "dim italic")] for part in wrap(f"Not here: {content.missing}.", width)]
    elif version.deleted:
        lines.append([("Deleted. Its history stays; e writes a new version.", "dim italic")])
    else:
        text, shown = beginning_of(content)
        if text is None:
            lines += _how_to_get(
                content, f"{version.media}, {size(version.size)}: not shown as text.", width, here or Here()
            )
        elif shown < version.size:
            lines += _how_to_get(
                content, f"The first {size(shown)} of {size(version.size)} are shown.", width, here or Here()
            )
            lines.append([])
        if text is None:
            pass
        elif version.media == "text/markdown" or content.address.endswith(".md"):
            lines += prose(text, width)
        else:
            lines += [[(part, "text")] for line in text.split("\n") for part in wrap(line, width)]
    if content.siblings:
        lines += [
            [],
            [
                (
                    f"{plural(len(content.siblings), 'other version stands', 'other versions stand')} beside this one; writing again merges them.",
                    "warn",
                )
            ],
        ]
    decided = decided_by(content, decisions)
    if decided:
        lines += [[], [("Who decided it, and why", "dim")]]
        for decision in decided:
            lines += _decided_lines(decision, width, glyphs)
    if content.cites:
        lines += [[], [("Leans on", "dim")]]
        for citation in content.cites:
            lines += facts([("", [(citation.address, "accent"), (f"  {one_line(citation.reason)}", "text")])], 2)
    if content.cited_by:
        lines += [
            [],
            [("Cited by", "dim")],
            *([("  " + by.replace("room:", "message "), "accent")] for by in content.cited_by),
        ]
    if key and links_of(content, decisions):
        lines += [[], [(key, "accent bold"), (" goes there", "dim")]]
    lines += [[], [(f"{version.hash[:16]} · {clock(version.at)} · {version.author}", "dim")]]
    return lines


def diff_lines(text: str) -> list[Line]:
    """A unified diff; the sign at the line's start says it without colour."""
    out: list[Line] = []
    for line in text.split("\n"):
        head = line[:1]
        role = "dim" if line[:3] in ("---", "+++") else {"+": "good", "-": "bad", "@": "accent"}.get(head, "text")
        out.append([(line, role)])
    return out
