"""Every setting: its section, type, default, bounds and meaning, and where its value came from (SPEC section 17).

A value comes from the flags, else the environment (``CHORUS_<SECTION>_<KEY>``), else ``$CHORUS_HOME/config.toml``, else the
default. The Structs below are the one list: the file's checker, the environment's names and the reference page read them.
"""

from __future__ import annotations

import difflib
import os
import socket
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_type_hints

import msgspec
from msgspec import Meta

from agent_core import setting_kinds as kinds
from agent_core.errors import ConfigError
from agent_core.home import home_of as home_of
from agent_core.inputs import read_text
from agent_core.names import MAX_NAME_CHARS, made
from agent_core.setting_kinds import Kind, Unfit
from agent_core.system import login
from agent_core.text import from_system, marked

Port: TypeAlias = Annotated[int, Meta(ge=0, le=65535)] | Literal["off"]


def _doc(text: str, kind: Kind | None = None, *, flag: str = "", secret: bool = False, **bounds: Any) -> Meta:
    """What a setting means.

    Args:
        text: for people.
        kind: what texts it takes, or each item of its list.
        flag: the flag that is this setting by another name.
        secret: its value is never shown.
        bounds: of numbers, as msgspec takes them.
    """
    return Meta(description=text, extra={"kind": kind, "flag": flag, "secret": secret}, **bounds)


class Agent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who speaks."""

    id: Annotated[
        str,
        _doc(
            "name shown to others; default `<login>-<host>` for people, `agent-<host>` for agents",
            kinds.agent,
            flag="--agent-id",
        ),
    ] = ""
    role: Annotated[
        str,
        _doc(
            "role id from the roles file; default `operator` for people, `agent` for agents", kinds.role, flag="--role"
        ),
    ] = ""
    capabilities: Annotated[
        tuple[str, ...], _doc("what this agent can do, in words of your own", kinds.capability)
    ] = ()


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which mesh, and how one gets in."""

    network: Annotated[str, _doc("name that separates meshes", kinds.network, flag="--network")] = "chorus"
    policy: Annotated[
        Literal["open", "invite", "approve"],
        _doc("how a cluster founded here admits newcomers; `chorus-hap cluster policy` changes it later"),
    ] = "open"
    ticket: Annotated[
        str,
        _doc(
            "word of `members invite` by which a new home is admitted; a secret",
            kinds.secret,
            flag="--ticket",
            secret=True,
        ),
    ] = ""
    evict_after_s: Annotated[
        float,
        _doc(
            "absence after which a member without a vote is evicted, seconds; 0 for never", ge=0, le=10 * kinds.YEAR_S
        ),
    ] = 0.0
    force_open: Annotated[bool, _doc("keep `open` while listening beyond loopback")] = False
    found: Annotated[bool, _doc("found a cluster at once instead of looking for peers first", flag="--found")] = False
    discovery_s: Annotated[
        float, _doc("how long a new home looks for peers before it founds, seconds", ge=0.1, le=kinds.DAY_S)
    ] = 10.0


class P2p(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the node listens for peers."""

    host: Annotated[
        str,
        _doc("IP address to listen on: `127.0.0.1` for this machine only, `0.0.0.0` or `::` for everybody", kinds.host),
    ] = "127.0.0.1"
    port: Annotated[int, _doc("TCP port; 0 for any free one", ge=0, le=65535)] = 9000
    quic: Annotated[bool, _doc("listen for QUIC too, on the UDP port of the same number, and dial it")] = False
    max_connections: Annotated[int, _doc("connections at most", ge=4, le=10_000)] = 64
    redial_min_s: Annotated[
        float, _doc("first wait before a lost peer is dialled again, seconds", gt=0, le=kinds.DAY_S)
    ] = 0.5
    redial_max_s: Annotated[float, _doc("longest wait between two dials, seconds", gt=0, le=kinds.DAY_S)] = 30.0


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Peers known beforehand."""

    peers: Annotated[
        tuple[str, ...],
        _doc(
            "full multiaddrs with /p2p/, as `status` lists them; commas in the environment",
            kinds.multiaddr,
            flag="--bootstrap",
        ),
    ] = ()


class Mdns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Discovery on the local network."""

    interfaces: Annotated[
        tuple[str, ...], _doc("IPv4 addresses of the interfaces to look on; none switches it off", kinds.interface)
    ] = ()


class Dht(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The distributed hash table."""

    enabled: Annotated[bool, _doc("run Kademlia on the protocol /chorus/kad/1.0.0")] = False


class Feeds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The durable memory."""

    exchange_s: Annotated[
        float, _doc("how often heads are compared with one random peer, seconds", gt=0, le=kinds.DAY_S)
    ] = 5.0


class Blocks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bodies over 32 KiB."""

    max_mib: Annotated[int, _doc("largest content that can be put here, MiB", ge=1, le=127)] = 64
    eager_mib: Annotated[
        int, _doc("content up to this is fetched from the others unasked, MiB; 0 for nothing", ge=0, le=127)
    ] = 8
    room_mib: Annotated[
        int, _doc("all blocks together, before others' content isn't fetched any more, MiB", ge=1, le=1 << 24)
    ] = 4096


class Election(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who leads."""

    heartbeat_s: Annotated[float, _doc("time between a leader's heartbeats, seconds", ge=0.1, le=kinds.HOUR_S)] = 5.0
    timeout_s: Annotated[
        float,
        _doc("silence after which a leader is replaced, seconds; at least twice the heartbeat", ge=0.5, le=kinds.DAY_S),
    ] = 15.0
    stability_s: Annotated[
        float, _doc("a new leader's time without challenge while its heartbeats arrive, seconds", ge=0, le=kinds.DAY_S)
    ] = 60.0
    voter: Annotated[bool, _doc("let a console's node be made a voter in clusters of three voters and more")] = False
    demote_s: Annotated[
        float,
        _doc(
            "absence after which a voter is demoted while the rest makes a majority, seconds",
            gt=0,
            le=10 * kinds.YEAR_S,
        ),
    ] = 600.0


class Hmmm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rooms."""

    objection_agents_s: Annotated[
        float, _doc("objection period of a plan among agents, seconds", ge=0, le=kinds.YEAR_S)
    ] = 30.0
    objection_human_s: Annotated[
        float, _doc("the same when a person takes part or is mentioned, seconds", ge=0, le=kinds.YEAR_S)
    ] = 600.0


class Http(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """HTTP as a whole."""

    enabled: Annotated[bool, _doc("open HTTP for a console's node too; a daemon always does")] = False
    host: Annotated[
        str,
        _doc(
            "IP address that api, health and metrics listen on: `127.0.0.1` for this machine only, `0.0.0.0` or `::` for everybody",
            kinds.host,
        ),
    ] = "127.0.0.1"


class Api(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP API."""

    port: Annotated[Port, _doc("port; 0 for any free one, `off` to close it")] = 8080


class Health(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Health checks."""

    port: Annotated[Port, _doc("port; 0 for any free one, `off` to close it")] = 8081


class Metrics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prometheus metrics."""

    port: Annotated[Port, _doc("port; 0 for any free one, `off` to close it")] = 9090


class Log(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The node's own log."""

    level: Annotated[Literal["debug", "info", "warning", "error"], _doc("least level written")] = "info"


class Console(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The console."""

    theme: Annotated[str, _doc("name of a theme; `:theme` lists them", kinds.line)] = "chorus-dark"
    ascii: Annotated[bool, _doc("plain ASCII in place of line drawing and symbols")] = False
    read_only: Annotated[bool, _doc("start without any action that changes something")] = False
    keys: Annotated[dict[str, str], _doc('other keys, by action id: `compose = "ctrl+n"`')] = {}


class Values(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings, a section each."""

    agent: Agent = Agent()
    cluster: Cluster = Cluster()
    p2p: P2p = P2p()
    bootstrap: Bootstrap = Bootstrap()
    mdns: Mdns = Mdns()
    dht: Dht = Dht()
    feeds: Feeds = Feeds()
    blocks: Blocks = Blocks()
    election: Election = Election()
    hmmm: Hmmm = Hmmm()
    http: Http = Http()
    api: Api = Api()
    health: Health = Health()
    metrics: Metrics = Metrics()
    log: Log = Log()
    console: Console = Console()


@dataclass(frozen=True, slots=True)
class Setting:
    """One key as the reference page and ``config show`` list it."""

    section: str
    key: str
    type: Any
    default: Any
    doc: str
    hint: Any = str  #: the type with its bounds
    kind: Kind | None = None
    flag: str = ""  #: the flag that is this setting by another name
    secret: bool = False  #: never shown

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def env(self) -> str:
        return f"CHORUS_{self.section}_{self.key}".upper()


def catalogue() -> Iterator[Setting]:
    """Every setting, in the order of the file."""
    for section in msgspec.structs.fields(Values):
        hints = get_type_hints(section.type, include_extras=True)
        for item in msgspec.structs.fields(section.type):
            kind, meta = hints[item.name].__origin__, hints[item.name].__metadata__[0]
            default = item.default if item.default is not msgspec.NODEFAULT else item.default_factory()
            yield Setting(section.name, item.name, kind, default, meta.description, hint=hints[item.name], **meta.extra)


#: What a file of settings has at most.
MAX_CONFIG_BYTES = 1024 * 1024
#: Names the original's users know, beside those that follow the rule.
ALIASES = {"CHORUS_ROLE": "agent.role"}
#: Variables that are not settings of the node.
PLAIN = {"CHORUS_HOME"}
#: Names of the original whose feature this version doesn't have.
NOT_YET = {
    "CHORUS_LICENSE_ID",
    "CHORUS_HAP_MODE",
    "CHORUS_PROMPTS_DIR",
    "CHORUS_DEFAULT_INSTRUCTIONS_PATH",
    "OLLAMA_ENDPOINT",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The values in force, their origins, and what a person should be told about them.

    ``origins`` maps ``section.key`` to ``default``, ``file:<line>``, ``env <NAME>``, ``flag`` or ``replaced``.
    """

    home: Path
    values: Values
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = field(default=())
    flags: Mapping[str, Any] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        """The value in force of ``section.key``."""
        return _value(self.values, name)

    def asked_for(self, name: str) -> bool:
        """Whether somebody set this key, rather than its default being in force."""
        return self.origins.get(name, "default") != "default"


def load(
    home: str | Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read all settings.

    Args:
        home: the home directory; ``$CHORUS_HOME`` or the platform's default if not given.
        flags: ``section.key`` to value, strings or typed; ``None`` values are as if absent.
        environ: the environment; the process' own if not given.

    Raises:
        ConfigError: an unknown key in the file or the flags (names the nearest one), a value of the wrong type or out of range, a file
            that isn't TOML.
    """
    environ = os.environ if environ is None else environ
    root = home_of(home, environ)
    known = {s.name: s for s in catalogue()}
    raw: dict[str, Any] = {}
    origins = dict.fromkeys(known, "default")
    warnings: list[str] = []

    path = root / "config.toml"
    for name, value, line in _from_file(path):
        if name not in known:
            raise ConfigError(
                f"{path}:{line}: there is no setting {name!r}.",
                _nearest(name, known) or "`chorus-hap config show` lists them.",
            )
        raw[name], origins[name] = value, f"file:{line}"

    by_env = {s.env: s.name for s in known.values()} | ALIASES
    for variable in sorted(environ):
        if variable in by_env:
            raw[by_env[variable]], origins[by_env[variable]] = environ[variable], f"env {variable}"
        elif variable in NOT_YET:
            warnings.append(f"{variable} is set, but this version doesn't have what it is for.")
        elif variable.startswith("CHORUS_") and variable not in PLAIN:
            shown = from_system(variable[:80])
            warnings.append(f"{shown!r} is no setting; it is ignored. {_nearest(shown, by_env)}".strip())

    for name, value in (flags or {}).items():
        if name not in known:
            raise ConfigError(
                f"--set {from_system(name[:80])}: there is no such setting.",
                _nearest(name, known) or "`chorus-hap config show` lists them.",
            )
        if value is not None:
            raw[name], origins[name] = value, "flag"

    return Settings(root, _typed(raw, origins, known), origins, tuple(warnings), dict(flags or {}))


def default_agent_id(kind: str) -> str:
    """``<login>-<host>`` for people, ``agent-<host>`` for agents: a valid name, whatever login and host are called."""
    # Each has its share of the room, so that a long one doesn't push the other out.
    host = made(_host().split(".")[0], otherwise="host", limit=23)
    who = login() if kind == "human" else "agent"
    return f"{made(who, otherwise='human', limit=MAX_NAME_CHARS - 1 - len(host))}-{host}"


def _host() -> str:
    """This machine's name; empty if it has none that can be read."""
    try:
        return socket.gethostname()
    except OSError:
        return ""


def _from_file(path: Path) -> Iterator[tuple[str, Any, int]]:
    text = read_text(path, MAX_CONFIG_BYTES)
    if text is None:
        return
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as exc:  # ValueError: a number of too many digits
        raise ConfigError(f"{path} isn't valid TOML: {str(exc).split(';')[0]}.", "Mend that line.") from exc
    for section, content in table.items():
        if not isinstance(content, dict):
            yield section, content, _line_of(text, None, section)
            continue
        for key, value in content.items():
            yield f"{section}.{key}", value, _line_of(text, section, key)


def _line_of(text: str, section: str | None, key: str) -> int:
    """The line a key stands on, for messages; the section's own line if the key is written in another way."""
    inside, found = section is None, 1
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith("["):
            inside = bare.strip("[] ") == section
            found = number if inside else found
        elif (inside and bare.split("=")[0].strip().strip("\"'") == key) or (
            section and bare.startswith(f"{section}.{key}")
        ):
            return number
    return found


def _nearest(name: str, names: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else ""


def _typed(raw: Mapping[str, Any], origins: Mapping[str, str], known: Mapping[str, Setting]) -> Values:
    sections: dict[str, dict[str, Any]] = {}
    for name, value in raw.items():
        setting = known[name]
        try:
            judged = kinds.judge(value, setting.hint, setting.kind)
        except Unfit as exc:
            shown = "that value" if setting.secret else _shown(value)
            raise ConfigError(
                f"{_where(origins[name], setting)}{name} = {shown} can't be used: {exc.reason}.",
                exc.hint or f"It is: {setting.doc}.",
            ) from exc
        sections.setdefault(setting.section, {})[setting.key] = judged
    values = msgspec.convert(sections, Values)
    for name, other, times in _NOT_BELOW:
        value, least = _value(values, name), _value(values, other)
        if value < times * least:
            twice = "twice " if times == 2 else ""
            raise ConfigError(
                f"{name} = {value:g} is less than {twice}{other} = {least:g}.", f"Raise {name} or lower {other}."
            )
    return values


#: Settings that may not be less than so many times another one.
_NOT_BELOW = (("election.timeout_s", "election.heartbeat_s", 2), ("p2p.redial_max_s", "p2p.redial_min_s", 1))


def _value(values: Values, name: str) -> Any:
    section, _, key = name.partition(".")
    return getattr(getattr(values, section), key)


def _shown(value: Any) -> str:
    text = f"'{marked(value[:200], keep='')}'" if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _where(origin: str, setting: Setting) -> str:
    if origin.startswith("file:"):
        return f"config.toml line {origin[5:]}: "
    if origin == "flag":
        return f"{setting.flag or f'--set {setting.name}'}: "
    return f"{origin}: "
