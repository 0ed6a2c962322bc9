"""Roles: what each is allowed, told and given by default; the packaged ones and a home's own (SPEC section 4)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import msgspec

from agent_core.errors import ConfigError
from agent_core.inputs import read_text
from agent_core.names import ROLE, objection
from agent_core.roster.model import Authority, Kind

#: What a file of roles has at most.
MAX_ROLES_BYTES = 4 * 1024 * 1024


class RoleDefaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent in a role has unless it says otherwise."""

    models: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    expertise: tuple[str, ...] = ()
    max_tasks: int = 1


class Role(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One role."""

    level: Authority
    description: str = ""
    tags: tuple[str, ...] = ()
    prompt: str = ""
    defaults: RoleDefaults = RoleDefaults()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    roles: dict[str, Role]


#: A newcomer gets no more than this by naming a role; more is given by the admin.
MOST_BY_ROLE = MappingProxyType({Kind.HUMAN: Authority.DECISION, Kind.AGENT: Authority.COORDINATION})


def load(*overrides: Path) -> Mapping[str, Role]:
    """The packaged roles, and those of the files given: the same id in a later file replaces the whole role.

    Call it again to reload. Files that don't exist are skipped.

    Raises:
        ConfigError: a file isn't TOML, or a role in it isn't one.
    """
    packaged = files("agent_core.roster").joinpath("roles.toml").read_text("utf-8")
    roles = dict(_read(packaged, "roles.toml"))
    for path in overrides:
        text = read_text(path, MAX_ROLES_BYTES)
        if text is not None:
            roles.update(_read(text, str(path)))
    return MappingProxyType(roles)


def default_role(kind: Kind) -> str:
    """The role of a home that names none."""
    return "operator" if kind is Kind.HUMAN else "agent"


def authority_of(role: str, kind: Kind, roles: Mapping[str, Role]) -> Authority:
    """The authority a newcomer gets: its role's level, but never more than its kind may claim.

    A role this cluster doesn't know counts as the kind's default role.
    """
    known = roles.get(role) or roles.get(default_role(kind))
    level = known.level if known else Authority.COORDINATION
    most = MOST_BY_ROLE[kind]
    return most if level.at_least(most) else level


def _read(text: str, name: str) -> dict[str, Role]:
    try:
        roles = msgspec.convert(tomllib.loads(text), _File).roles
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ConfigError(f"{name} isn't valid TOML: {exc}.", "Mend that line.") from exc
    except msgspec.ValidationError as exc:
        raise ConfigError(
            f"{name} doesn't describe roles: {exc}.", "See roles.toml in the package for the form."
        ) from exc
    for role in roles:
        if why := objection(role, ROLE):
            raise ConfigError(f"{name}: the role {role[:80]!r} {why}.", ROLE.allowed)
    return roles
