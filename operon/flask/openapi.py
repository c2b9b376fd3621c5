"""The OpenAPI document: what is served, so exactly that it can be tested by it.

Source:
    OpenAPI Specification 3.1.1, whose schemas are JSON Schema 2020-12, as pydantic's.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from typing import Literal

from pydantic import TypeAdapter

from operon.flask.endpoint import Endpoint
from operon.flask.endpoint import path_template
from operon.flask.idempotency import HEADER
from operon.flask.problem import MEDIA_TYPE
from operon.transaction import is_transaction

_REF = "#/components/schemas/{model}"
_MODE = Literal["validation", "serialization"]

_PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "retryable", "safe_new_key"],
    "properties": {
        "type": {"type": "string", "description": "A stable name"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "retryable": {
            "type": "boolean",
            "description": "The same request may succeed later",
        },
        "safe_new_key": {
            "type": "boolean",
            "description": "Another key cannot do the work twice",
        },
        "trace_id": {"type": "string"},
        "run_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
_GOING: Mapping[str, Any] = {
    "type": "object",
    "required": ["run_id", "status"],
    "properties": {"run_id": {"type": "string"}, "status": {"type": "string"}},
}


def document(
    endpoints: Sequence[Endpoint], *, title: str, version: str, prefix: str
) -> dict[str, Any]:
    """Return the document of *endpoints*, which are below *prefix*."""
    schemas, definitions = _schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = prefix + path_template(endpoint.rule)
        operations = paths.setdefault(path, {})
        operations[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.1",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": {**definitions, "Problem": _PROBLEM, "RunGoingOn": _GOING},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


class _Schemas:
    """The schemas of all endpoints, by endpoint and part."""

    def __init__(self, found: Mapping[Any, Any]) -> None:
        self._found = found

    def of(self, endpoint: Endpoint, part: str, mode: _MODE) -> Any:
        return self._found[f"{endpoint.name}/{part}", mode]


def _schemas(endpoints: Sequence[Endpoint]) -> tuple[_Schemas, Mapping[str, Any]]:
    inputs: list[tuple[str, _MODE, TypeAdapter[Any]]] = []
    for endpoint in endpoints:
        parameters = endpoint.parameters
        parts = [("path", parameters.path), ("member", parameters.members)]
        for kind, adapters in parts:
            for name, adapter in adapters.items():
                inputs.append((f"{endpoint.name}/{kind}/{name}", "validation", adapter))
        body = TypeAdapter(parameters.body)
        inputs.append((f"{endpoint.name}/body", "validation", body))
        inputs.append((f"{endpoint.name}/result", "serialization", endpoint.result))
    found, rest = TypeAdapter.json_schemas(inputs, ref_template=_REF)
    return _Schemas(found), rest.get("$defs", {})


def _operation(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    public, scopes = endpoint.access.public, sorted(endpoint.access.scopes)
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "parameters": list(_parameters(endpoint, schemas)),
        "responses": dict(_responses(endpoint, schemas)),
        "security": [] if public else [{"bearer": scopes}],
    }
    if not endpoint.reads:
        schema = schemas.of(endpoint, "body", "validation")
        operation["requestBody"] = {
            "required": bool(endpoint.parameters.required),
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _parameters(endpoint: Endpoint, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    parameters = endpoint.parameters
    for name in parameters.path:
        schema = schemas.of(endpoint, f"path/{name}", "validation")
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    if endpoint.reads:
        for name in parameters.members:
            yield {
                "name": name,
                "in": "query",
                "required": name in parameters.required,
                "schema": schemas.of(endpoint, f"member/{name}", "validation"),
            }
    elif endpoint.idempotency != "off" and endpoint.key is None:
        key: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 255}
        if endpoint.access.public:
            key = {"type": "string", "format": "uuid"}
        else:
            key["pattern"] = r"^[!#-+\--\[\]-~]+$"
        yield {
            "name": HEADER,
            "in": "header",
            "required": endpoint.idempotency == "required",
            "schema": key,
        }


def _responses(
    endpoint: Endpoint, schemas: _Schemas
) -> Iterator[tuple[str, dict[str, Any]]]:
    schema = schemas.of(endpoint, "result", "serialization")
    if schema == {"type": "null"}:
        yield "204", {"description": "It is done"}
    else:
        content = {"application/json": {"schema": schema}}
        yield str(endpoint.status), {"description": "It is done", "content": content}
    if not is_transaction(endpoint.declared):
        going = {"schema": {"$ref": _REF.format(model="RunGoingOn")}}
        yield (
            "202",
            {
                "description": "Its run goes on",
                "content": {"application/json": going},
            },
        )
    problem = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    for status in sorted(_problems(endpoint)):
        phrase = HTTPStatus(status).phrase
        yield str(status), {"description": phrase, "content": problem}


def _problems(endpoint: Endpoint) -> set[int]:
    """Return the statuses of all problems that *endpoint* can answer with."""
    found = {400, 422, 500, 503, *endpoint.errors.values()}
    if not endpoint.access.public:
        found |= {401, 403}
    if not endpoint.reads:
        found |= {409, 413, 415}
    return found
