"""The ``:`` line: what its words mean, how they are completed, and what ``:help`` says of them. Imports no Textual.

``:x …`` and ``chorus-hap x …`` are the same words with the same arguments (SPEC section 16).
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chorus_hap.actions import NOT_YET, PANES, Registry
from chorus_hap.cli.table import COMMANDS

NOT_YET_WORDS = frozenset({"patch", "collab", "web", "tasks", "metrics"})
#: Words of the console alone, and what each does.
OWN_WORDS = {
    "help": "this list; with a word, what that one does",
    "theme": "the next theme, or the one that is named",
    "speak": "speak as the agent whose home this is",
    "quit": "quit; says what happens to the node",
}
#: Words that lead to a pane when they stand alone; with arguments they are the scripted command of the same name.
PANE_WORDS = {"status": "overview", "peers": "members", "decide": "decisions", **{pane: pane for _, pane, _ in PANES}}
#: Words that `chorus-hap` knows too: what follows is passed on unchanged.
SCRIPTED = frozenset(command.name for command in COMMANDS) - {"watch"}  # which would never end here
#: Second words of scripted commands that change something.
CHANGING = frozenset(
    {"post", "propose", "vote", "withdraw", "put", "delete", "trigger", "resign", "purge", "renew"}
    | {"invite", "approve", "refuse", "revoke", "evict", "promote", "demote", "policy", "join", "recover", "share"}
)


#: Scripted commands that are asked about first, as their keys are: the action whose question it is.
ASKED = {
    **{("members", verb): verb for verb in ("approve", "refuse", "revoke", "evict", "demote")},
    **{(word, "withdraw"): "withdraw" for word in ("decisions", "decide")},
    ("ucxl", "delete"): "delete", ("log", "purge"): "purge", ("log", "renew"): "renew",
    ("election", "trigger"): "trigger", ("election", "resign"): "resign",
}  # fmt: skip
#: Those that want ``--yes``; here they were asked about already.
_SAY_YES = frozenset({("members", "revoke"), ("members", "evict"), ("log", "purge"), ("log", "renew")})
#: Those that act on one thing only, and what that is called where no name is known.
_NEEDS_NO_WORD = {"trigger": "this cluster", "resign": "this cluster", "renew": "this home's log"}
#: Gives the name of what an action acts on, by the action's id and the word that was typed.
Naming = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Command:
    """What a `:` line means: an action, words for `chorus-hap` with the question to ask before, a sentence, or a refusal."""

    action: str = ""
    argument: str = ""
    words: tuple[str, ...] = ()
    changes: bool = False
    question: str = ""
    refusal: str = ""
    told: str = ""


_ALIASES = {"q": "quit", "exit": "quit"}


def parse_command(text: str, registry: Registry, naming: Naming = lambda _action, word: word) -> Command:
    """Understand a `:` line; never raises."""
    try:
        words = shlex.split(text.removeprefix(":"))
    except ValueError as error:
        return Command(refusal=f"That line doesn't end well: {str(error).lower()}.")
    if not words:
        return Command()
    first = _ALIASES.get(words[0], words[0])
    if first in NOT_YET_WORDS:
        return Command(refusal=NOT_YET.format(f":{first}") + " :help lists what is.")
    if first == "?":
        return Command(action="help")
    if first == "help":
        return _explained(words[1:], registry)
    if first in OWN_WORDS:
        return Command(action=first, argument=words[1] if first == "theme" and len(words) > 1 else "")
    if len(words) == 1 and first in PANE_WORDS:
        return Command(action=f"pane_{PANE_WORDS[first]}", argument="live" if first == "peers" else "")
    if first in SCRIPTED:
        return _scripted(words, registry, naming)
    if len(words) == 1 and first in registry.actions:
        return Command(action=first)
    return Command(refusal=_unknown(first))


def _unknown(word: str) -> str:
    near = [f":{w}" for w in difflib.get_close_matches(word, command_words(), 3)]
    hint = f"Did you mean {', '.join(near[:-1])}{' or ' if near[1:] else ''}{near[-1]}? " if near else ""
    return f"There is no command {word[:40]!r}. {hint}:help lists all."


def _explained(words: Sequence[str], registry: Registry) -> Command:
    """``:help``, alone or with what is to be explained."""
    if not words:
        return Command(action="commands")
    word = words[0].removeprefix(":")
    word = _ALIASES.get(word, word)
    if word in SCRIPTED:
        return Command(words=(word, *words[1:2], "--help"))
    known = dict(described())
    if word in known:
        return Command(told=f":{word}: {known[word]}.")
    if word in registry.actions:
        key = registry.shown_key(word)
        return Command(told=f":{word}: {registry.actions[word].title}" + (f" (key {key})." if key else "."))
    return Command(refusal=NOT_YET.format(f":{word}") if word in NOT_YET_WORDS else _unknown(word))


def _scripted(words: list[str], registry: Registry, naming: Naming) -> Command:
    verb, rest = tuple(words[:2]), words[2:]
    if "--help" in rest:
        return Command(words=tuple(words))
    question = _question(verb, rest, registry, naming)
    if question and verb in _SAY_YES:
        words = [*words, "--yes"]
    return Command(words=tuple(words), changes=any(w in CHANGING for w in words[1:2]), question=question)


def _question(verb: tuple[str, ...], rest: Sequence[str], registry: Registry, naming: Naming) -> str:
    """What is asked before a scripted command that can't be undone; empty for nothing."""
    what = next((word for word in rest if not word.startswith("-")), "")
    if verb == ("cluster", "recover") and "--force-new" in rest:
        lost = naming("recover", "")
        return f"Found a cluster in place of {lost}? Whoever is out of reach stays behind, with what only it holds."
    if verb == ("cluster", "join") and what:
        return f"Move this home, and nobody else's, into {what}?"
    if verb == ("cluster", "policy") and what == "open":
        return f"Open {naming('policy', '')} to everybody who reaches a member of it? They come in without a ticket."
    if verb not in ASKED or "--yes" in rest:
        return ""
    asked = registry.actions[ASKED[verb]]
    if not what and asked.id not in _NEEDS_NO_WORD:
        return ""  # the command itself says what is missing
    return asked.dangerous.replace("{}", naming(asked.id, what) or _NEEDS_NO_WORD.get(asked.id, ""))


def described() -> list[tuple[str, str]]:
    """Every word that can begin a `:` line, with what it does."""
    about = {c.name: c.help for c in COMMANDS if c.name in SCRIPTED}
    titles = {pane: title for _, pane, title in PANES}
    panes = {pane: f"go to {title}" for _, pane, title in PANES}
    both = {w: f"go to {titles[PANE_WORDS[w]]}; or {about[w]}" for w in PANE_WORDS if w in about}
    return sorted({**panes, **about, **both, **OWN_WORDS}.items())


def command_words() -> list[str]:
    """Every word that can begin a `:` line, for completion."""
    return [word for word, _ in described()]


# --- completion -------------------------------------------------------------------------------------------------------

#: What a further word is, by the first two: the name of a list that is asked for.
_ARGUMENTS = {
    **{("hmmm", verb): "rooms" for verb in ("show", "post", "watch")},
    **{("members", verb): "members" for verb in ("revoke", "evict", "promote", "demote")},
    **{("members", verb): "newcomers" for verb in ("approve", "refuse")},
    **{(word, verb): "decisions" for word in ("decisions", "decide") for verb in ("show", "vote", "withdraw")},
    **{("ucxl", verb): "addresses" for verb in ("get", "put", "delete", "log", "diff")},
}
#: Gives the words of a list: ``commands:hmmm`` for those of a group, ``themes``, and what the store knows.
Lookup = Callable[[str], Sequence[str]]


def completions(line: str, lookup: Lookup) -> list[str]:
    """The lines that a `:` line can become with its last word completed; none where nothing is known of that word."""
    words = line.split(" ")
    given, last = words[:-1], words[-1]
    if not given:
        known: Sequence[str] = command_words()
    elif given == ["help"]:
        known = command_words()
    elif given == ["theme"]:
        known = lookup("themes")
    elif len(given) == 1 and given[0] in SCRIPTED:
        known = lookup(f"commands:{given[0]}")
    elif len(given) == 2 and (name := _ARGUMENTS.get((given[0], given[1]))):
        known = [shlex.quote(word) for word in lookup(name)]
    else:
        known = ()
    return [" ".join([*given, word]) for word in sorted(set(known)) if word.startswith(last)]


def common(lines: Sequence[str]) -> str:
    """The beginning that all lines have."""
    first, last = min(lines, default=""), max(lines, default="")
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same]
