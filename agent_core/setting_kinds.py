"""What kinds of values settings take: each kind refuses emptiness and nonsense in half a sentence, and gives one spelling to the rest.

The same judge is asked for a value of the file, of a variable, of a flag and of ``--set`` (:func:`judge`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any, Literal, TypeAlias, get_args, get_origin

import msgspec

from agent_core.names import AGENT, CAPABILITY, NETWORK, ROLE, NameRule, made, objection
from agent_core.text import has_unseen, is_text, marked, normal

#: Takes a text without blanks around it, gives the value; raises :class:`Unfit`.
Kind: TypeAlias = Callable[[str], str]

HOUR_S, DAY_S, YEAR_S = 3600, 86_400, 31_536_000
_LONGEST_TEXT = 16 * 1024
_MOST_ITEMS = 256
#: How a list that is to be empty is written where there are no brackets: in a variable or a flag.
EMPTY_LIST = "none"


class Unfit(ValueError):
    """A value that can't be used.

    Args:
        reason: why, half a sentence about the value.
        hint: what to write instead, a sentence; may be empty.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


def judge(value: Any, hint: Any, kind: Kind | None) -> Any:
    """A value of a setting, in its type and its one spelling.

    Args:
        value: as it stands in the file (any TOML value), or the text of a variable or flag.
        hint: the setting's type, with its bounds.
        kind: the kind of text it is, or each item of a list; nothing if the type says all.

    Raises:
        Unfit: it can't be used.
    """
    if isinstance(value, str):
        try:
            value = _plain("".join(value.split()) if kind is secret else value)
        except Unfit as exc:
            raise Unfit(exc.reason, _suggestion(value, kind) or exc.hint) from exc
    if _is_list(hint):
        return _items(value, kind)
    try:
        typed = msgspec.convert(value, hint, strict=False)
    except (msgspec.ValidationError, OverflowError, ValueError) as exc:
        raise Unfit(f"it must be {expected(hint)}") from exc
    if isinstance(value, bool) and not isinstance(typed, bool):
        raise Unfit(f"it must be {expected(hint)}")
    if isinstance(typed, float) and not math.isfinite(typed):
        raise Unfit("it isn't a finite number", f"It must be {expected(hint)}.")
    if isinstance(typed, dict):
        return {_plain(key): _plain(item) for key, item in typed.items()}
    return kind(typed) if kind is not None and isinstance(typed, str) else typed


def expected(hint: Any) -> str:
    """What a type takes, in words: ``a whole number from 0 to 65535``."""
    kind, meta = (hint.__origin__, hint.__metadata__[0]) if hasattr(hint, "__metadata__") else (hint, None)
    options = [option for option in get_args(kind) if option is not ...]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, options))
    if kind is bool:
        return "true or false"
    if kind in (int, float):
        return ("a whole number" if kind is int else "a number") + _bounds(meta)
    if get_origin(kind) is dict:
        return "a table, in config.toml only"
    if get_origin(kind) is tuple:
        return f"a list of texts, or `{EMPTY_LIST}`"
    if options:
        return " or ".join(map(expected, options)).replace("one of ", "")
    return "a text"


def host(text: str) -> str:
    """An IP address to listen on. No name: what it stands for may change, and with it who can reach the node; only ``localhost`` can't."""
    if text.lower() == "localhost":
        return "127.0.0.1"
    if "%" in text:
        raise Unfit("a zone can't be part of it", "Give an address that is valid beyond one link.")
    try:
        address = ip_address(text)
    except ValueError as exc:
        raise Unfit(
            "it isn't an IP address",
            "Give one of this machine's: 127.0.0.1 for this machine only, 0.0.0.0 or :: for everybody who reaches it.",
        ) from exc
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_multicast or str(address) == "255.255.255.255":
        raise Unfit("nothing can listen on it: it is an address of many", "Give an address of this machine.")
    return str(address)


def interface(text: str) -> str:
    """The IPv4 address of a network interface."""
    address = host(text)
    if ":" in address:
        raise Unfit("it isn't an IPv4 address", "mDNS is spoken over IPv4 here.")
    if address == "0.0.0.0":
        raise Unfit("it doesn't say which interface", "Name the address of each; `ip -4 address` lists them.")
    return address


def multiaddr(text: str) -> str:
    """The full address of a peer."""
    from agent_core.multiaddrs import canonical

    try:
        return canonical(text)
    except ValueError as exc:
        raise Unfit(
            f"it is no peer's address: {exc}",
            "Copy one from `chorus-hap status` of a running node: /ip4/HOST/tcp/PORT/p2p/PEER.",
        ) from exc


def line(text: str) -> str:
    """A word or a few, for people."""
    if len(text) > 200:
        raise Unfit(f"it has {len(text):,} characters; the limit is 200")
    return normal(text)


def secret(text: str) -> str:
    """A word to copy: white space that came with copying is forgiven. What it says is read where it is used."""
    return text


def _name(rule: NameRule) -> Kind:
    def judged(text: str) -> str:
        name = normal(text)
        if why := objection(name, rule):
            raise Unfit(f"it {why}", _near(name, rule))
        return name

    return judged


agent, role, capability, network = _name(AGENT), _name(ROLE), _name(CAPABILITY), _name(NETWORK)
_RULES: dict[Kind | None, NameRule] = {agent: AGENT, role: ROLE, capability: CAPABILITY, network: NETWORK}


def _suggestion(text: str, kind: Kind | None) -> str:
    """What to write instead, if it was to be a name."""
    return _near(text, _RULES[kind]) if kind in _RULES and text.strip() else ""


def _near(text: str, rule: NameRule) -> str:
    suggestion = made(text, rule)
    return f"For example {suggestion}. {rule.allowed}" if suggestion else rule.allowed


def _plain(text: str) -> str:
    """A text that could be anything: not empty, not endless, nothing unseen in it."""
    if len(text) > _LONGEST_TEXT:
        raise Unfit(f"it has {len(text):,} characters")
    if not text.strip():
        raise Unfit("it is empty" if not text else "it is blank", "Leave it out (unset the variable) for the default.")
    if not is_text(text):
        raise Unfit("it isn't UTF-8 text", "Write it in UTF-8.")
    bare = text.strip(" \t")
    if has_unseen(bare):
        raise Unfit("it has characters in it that nobody sees", "Write it anew by hand, on one line.")
    return bare


def _items(value: Any, kind: Kind | None) -> tuple[str, ...]:
    if isinstance(value, str):
        if value == EMPTY_LIST:
            return ()
        value = [part for part in value.split(",") if part.strip()]
        if not value:
            raise Unfit("it is empty", f"Leave it out for the default, or write `{EMPTY_LIST}` for an empty list.")
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise Unfit("it must be a list of texts")
    if len(value) > _MOST_ITEMS:
        raise Unfit(f"it has {len(value)} items; the limit is {_MOST_ITEMS}")
    found: dict[str, None] = {}
    for item in value:
        try:
            plain = _plain(item)
            found[plain if kind is None else kind(plain)] = None
        except Unfit as exc:
            where = f"in '{marked(item[:80], keep='')}', " if len(value) > 1 else ""
            raise Unfit(f"{where}{exc.reason}", _suggestion(item, kind) or exc.hint) from exc
    return tuple(found)


def _is_list(hint: Any) -> bool:
    return get_origin(getattr(hint, "__origin__", hint)) is tuple


def _bounds(meta: Any) -> str:
    low = next((b for b in (getattr(meta, "ge", None), getattr(meta, "gt", None)) if b is not None), None)
    high = getattr(meta, "le", None)
    above = "above" if getattr(meta, "gt", None) is not None else "from"
    if low is None:
        return "" if high is None else f" up to {high:,}"
    return f" {above} {low:,}" + (f" to {high:,}" if high is not None else "" if above == "above" else " up")
