"""
The published schema: OpenAPI 3.1, made from the table of calls and the types they name.

Nothing is described here that `calls` does not say; this file only translates.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from aiohttp import web
from pydantic import BaseModel, TypeAdapter

from consumer.simulator.calls import PLATFORM_CALLS, QUEUE_CALLS, Call
from consumer.simulator.faults import Operation

SCHEMA_PATH = "/openapi.json"
_REF = "#/components/schemas/{model}"
# What owners, apps and ids are made of; the words left out lead elsewhere on this host.
_PATH_PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "owner": {
        "type": "string",
        "pattern": "^(?!v1$|_simulator$|workflows$|comfy$)[A-Za-z][A-Za-z0-9_-]{0,30}$",
        "examples": ["fal-ai"],
    },
    "app": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,30}$", "examples": ["flux"]},
    "path": {
        "type": "string",
        "pattern": "^[A-Za-z0-9_-]{1,30}$",
        "description": "More segments may follow.",
        "examples": ["dev"],
    },
    "request_id": {"type": "string", "format": "uuid"},
}
_HINT_HEADERS = {
    name: {"schema": {"type": "integer", "minimum": 0}, "description": "Seconds, if it is there."}
    for name in ("Retry-After", "x-ratelimit-reset")
}
_REASONS = {
    200: "As asked for",
    202: "Not at its end yet",
    400: "Cannot be",
    401: "No good key",
    403: "Not with this key, or the account is locked",
    404: "Unknown",
    422: "The input cannot be",
    429: "Too much",
    499: "Cancelled",
    500: "fal's own fault",
    502: "Half an answer of the runner",
    503: "No runner",
    504: "Too late",
}


async def serve_schema(request: web.Request) -> web.Response:
    """Answer with the schema, for the origin it was asked on."""
    servers = [{"url": f"{request.scheme}://{request.host}"}]
    return web.json_response(openapi_document() | {"servers": servers})


@cache
def openapi_document() -> dict[str, Any]:
    """Return the whole document, without servers."""
    calls = (*QUEUE_CALLS, *PLATFORM_CALLS)
    schemas = _Schemas(calls)
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "A stand-in for fal.ai",
            "version": "2026-10-07",
            "description": "Queue and platform API as the simulator of fal-consumer serves them.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                name: {"type": "apiKey", "in": "header", "name": "Authorization"}
                for name in ("apiKey", "adminKey")
            },
        },
    }


class _Schemas:
    """The schema of every type that the calls name; objects that we answer with are closed."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self.components: dict[str, Any] = {}
        self._made: dict[tuple[int, str], dict[str, Any]] = {}
        for call in calls:
            for answer in call.answers.values():
                self._make(answer, "serialization")
            if call.body is not None:
                self._make(call.body, "validation")

    def of(self, kind: Any, mode: str) -> dict[str, Any]:
        """Return the schema of a type that a call names."""
        return self._made[id(kind), mode]

    def parameters(self, kind: type[BaseModel]) -> dict[str, Any]:
        """Return the schemas of a model's fields, by the names they have on the wire."""
        schema = kind.model_json_schema(ref_template=_REF)
        self.components |= schema.get("$defs", {})
        return {name: _present(field) for name, field in schema.get("properties", {}).items()}

    def _make(self, kind: Any, mode: str) -> None:
        if (id(kind), mode) in self._made:
            return
        schema = TypeAdapter(kind).json_schema(
            mode="serialization" if mode == "serialization" else "validation", ref_template=_REF
        )
        named = schema.pop("$defs", {})
        if mode == "serialization":
            schema = _closed(schema)
            named = {name: _closed(value) for name, value in named.items()}
        self.components |= named
        self._made[id(kind), mode] = schema


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an object's schema without room for fields that it does not name."""
    return schema | {"additionalProperties": False} if "properties" in schema else schema


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that is there: null is how a model says that it is not."""
    kept = {key: value for key, value in schema.items() if key not in {"title", "default"}}
    options = [option for option in kept.pop("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        return {**options[0], **kept}
    return kept | ({"anyOf": options} if options else {})


def _operation(call: Call, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id(call),
        "summary": call.summary,
        "parameters": [
            *_path_parameters(call),
            *_parameters(schemas, call.query, "query"),
            *([] if call.headers is None else _parameters(schemas, call.headers, "header")),
        ],
        "responses": {str(status): _response(call, status, schemas) for status in call.answers},
        "security": [{"adminKey" if call.needs_admin else "apiKey": []}],
    }
    if call.is_open:
        operation["security"] = [{}, *operation["security"]]
    if call.body is not None:
        content = {"application/json": {"schema": schemas.of(call.body, "validation")}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def operation_id(call: Call) -> str:
    """Return the name of a call; those with two paths have two."""
    tail = {"/{path}": "_path", "/response": "_response"}
    return call.operation.value + next(
        (word for end, word in tail.items() if call.path.endswith(end)), ""
    )


def _path_parameters(call: Call) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in _PATH_PARAMETERS.items()
        if "{" + name + "}" in call.path
    ]


def _parameters(schemas: _Schemas, kind: type[BaseModel], where: str) -> list[dict[str, Any]]:
    required = {
        field.alias or name for name, field in kind.model_fields.items() if field.is_required()
    }
    return [
        {
            "name": name,
            "in": where,
            "required": name in required,
            "schema": schema,
        }
        for name, schema in schemas.parameters(kind).items()
    ]


def _response(call: Call, status: int, schemas: _Schemas) -> dict[str, Any]:
    schema = schemas.of(call.answers[status], "serialization")
    media_type = call.media_type if status == 200 else "application/json"
    content: dict[str, Any] = {media_type: {"schema": schema}}
    if status in call.replayed:
        content["*/*"] = {}
    if media_type == "text/event-stream":
        content = {media_type: {"schema": _event(schema)}}
    response: dict[str, Any] = {"description": _REASONS[status], "content": content}
    if status == 429:
        response["headers"] = _HINT_HEADERS
    if status == 200 and call.leads_to:
        response["links"] = {name.value: _link(name) for name in call.leads_to}
    return response


def _event(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one event of a stream, in the form that OpenAPI 3.2 has for it."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}


def _link(operation: Operation) -> dict[str, Any]:
    return {
        "operationId": operation.value,
        "parameters": {
            "owner": "$request.path.owner",
            "app": "$request.path.app",
            "request_id": "$response.body#/request_id",
        },
    }
