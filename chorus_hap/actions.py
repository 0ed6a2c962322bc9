"""The one registry of what can be done in the console: keys, footer, palette, help, read-only, confirmation.

An action exists once. Keys, the footer's six, the palette, the ``?`` page and the reference page are read from here, so none of
them can say what isn't so. Imports no Textual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chorus_hap.store import Connection

#: Panes in the order of their keys.
PANES: tuple[tuple[str, str, str], ...] = (
    ("1", "overview", "Overview"),
    ("2", "election", "Election"),
    ("3", "traffic", "Traffic"),
    ("4", "members", "Members"),
    ("5", "hmmm", "HMMM"),
    ("6", "decisions", "Decisions"),
    ("7", "ucxl", "UCXL"),
    ("9", "log", "Log"),
    ("!", "attention", "Attention"),
)
#: Keys and words the product has, but not in this version.
NOT_YET_KEYS = {"8": "Tasks", "0": "Metrics"}
NOT_YET = "{0} is not in this version."

EVERYWHERE = frozenset(pane for _, pane, _ in PANES)


@dataclass(frozen=True, slots=True)
class Action:
    """Something a person can do.

    Args:
        id: stable name; what keys are remapped by, and the handler is ``do_<id>``.
        keys: in Textual's names; the first is shown.
        title: what it does, a few words.
        panes: where it works.
        changes: whether it changes anything on the mesh: not in read-only mode, not while the node is away.
        dangerous: a question that is asked first, because it can't be undone; empty for none. ``{}`` stands for what is
            selected.
        footer: the footer's word; empty keeps it out of the footer.
        argument: passed to the handler.
    """

    id: str
    keys: tuple[str, ...]
    title: str
    panes: frozenset[str] = EVERYWHERE
    changes: bool = False
    dangerous: str = ""
    footer: str = ""
    argument: str = ""
    handler: str = ""
    hidden: bool = False

    @property
    def method(self) -> str:
        """The name of the method that does it, on the pane or the application."""
        return f"do_{self.handler or self.id}"


def _in(*panes: str) -> frozenset[str]:
    return frozenset(panes)


_LISTS = EVERYWHERE - {"overview"}

ACTIONS: tuple[Action, ...] = (
    *(
        Action(f"pane_{pane}", (key if key != "!" else "exclamation_mark",), f"go to {title}", argument=pane, handler="pane")
        for key, pane, title in PANES
    ),
    *(
        Action(f"absent_{key}", (key,), f"{title}: not in this version", argument=title, handler="absent", hidden=True)
        for key, title in NOT_YET_KEYS.items()
    ),
    Action("open", ("enter",), "open what is selected", footer="open", handler="noop"),
    Action("back", ("escape",), "back, or clear the filter"),
    Action("compose", ("n",), "new message", changes=True, footer="new message"),
    Action("reply", ("r",), "reply to this message", _in("hmmm"), changes=True, footer="reply"),
    Action("propose", ("p",), "propose a decision", changes=True, footer="propose"),
    Action("vote", ("v",), "vote on this decision", _in("decisions", "attention"), changes=True, footer="vote"),
    Action(
        "withdraw", ("W",), "withdraw this proposal", _in("decisions"), changes=True,
        dangerous="Withdraw {}? Nobody can vote on it any more.",
    ),
    Action("edit", ("e",), "edit in $EDITOR, or make a new address", _in("ucxl"), changes=True, footer="edit"),
    Action(
        "delete", ("D",), "delete this address (a tombstone)", _in("ucxl"), changes=True,
        dangerous="Delete {}? A later version brings it back.",
    ),
    Action("diff", ("d",), "compare this version with the one before", _in("ucxl"), footer="diff"),
    Action("follow_link", ("o",), "go to what decided it, cites it, or what it leans on", _in("ucxl"), footer="links"),
    Action("older", ("left_square_bracket",), "older version", _in("ucxl"), footer="older"),
    Action("newer", ("right_square_bracket",), "newer version", _in("ucxl"), footer="newer"),
    Action("invite", ("i",), "invite a newcomer: a ticket to hand over", _in("members"), changes=True, footer="invite"),
    Action(
        "approve", ("a",), "approve a newcomer that waits", _in("members", "attention"), changes=True, footer="approve",
        dangerous="Let {} in? It is a member from then on, with the rights of its role.",
    ),
    Action(
        "refuse", ("x",), "refuse a newcomer that waits", _in("members", "attention"), changes=True,
        dangerous="Refuse {}? It is told so, and may ask again in ten minutes.",
    ),
    Action(
        "revoke", ("X",), "revoke this member for good", _in("members"), changes=True, footer="revoke",
        dangerous="Revoke {}? Its identity never comes back. What it wrote so far stands; nothing it writes from now on counts.",
    ),
    Action(
        "evict", ("E",), "evict this member, which is away", _in("members"), changes=True,
        dangerous="Evict {}? When it comes back it has to be admitted again.",
    ),
    Action("promote", ("plus",), "make this member a voter", _in("members"), changes=True),
    Action(
        "demote", ("minus",), "take this voter's vote away", _in("members"), changes=True,
        dangerous="Take the vote of {} away? It stays a member, and votes again only when a person promotes it.",
    ),
    Action("next_box", ("tab",), "next box, or roster and live connections", footer="next box"),
    Action("previous_box", ("shift+tab",), "previous box"),
    Action("certify", ("c",), "check the certificate of this term", _in("election"), footer="check term"),
    Action(
        "trigger", ("t",), "call an election", _in("election"), changes=True, footer="call election",
        dangerous="Call an election in {}? The leader in office stays until another one has a majority.",
    ),
    Action(
        "resign", ("R",), "resign as leader", _in("election"), changes=True, footer="resign",
        dangerous="Resign as leader of {}? The best voter takes over at once.",
    ),
    Action(
        "purge", ("P",), "purge the body of this entry", _in("log"), changes=True,
        dangerous="Purge the body of {} on every node? It can't be brought back.",
    ),
    Action(
        "renew", (), "renew this home's log, which is ahead of the clock", changes=True,
        dangerous="Renew {}? What it wrote with a later time is withdrawn and said again. Go on only if the clock is right now.",
    ),
    Action("pause", ("space",), "pause; collecting goes on", _in("traffic", "log"), footer="pause"),
    Action("follow", ("f",), "follow the newest", _in("traffic", "log"), footer="follow"),
    Action("filter", ("slash",), "filter this list", _LISTS, footer="filter"),
    Action("sort", ("s",), "sort by the next column", _in("members", "decisions", "election", "attention"), footer="sort"),
    Action("copy", ("y",), "copy", footer="copy"),
    Action("command", ("colon",), "type a command", footer="command"),
    Action("palette", ("ctrl+p",), "all actions", hidden=True),
    Action("help", ("question_mark",), "keys here", footer="keys"),
    Action("commands", (), "the commands that can be typed", hidden=True),
    Action("theme", ("T",), "next theme"),
    Action("mouse", ("M",), "let the terminal select text"),
    Action("screenshot", ("S",), "save this screen as SVG"),
    Action("speak", (), "speak as this agent", hidden=True),
    Action("retry", (), "start the node again", hidden=True),
    Action("quit", ("q", "ctrl+q"), "quit; says what happens to the node", footer="quit"),
    Action("leave_running", ("Q",), "quit and leave the node running"),
)  # fmt: skip

#: The six keys of each pane's footer, by action id (SPEC section 16).
FOOTERS: dict[str, tuple[str, ...]] = {
    "overview": ("compose", "propose", "copy", "command", "help", "quit"),
    "election": ("certify", "trigger", "resign", "next_box", "help", "quit"),
    "traffic": ("pause", "follow", "filter", "open", "copy", "help"),
    "members": ("invite", "approve", "revoke", "next_box", "filter", "help"),
    "hmmm": ("compose", "reply", "open", "next_box", "filter", "help"),
    "decisions": ("vote", "propose", "open", "filter", "sort", "help"),
    "ucxl": ("edit", "diff", "older", "follow_link", "filter", "help"),
    "log": ("pause", "follow", "filter", "open", "copy", "help"),
    "attention": ("open", "vote", "approve", "filter", "copy", "help"),
}

#: What keys are called on screen.
KEY_NAMES = {
    "slash": "/", "colon": ":", "question_mark": "?", "exclamation_mark": "!", "escape": "esc", "left_square_bracket": "[",
    "right_square_bracket": "]", "shift+tab": "S-tab", "plus": "+", "minus": "-", "space": "space", "enter": "⏎",
}  # fmt: skip


def key_name(key: str) -> str:
    """What a key is called on screen."""
    return KEY_NAMES.get(key, key.replace("ctrl+", "^"))


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides whether an action can be done now."""

    pane: str
    connection: Connection
    read_only: str = ""  #: why nothing may be changed; empty when it may
    stage: str = "ready"


class Registry:
    """The actions with the keys in force.

    Args:
        keymap: other keys by action id, several separated by commas (setting ``console.keys``).
    """

    def __init__(self, keymap: Mapping[str, str] | None = None, actions: Sequence[Action] = ACTIONS) -> None:
        wanted = dict(keymap or {})
        self.problems: list[str] = [
            f"console.keys names no action {name!r}." for name in wanted if name not in {a.id for a in actions}
        ]
        self._keys = {
            a.id: tuple(k.strip() for k in wanted[a.id].split(",")) if a.id in wanted else a.keys for a in actions
        }
        self.actions = {a.id: a for a in actions}
        self._by_key: dict[str, list[Action]] = {}
        for action in actions:
            for key in self._keys[action.id]:
                for other in self._by_key.setdefault(key, []):
                    if other.panes & action.panes:
                        self.problems.append(
                            f"The key {key_name(key)} is {other.id} and {action.id}; {other.id} keeps it."
                        )
                self._by_key[key].append(action)

    @property
    def keys(self) -> list[str]:
        """Every key that does something."""
        return list(self._by_key)

    def keys_of(self, action_id: str) -> tuple[str, ...]:
        """The keys of an action."""
        return self._keys[action_id]

    def shown_key(self, action_id: str) -> str:
        """The first key of an action, as it is called on screen."""
        keys = self._keys[action_id]
        return key_name(keys[0]) if keys else ""

    def at(self, key: str, pane: str) -> Action | None:
        """The action of a key in a pane."""
        return next((a for a in self._by_key.get(key, ()) if pane in a.panes), None)

    def known(self, key: str) -> bool:
        return key in self._by_key

    def for_pane(self, pane: str) -> list[Action]:
        """The actions of a pane that are worth listing."""
        return [a for a in self.actions.values() if pane in a.panes and not a.hidden]

    def footer(self, pane: str, now: Situation | None = None) -> list[tuple[str, str]]:
        """Key and word of the pane's six main actions; only those that can be done ``now``."""
        return [
            (self.shown_key(i), self.actions[i].footer or self.actions[i].title.split(";")[0])
            for i in FOOTERS[pane]
            if now is None or not self.refusal(self.actions[i], now)
        ]

    def refusal(self, action: Action, now: Situation) -> str:
        """Why an action can't be done now, one sentence; empty when it can."""
        if now.pane not in action.panes:
            return f"“{action.title}” works in {_names(action.panes)}."
        return self.why_unchanged(now) if action.changes else ""

    def why_unchanged(self, now: Situation) -> str:
        """Why nothing can be changed now, one sentence; empty when it can."""
        if now.read_only:
            return now.read_only
        match now.connection.state:
            case "attached":
                return ""
            case "starting":
                return f"The node is not up yet ({now.stage}); this works in a moment."
            case "silent":
                return "The node doesn't answer; this works again as soon as it does."
            case "away":
                return "The node is away; this works again as soon as it is back."
        return f"No node runs: {now.connection.reason or 'it could not be started.'}"


def _names(panes: frozenset[str]) -> str:
    return ", ".join(title for _, pane, title in PANES if pane in panes)


def for_reference() -> list[tuple[str, str, str, str]]:
    """Id, keys, what it does and where, for the generated reference page."""
    registry = Registry()
    out = []
    for action in ACTIONS:
        if not action.hidden:
            where = "everywhere" if action.panes == EVERYWHERE else _names(action.panes)
            out.append((action.id, " ".join(key_name(k) for k in registry.keys_of(action.id)), action.title, where))
    return out
