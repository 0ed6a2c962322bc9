"""The reference pages of what is written and sent: message types of the envelope, entry types of the feeds."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import inspect


def messages_page() -> list[str]:
    """Every message type with its fields and an example."""
    from agent_core.wire import catalogue

    lines = [
        "# Messages",
        "",
        "What an envelope's `data` holds, by the envelope's `type` (see [protocol-mesh.md](../protocol-mesh.md#gossip)). An unknown",
        "type is accepted, passed on and shown raw; data that isn't its type's is refused by everybody.",
    ]
    for family in catalogue.FAMILIES:
        lines += [
            "",
            f"## {family.name}",
            "",
            f"Published on `{family.topic}` unless something more specific is meant.",
        ]
        for kind in family.types:
            example = json.dumps(json.loads(msgspec.json.encode(kind.example)), ensure_ascii=False)
            lines += ["", f"### `{kind.name}`", "", _first(kind.schema), "", *_fields(kind.schema), "", f"`{example}`"]
    return lines


def entries_page() -> list[str]:
    """Every entry type with the fields of its data."""
    from agent_core.decisions import model as decisions
    from agent_core.election import acts, messages
    from agent_core.feeds import heads
    from agent_core.hmmm import model as hmmm
    from agent_core.roster import fold
    from agent_core.roster import model as roster
    from agent_core.ucxl import model as ucxl

    kinds = acts.ActKind
    lines = [
        "# Entries",
        "",
        "What an entry header's `data` holds, by its `type` (see [protocol-feeds.md](../protocol-feeds.md)). Data that isn't its type's, and",
        "types not listed, are stored and replicated, and not folded.",
    ]
    for name, schema, body in (
        (hmmm.HMMM_MESSAGE, hmmm.MessageData, "Markdown"),
        (hmmm.HMMM_PROCEED, hmmm.ProceedData, ""),
        (decisions.DECISION_PROPOSE, decisions.ProposeData, "Markdown"),
        (decisions.DECISION_VOTE, decisions.VoteData, "text"),
        (decisions.DECISION_WITHDRAW, decisions.WithdrawData, "text"),
        (ucxl.UCXL_PUT, ucxl.PutData, "the content"),
        (heads.FEED_EPOCH, heads.EpochData, ""),
        (heads.LOG_PURGE, heads.PurgeData, ""),
        (roster.ROSTER_YIELD, roster.YieldData, ""),
        (roster.ROSTER_SHARE, roster.ShareData, ""),
        (acts.ACT, acts.ActData, ""),
        (acts.ACT_COMMIT, acts.CommitData, ""),
    ):
        said = f" Body: {body}." if body else ""
        lines += ["", f"## `{name}`", "", _first(schema) + said, "", *_fields(schema)]
    lines += ["", "## Acts", "", "What `payload` of an `act` holds, by its `kind`."]
    for kind, payload in (
        (kinds.GENESIS, fold.GenesisPayload),
        (kinds.TERM, messages.TermPayload),
        (kinds.MEMBER_ADD, fold.MemberPayload),
        (kinds.MEMBER_CHANGE, fold.MemberPayload),
        (kinds.MEMBER_REVOKE, fold.RevokePayload),
        (kinds.VOTER_ADD, fold.VoterPayload),
        (kinds.VOTER_REMOVE, fold.VoterPayload),
        (kinds.POLICY, fold.PolicyPayload),
        (kinds.DECISION_CLOSE, decisions.ClosePayload),
    ):
        lines += ["", f"### `{kind}`", "", _first(payload), "", *_fields(payload)]
    return lines


def _first(schema: type) -> str:
    return (schema.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ").replace("    ", "")


def _fields(schema: type) -> list[str]:
    """A struct's fields as a table; structs inside are spelled out where they stand."""
    rows = ["| field | type | default |", "|---|---|---|"]
    info = inspect.type_info(schema)
    if not isinstance(info, inspect.StructType) or not info.fields:
        return ["No fields."]
    for field in info.fields:
        default = "" if field.required else f"`{_plain(field)}`"
        rows.append(f"| `{field.encode_name}` | {_named(field.type)} | {default} |".replace("||", "| |"))
    return rows


def _plain(field: inspect.Field) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()  # type: ignore[operator]
    return json.dumps(json.loads(msgspec.json.encode(value)), ensure_ascii=False)


def _named(kind: Any) -> str:
    match kind:
        case inspect.StrType():
            shape = f" `{kind.pattern}`".replace("\\Z", "$").replace("|", "\\|") if kind.pattern else ""
            return f"text{shape}{_bounds(kind.min_length, kind.max_length, 'characters')}"
        case inspect.IntType():
            return f"integer{_bounds(kind.ge, kind.le if kind.le is not None else kind.lt and kind.lt - 1)}"
        case inspect.FloatType():
            return f"number{_bounds(kind.ge, kind.le)}"
        case inspect.BytesType():
            return f"bytes{_bounds(kind.min_length, kind.max_length, 'bytes')}"
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            return ", ".join(f"`{value}`" for value in sorted(map(str, kind.values)))
        case inspect.EnumType():
            return ", ".join(f"`{value.value}`" for value in kind.cls)
        case inspect.VarTupleType() | inspect.ListType():
            return f"list of {_named(kind.item_type)}{_bounds(None, kind.max_length, 'items')}"
        case inspect.TupleType():
            return f"array of {', '.join(map(_named, kind.item_types))}"
        case inspect.DictType():
            return (
                f"map of {_named(kind.key_type)} to {_named(kind.value_type)}{_bounds(None, kind.max_length, 'items')}"
            )
        case inspect.UnionType():
            return " or ".join(map(_named, kind.types))
        case inspect.NoneType():
            return "null"
        case inspect.StructType():
            inner = [f"`{f.encode_name}`{'' if f.required else '?'}: {_named(f.type)}" for f in kind.fields]
            return f"{'[' if kind.array_like else '{'} {'; '.join(inner)} {']' if kind.array_like else '}'}"
        case inspect.RawType():
            return "object"
    return type(kind).__name__.removesuffix("Type").lower()


def _bounds(low: float | None, high: float | None, unit: str = "") -> str:
    unit = f" {unit}" if unit else ""
    if low is not None and high is not None:
        return f", {low:,} to {high:,}{unit}"
    return f", at most {high:,}{unit}" if high is not None else f", at least {low:,}{unit}" if low is not None else ""
