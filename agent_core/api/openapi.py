"""The OpenAPI document, generated from the registry of operations."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from agent_core.api.operations import OPERATIONS
from agent_core.api.registry import Operation
from agent_core.shapes import Health
from agent_core.version import VERSION

_REFS = "#/components/schemas/{name}"


class Error(msgspec.Struct, frozen=True):
    """What went wrong, and what to do about it."""

    code: str
    message: str
    next: str


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of every answer that isn't a success."""

    error: Error


@lru_cache(maxsize=1)
def document() -> bytes:
    """The OpenAPI 3.1 document as JSON."""
    operations = list(OPERATIONS.values())
    types = [o.request for o in operations] + [o.result for o in operations] + [ErrorAnswer, Health]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFS)
    requests, results = schemas[: len(operations)], schemas[len(operations) : -2]
    error, health = schemas[-2:]
    paths: dict[str, Any] = {}
    for operation, request, result in zip(operations, requests, results, strict=True):
        paths[f"/api/v1/op/{operation.name}"] = {"post": _post(operation, request, result, error)}
    for path, name in (("/api/v1/status", "status"), ("/api/v1/election", "election.show")):
        result = results[[o.name for o in operations].index(name)]
        summary = OPERATIONS[name].summary
        paths[path] = {"get": _get(f"get.{name}", summary, result) | {"security": [{"token": []}]}}
    for name in ("", "/live", "/ready", "/startup"):
        paths[f"/health{name}"] = {
            "get": _get(f"health{name.replace('/', '.')}", "How well the node is.", health, {"503": "Not well."})
        }
    return msgspec.json.format(
        msgspec.json.encode(
            {
                "openapi": "3.1.0",
                "info": {"title": "chorus-hap", "version": VERSION, "description": "One node of a CHORUS mesh."},
                "paths": paths
                | {
                    "/metrics": {"get": _text("metrics", "Prometheus metrics.", "text/plain")},
                    "/api/v1/events": {"get": _events()},
                },
                "components": {
                    "schemas": components,
                    "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
                },
            }
        ),
        indent=1,
    )


def _post(operation: Operation, request: Any, result: Any, error: Any) -> dict[str, Any]:
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.name.partition(".")[0]],
        "security": [{"token": []}],
        "x-changes": operation.changes,
        "requestBody": {"required": False, "content": _json(request)},
        "responses": {
            "200": {"description": "Done.", "content": _json(result)},
            "default": {"description": "Refused or failed.", "content": _json(error)},
        },
    }


def _get(id: str, summary: str, result: Any, others: dict[str, str] | None = None) -> dict[str, Any]:
    responses = {status: {"description": text, "content": _json(result)} for status, text in (others or {}).items()}
    return {
        "operationId": id,
        "summary": summary,
        "responses": {"200": {"description": "Answered.", "content": _json(result)}} | responses,
    }


def _text(id: str, summary: str, media: str) -> dict[str, Any]:
    return {
        "operationId": id,
        "summary": summary,
        "responses": {"200": {"description": "Answered.", "content": {media: {"schema": {"type": "string"}}}}},
    }


def _events() -> dict[str, Any]:
    return _text("events", "Slices as server-sent events: one `snapshot`, then `event`s.", "text/event-stream") | {
        "security": [{"token": []}],
        "parameters": [
            {
                "name": "slices",
                "in": "query",
                "required": True,
                "description": "names with commas, like status,traffic,room:<id>",
                "schema": {"type": "string"},
            }
        ],
    }


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
