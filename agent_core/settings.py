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

from agent_core.errors import ConfigError
from agent_core.system import data_directory, expand, login

Port: TypeAlias = int | Literal["off"]


def _doc(text: str, **bounds: Any) -> Meta:
    return Meta(description=text, **bounds)


class Agent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who speaks."""

    id: Annotated[str, _doc("name shown to others; default `<login>-<host>` for people, `agent-<host>` for agents")] = (
        ""
    )
    role: Annotated[str, _doc("role id from the roles file; default `operator` for people, `agent` for agents")] = ""
    capabilities: Annotated[tuple[str, ...], _doc("what this agent can do, in words of your own")] = ()


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which mesh, and how one gets in."""

    network: Annotated[str, _doc("name that separates meshes", pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "chorus"
    policy: Annotated[
        Literal["open", "invite", "approve"],
        _doc("how a cluster founded here admits newcomers; `chorus-hap cluster policy` changes it later"),
    ] = "open"
    ticket: Annotated[
        str, _doc("word of `members invite` by which a new home is admitted; a secret", extra={"secret": True})
    ] = ""
    evict_after_s: Annotated[
        float, _doc("absence after which a member without a vote is evicted, seconds; 0 for never", ge=0)
    ] = 0.0
    force_open: Annotated[bool, _doc("keep `open` while listening beyond loopback")] = False
    found: Annotated[bool, _doc("found a cluster at once instead of looking for peers first")] = False
    discovery_s: Annotated[float, _doc("how long a new home looks for peers before it founds, seconds", ge=0.1)] = 10.0


class P2p(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the node listens for peers."""

    host: Annotated[str, _doc("address to listen on; loopback unless you ask for more")] = "127.0.0.1"
    port: Annotated[int, _doc("TCP port; 0 for any free one", ge=0, le=65535)] = 9000
    quic: Annotated[bool, _doc("listen for QUIC too, on the UDP port of the same number, and dial it")] = False
    max_connections: Annotated[int, _doc("connections at most", ge=4, le=10_000)] = 64
    redial_min_s: Annotated[float, _doc("first wait before a lost peer is dialled again, seconds", gt=0)] = 0.5
    redial_max_s: Annotated[float, _doc("longest wait between two dials, seconds", gt=0)] = 30.0


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Peers known beforehand."""

    peers: Annotated[
        tuple[str, ...], _doc("full multiaddrs with /p2p/, as `status` lists them; commas in the environment")
    ] = ()


class Mdns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Discovery on the local network."""

    interfaces: Annotated[tuple[str, ...], _doc("addresses of the interfaces to look on; none switches it off")] = ()


class Dht(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The distributed hash table."""

    enabled: Annotated[bool, _doc("run Kademlia on the protocol /chorus/kad/1.0.0")] = False


class Feeds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The durable memory."""

    exchange_s: Annotated[float, _doc("how often heads are compared with one random peer, seconds", gt=0)] = 5.0


class Blocks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bodies over 32 KiB."""

    max_mib: Annotated[int, _doc("largest content that can be put here, MiB", ge=1, le=127)] = 64
    eager_mib: Annotated[
        int, _doc("content up to this is fetched from the others unasked, MiB; 0 for nothing", ge=0, le=127)
    ] = 8
    room_mib: Annotated[int, _doc("all blocks together, before others' content isn't fetched any more, MiB", ge=1)] = (
        4096
    )


class Election(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who leads."""

    heartbeat_s: Annotated[float, _doc("time between a leader's heartbeats, seconds", ge=0.1)] = 5.0
    timeout_s: Annotated[
        float, _doc("silence after which a leader is replaced, seconds; at least twice the heartbeat", ge=0.5)
    ] = 15.0
    stability_s: Annotated[
        float, _doc("a new leader's time without challenge while its heartbeats arrive, seconds", ge=0)
    ] = 60.0
    voter: Annotated[bool, _doc("let a console's node be made a voter in clusters of three voters and more")] = False
    demote_s: Annotated[
        float, _doc("absence after which a voter is demoted while the rest makes a majority, seconds", gt=0)
    ] = 600.0


class Hmmm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rooms."""

    objection_agents_s: Annotated[float, _doc("objection period of a plan among agents, seconds", ge=0)] = 30.0
    objection_human_s: Annotated[float, _doc("the same when a person takes part or is mentioned, seconds", ge=0)] = (
        600.0
    )


class Http(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """HTTP as a whole."""

    enabled: Annotated[bool, _doc("open HTTP for a console's node too; a daemon always does")] = False
    host: Annotated[str, _doc("address to listen on")] = "127.0.0.1"


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

    theme: Annotated[str, _doc("name of a theme; `:theme` lists them")] = "chorus-dark"
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
            secret = bool((meta.extra or {}).get("secret"))
            yield Setting(section.name, item.name, kind, default, meta.description, secret)


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
        section, _, key = name.partition(".")
        return getattr(getattr(self.values, section), key)

    def asked_for(self, name: str) -> bool:
        """Whether somebody set this key, rather than its default being in force."""
        return self.origins.get(name, "default") != "default"


def default_home(environ: Mapping[str, str] | None = None) -> Path:
    """``$CHORUS_HOME``, else the platform's directory for application data.

    Raises:
        ConfigError: neither is to be had.
    """
    environ = os.environ if environ is None else environ
    if environ.get("CHORUS_HOME"):
        return expand(environ["CHORUS_HOME"], environ)
    return data_directory(environ)


def home_of(home: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """The home directory that is named, or else the default one; absolute, for others read of it where they stand.

    Raises:
        ConfigError: there is none to be had.
    """
    return expand(home, environ) if home else default_home(environ)


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
            warnings.append(f"{variable} is no setting; it is ignored. {_nearest(variable, by_env)}".strip())

    for name, value in (flags or {}).items():
        if name not in known:
            raise ConfigError(
                f"--set {name}: there is no such setting.",
                _nearest(name, known) or "`chorus-hap config show` lists them.",
            )
        if value is not None:
            raw[name], origins[name] = value, "flag"

    return Settings(root, _typed(raw, origins, known), origins, tuple(warnings), dict(flags or {}))


def default_agent_id(kind: str) -> str:
    """``<login>-<host>`` for people, ``agent-<host>`` for agents."""
    host = socket.gethostname().split(".")[0] or "host"
    if kind != "human":
        return f"agent-{host}"
    return f"{login() or 'human'}-{host}"


def _from_file(path: Path) -> Iterator[tuple[str, Any, int]]:
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} can't be read: {exc}.", "Mend the file or its permissions.") from exc
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path} isn't valid TOML: {exc}.", "Mend that line.") from exc
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
        if isinstance(value, str) and setting.type == tuple[str, ...]:
            value = [part.strip() for part in value.split(",") if part.strip()]
        sections.setdefault(setting.section, {})[setting.key] = value
        try:
            # One key at a time, so that the message can name where it came from.
            msgspec.convert({setting.section: {setting.key: value}}, Values, strict=False)
        except msgspec.ValidationError as exc:
            said = str(exc).split(" - at ")[0]
            raise ConfigError(
                f"{_where(origins[name])}{name} = {value!r} can't be used: {said}.", f"It is: {setting.doc}."
            ) from exc
    values = msgspec.convert(sections, Values, strict=False)
    if values.election.timeout_s < 2 * values.election.heartbeat_s:
        raise ConfigError(
            f"election.timeout_s = {values.election.timeout_s:g} is less than twice election.heartbeat_s = {values.election.heartbeat_s:g}.",
            "Raise the timeout or lower the heartbeat.",
        )
    return values


def _where(origin: str) -> str:
    if origin.startswith("file:"):
        return f"config.toml line {origin[5:]}: "
    return f"{origin}: " if origin != "flag" else ""
