"""The catalogue of attacks: each has a name, a layer, what it does, and the bound that the victim must keep."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module

from tests.hostile.peer import Foul, Refused, Target

#: How long a storm rages that the victim slows down instead of ending, seconds.
STORM_S = 3.0
#: How long an attacker who may stay waits to see whether it is thrown out, seconds.
AT_ONCE_S = 0.05


class End(StrEnum):
    """What becomes of the attacker."""

    DISCONNECTED = "disconnected"  #: its connection is closed
    RESET = "reset"  #: the stream ends, the connection stays
    REFUSED = "refused"  #: it is told no
    IGNORED = "ignored"  #: what it sends changes nothing


@dataclass(frozen=True)
class Bound:
    """What an attack may cost.

    Args:
        ends: how it ends; any of these.
        within_s: seconds from the attack's last step to that end.
        cpu_s: the victim's processor seconds from the first step to half a second after the last.
        grows_mib: by how much the victim's memory may have grown then, MiB.
    """

    ends: tuple[End, ...]
    within_s: float = 2.0
    cpu_s: float = 1.5
    grows_mib: float = 8.0


@dataclass
class Outcome:
    """What an attack did and saw; ``sent`` counts what the victim is known to have taken.

    Args:
        ends: what may become of the attacker: a hang-up is waited for only where staying won't do.
    """

    ends: tuple[End, ...] = ()
    sent: int = 0
    end: str = ""
    after_s: float = 0.0
    note: str = ""
    _began: float = field(default_factory=time.monotonic)

    @contextmanager
    def storm(self) -> Iterator[None]:
        """Runs a storm: being thrown out ends it."""
        try:
            yield
        except* Refused as error:
            self.sent = max(self.sent, 1)
            self.note = str(error.exceptions[0])

    def sent_out(self, n: int = 1) -> None:
        """Note that ``n`` more went out."""
        self.sent += n

    async def settle(self, peer: Foul, hung_up_s: float = 0.0, alive: End = End.IGNORED) -> None:
        """See what became of the attacker: hung up on within some seconds, or still answered to."""
        began = time.monotonic()
        answer = await peer.settled()
        patience_s = min(hung_up_s, AT_ONCE_S) if alive in self.ends else hung_up_s
        if answer == "answered" and hung_up_s and await peer.hung_up(patience_s):
            answer = "disconnected"
        self.end = End.DISCONNECTED if answer == "disconnected" else alive if answer == "answered" else "silent"
        self.after_s = time.monotonic() - began


Act = Callable[[Target, Outcome], Awaitable[None]]


@dataclass(frozen=True)
class Attack:
    """One attack."""

    name: str
    layer: str
    what: str
    bound: Bound
    act: Act

    @property
    def slow(self) -> bool:
        """It waits for the victim's patience to end: many such are carried out at once."""
        return self.bound.within_s > 3


ATTACKS: dict[str, Attack] = {}
LAYERS = (
    "tcp",
    "noise",
    "multistream",
    "yamux",
    "identify",
    "hello",
    "pubsub",
    "wire",
    "feeds",
    "election",
    "cooee",
    "dht",
    "mdns",
)


def attack(
    name: str, layer: str, *ends: End, within_s: float = 2.0, cpu_s: float = 1.5, grows_mib: float = 8.0
) -> Callable[[Act], Act]:
    """Enter a function into the catalogue; its docstring says what the attack does."""

    def enter(act: Act) -> Act:
        assert name not in ATTACKS, name
        what = " ".join((act.__doc__ or "").split())
        ATTACKS[name] = Attack(name, layer, what, Bound(ends, within_s, cpu_s, grows_mib), act)
        return act

    return enter


def load() -> list[Attack]:
    """All attacks, by layer from the socket up."""
    for module in ("connections", "muxer", "gossip", "streams", "discovery"):
        import_module(f"tests.hostile.attacks.{module}")
    return sorted(ATTACKS.values(), key=lambda a: LAYERS.index(a.layer))
