"""What the wizard's steps are, and its lines: findings, threads, and the review of the exact message. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from agent_core.shapes import Citation, Finding, MemberInfo, Message, PostRequest, Room, RoomView
from chorus_hap.themes import Glyphs
from chorus_hap.widgets.grid import Row
from chorus_hap.widgets.lines import (
    Line,
    clock,
    cut,
    facts,
    fit,
    one_line,
    plural,
    since,
    size,
    spread,
    wrap,
    wrap_spans,
)
from chorus_hap.widgets.prose import prose
from chorus_hap.wizard.drafts import Draft

#: More than an envelope holds: such a body belongs at a UCXL address.
MAX_TEXT_BYTES = 200 * 1024
STEPS = (
    ("say", "Say"),
    ("where", "Where"),
    ("who", "Who"),
    ("body", "Message"),
    ("review", "Review"),
)
#: What can be said: key, label, hint; the key is intent, stance, weight.
SAYINGS = (
    ("update//", "Tell", "a reason or a piece of news (update)"),
    ("question//", "Ask", "a question that waits for an answer"),
    ("answer//", "Answer", "reply to a question"),
    ("proposal//", "Propose a plan", "others may object before it proceeds"),
    ("answer/agree/", "Agree", "a stance: counts towards consensus"),
    ("answer/disagree/advisory", "Object", "a stance: advisory, the plan may proceed"),
    ("answer/disagree/blocking", "Object and block", "a stance: the plan stops until it is resolved"),
    ("answer/abstain/", "Abstain", "a stance: neither for nor against"),
    ("escalation//", "Escalate", "it lands in people's Attention"),
)


def finding_lines(findings: Sequence[Finding], citations: Sequence[tuple[str, str]], glyphs: Glyphs) -> list[Line]:
    """Secrets found, with line and rule, and what is cited."""
    lines: list[Line] = []
    for f in findings:
        blocks = f.severity == "critical"
        verdict = "blocks sending" if blocks else "will be redacted"
        lines.append(
            [
                (f"{glyphs.warn} line {f.line}", "bad bold" if blocks else "warn bold"),
                (f"  {f.rule}", "text bold"),
                (f"  {f.severity}: {verdict}  ", "bad" if blocks else "warn"),
                (one_line(f.message), "dim"),
            ]
        )
    lines += [
        [(f"{glyphs.right} ", "dim"), (address, "accent"), (f"  {reason}", "text")] for address, reason in citations
    ]
    return lines


def checks_caption(findings: Sequence[Finding], citations: Sequence[tuple[str, str]]) -> str:
    """The title of the box under the editor."""
    parts = [plural(len(findings), "finding")] if findings else []
    parts += [plural(len(citations), "citation")] if citations else []
    return "Checks" + (" · " + ", ".join(parts) if parts else "")


def request_of(draft: Draft) -> PostRequest:
    """What is sent for a draft."""
    return PostRequest(
        room=draft.room,
        text=draft.text,
        intent=draft.intent,
        reply_to=draft.reply_to,
        stance=draft.stance,
        weight=draft.weight,
        citations=tuple(Citation(address=address, reason=reason) for address, reason in draft.citations),
        mentions=tuple(draft.mentions),
        op_id=draft.op_id,
    )


def grown_since(view: RoomView | None, draft: Draft) -> list[Message]:
    """What was written since this message was begun: in its thread, or in its room if it begins one."""
    if view is None or not draft.seen:
        return []
    parent = next((m for m in view.messages if m.id == draft.reply_to), None)
    thread = (parent.thread or parent.id) if parent else ""
    count = view.room.messages - draft.seen
    newest = sorted(view.messages, key=lambda m: m.at)[-count:] if count > 0 else []
    return [m for m in newest if not m.you and (not thread or thread in (m.thread, m.id))]


def review_lines(
    draft: Draft,
    findings: Sequence[Finding],
    view: RoomView | None,
    name: str,
    width: int,
    glyphs: Glyphs,
    blocked: str = "",
) -> list[Line]:
    """Exactly what is signed and sent; first what speaks against sending it.

    Args:
        blocked: why it can't be sent as it stands; then no key is named that would.
    """
    grown = grown_since(view, draft)
    secret = any(f.severity == "critical" for f in findings)
    lines: list[Line] = []
    if blocked and not secret:  # a secret is told of below, line by line
        lines += wrap_spans([(f"{glyphs.warn} {blocked}", "warn bold")], width, "  ")
    for message in grown:
        news = f"{message.author}: {one_line(message.text)}"
        lines += wrap_spans([(f"{glyphs.warn} new here since you began  ", "warn bold"), (news, "text")], width, "  ")
    for f in findings:
        if f.severity == "critical":
            text, role = "This can't be sent; take it out first.", "bad bold"
        else:
            text, role = f"It becomes [REDACTED:{f.rule}].", "warn"
        lines += wrap_spans([(f"{glyphs.warn} line {f.line}: {f.rule}. {text}", role)], width, "  ")
    if lines:
        lines.append([])
    pairs: list[tuple[str, Line | str]] = [
        ("From", [(name, "you bold"), ("  signed by this node's key", "dim")]),
        ("Room", draft.room),
    ]
    if draft.reply_to:
        parent = next((m for m in view.messages if m.id == draft.reply_to), None) if view else None
        quote = f"{parent.author}: {one_line(parent.text)[:60]}" if parent else ""
        pairs.append(("Reply to", [(draft.reply_to, "text"), (f"  {quote}", "dim")]))
    else:
        pairs.append(("Thread", "a new one"))
    stance = f"  {draft.stance} {draft.weight}".rstrip() if draft.stance else ""
    pairs.append(("Intent", draft.intent + stance))
    pairs.append(("Mentions", ", ".join(draft.mentions) or "nobody by name"))
    pairs.append(("Size", f"{size(len(draft.text.encode()))}, {plural(len(draft.text.split()), 'word')}"))
    lines += facts(pairs, 10, width)
    lines += [[], *prose(draft.text, width)]
    if draft.citations:
        lines += [[], [("Leans on", "dim")]]
        for address, reason in draft.citations:
            lines += wrap_spans([("  " + address, "accent"), (f"  {reason}", "text")], width, "    ")
    send: Line = [] if blocked or secret else [("^s", "accent bold"), (" sends it", "text"), ("   ", "")]
    return [*lines, [], [*send, ("^b", "accent bold"), (" goes back", "dim")]]


def answered_lines(message: Message | None, width: int, rows: int, glyphs: Glyphs) -> list[Line]:
    """The message that is answered: who wrote it when, and its first lines.

    Args:
        rows: how many lines of its text are shown at most.
    """
    if message is None:
        return [[(f"{glyphs.branch} ", "faint"), ("the message you answer is not held here any more", "dim")]]
    who: Line = [(message.author, "you bold" if message.you else "text bold"), (f"  {message.intent}", "dim")]
    lines = [spread([(f"{glyphs.branch} ", "faint"), *who], [(clock(message.at, seconds=False), "dim")], width)]
    if message.missing:
        return [*lines, [("  ", ""), (f"not shown: {message.missing}", "dim italic")]]
    text = [part for part in wrap(message.text.strip(), max(12, width - 2)) if part.strip()]
    if len(text) > rows:
        text = [*text[: rows - 1], cut(text[rows - 1], max(8, width - 4)).removesuffix("…") + " …"]
    return [*lines, *([("  ", ""), (part, "dim")] for part in text)]


def thread_line(message: Message) -> Line:
    """A thread by its first message."""
    return [(fit(message.author, 12) + " ", "text"), (f"{message.intent}  ", "dim"), (one_line(message.text), "dim")]


def value_of(step: str, draft: Draft) -> str:
    """What a step holds, for the rail."""
    if step == "say":
        return next(
            (label for key, label, _ in SAYINGS if key == f"{draft.intent}/{draft.stance}/{draft.weight}"),
            draft.intent,
        )
    if step == "where":
        return draft.room + (" (reply)" if draft.reply_to else "")
    if step == "who":
        return ", ".join(draft.mentions) or ("the room" if draft.room else "")
    if step == "body":
        return plural(len(draft.text.split()), "word") if draft.text.strip() else ""
    return ""


def undone_in(step: str, draft: Draft) -> str:
    """What is still to be done in a step, as ``once …``; empty for nothing."""
    undone = {"say": "you chose", "where": "it has a room", "body": "it has a text"}
    if not missing_in(step, draft):
        return ""
    return undone[step] if step != "body" or not draft.text.strip() else "it is shorter"


def missing_in(step: str, draft: Draft) -> str:
    """Why a step isn't done; empty when it is."""
    if step == "say" and not draft.intent:
        return "Choose what you want to say."
    if step == "where" and not draft.room:
        return "Name a room."
    if step == "body" and not draft.text.strip():
        return "Write something first."
    if step == "body" and len(draft.text.encode()) > MAX_TEXT_BYTES:
        return f"The message is {size(len(draft.text.encode()))}; at most {size(MAX_TEXT_BYTES)} fit. Put it at an address (7, e) and cite it."
    return ""


def thread_rows(view: RoomView | None, now: datetime) -> list[Row]:
    """The threads of a room that a message can go to, a new one first."""
    if view is None:
        return []
    roots = [m for m in view.messages if m.thread in ("", m.id) or not m.parent]
    known = [Row(m.id, (thread_line(m), (since(m.at, now), "dim"))) for m in roots[-50:]]
    return [Row("new", (("a new thread", "text"), ("", ""))), *known]


def room_choices(rooms: Sequence[Room], now: datetime) -> list[Row]:
    """The rooms there are, the latest first."""
    latest = sorted(rooms, key=lambda r: r.last_at, reverse=True)
    return [Row(r.id, ((r.id, "text"), (one_line(r.last_text), "dim"), (since(r.last_at, now), "dim"))) for r in latest]


def member_choices(members: Sequence[MemberInfo], mentioned: Sequence[str], glyphs: Glyphs) -> list[Row]:
    """Who can be named; who is has a tick."""
    others = sorted((m for m in members if not m.you and not m.revoked), key=lambda m: m.agent_id)
    return [
        Row(
            m.agent_id,
            (
                [(f"{glyphs.ok if m.agent_id in mentioned else ' '} ", "good"), (m.agent_id, "text")],
                (m.role, "dim"),
                (m.kind, "dim"),
            ),
        )
        for m in others
    ]
