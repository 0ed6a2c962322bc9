"""What a home that was used before has lost since, and what brings it back: only a home that was never enrolled is made anew."""

from __future__ import annotations

from dataclasses import dataclass

from agent_core.errors import StoreError
from agent_core.home import Home
from agent_core.instance import Instance

#: Where what can't be used any more is put; nothing of it is ever deleted.
ASIDE = "damaged"
IDENTITY_FILES = ("ed25519", "age", "card.json")


@dataclass(frozen=True, slots=True)
class Known:
    """What an enrolled home is known as, for sentences."""

    instance: Instance

    def __str__(self) -> str:
        known = self.instance
        name = known.agent_id or ("a member" if known.cluster else "a node")
        end = f" (…{known.peer_id[-6:]})" if known.peer_id else ""
        return f"{name}{end}" + (f" of cluster {known.cluster[:8]}" if known.cluster else "")


def used(home: Home, instance: Instance | None) -> bool:
    """Whether a node ever got as far on this home as to be somebody: it has more than an interrupted first start leaves."""
    return instance is not None or any((home.identity / name).exists() for name in IDENTITY_FILES)


def identity_lost(home: Home, instance: Instance) -> StoreError:
    """The refusal of a start whose keys are gone."""
    missing = [name for name in IDENTITY_FILES if not (home.identity / name).exists()]
    known = Known(instance)
    evict = (
        f", and have the old one evicted: `chorus-hap members evict {instance.agent_id}`" if instance.agent_id else ""
    )
    return StoreError(
        f"The identity of this home is lost: {home.identity} has no {' and no '.join(missing)}. This home was {known}, "
        "and doesn't become somebody else.",
        f"Put the files back from a copy of this home. Without one, enrol a new home with --home{evict}.",
    )


def another_identity(home: Home, instance: Instance, found: str) -> StoreError:
    """The refusal of a start with the keys of somebody else."""
    return StoreError(
        f"The identity in {home.identity} is that of …{found[-6:]}, and this home was {Known(instance)}.",
        f"Put the right files back from a copy of this home, or give the other identity a home of its own with --home. "
        f"If it belongs here, remove {home.instance}.",
    )


def database_lost(home: Home, instance: Instance) -> str:
    """What a node says whose database is gone: it founds nothing, and waits for the others' copies."""
    aside = newest_aside(home)
    kept = f" What could not be read is kept as {aside}." if aside else ""
    return (
        f"The database of this home is lost; it was {Known(instance)}. It founds no other cluster: what the others hold is "
        f"fetched back from them, this node's own entries too, and it goes on in a new epoch.{kept} If it finds nobody, name a "
        "member's address with --bootstrap; if nobody is left, `chorus-hap cluster join` moves it into another cluster."
    )


def newest_aside(home: Home) -> str:
    """The newest database that was put aside, as a path in the home; empty if none was."""
    directory = home.root / ASIDE
    found = sorted(p.name for p in directory.glob("store.db.*") if not p.name.endswith(("-wal", "-shm")))
    return f"{ASIDE}/{found[-1]}" if found else ""


def nothing_to_read(home: Home, instance: Instance) -> StoreError:
    """The refusal of a command that would read a database that is gone."""
    return StoreError(
        f"The database of {home.root} is lost; it was {Known(instance)}.",
        f"Start its node, which fetches back what the others hold: `chorus-hap --daemon --home {home.root}`.",
    )


def where_is_not_known(home: Home) -> str:
    """What a node says whose database is gone, and whose instance file is too old to tell where it belonged."""
    return (
        "The database of this home is lost, and where it belonged isn't known. It founds no cluster by itself: name a member's address "
        f"with --bootstrap. If it never was in one, remove {home.instance} and start again."
    )
