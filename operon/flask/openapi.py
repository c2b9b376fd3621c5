"""The OpenAPI document: what is served, so exactly that it can be tested by it.

Source:
    OpenAPI Specification 3.1.1, whose schemas are JSON Schema 2020-12, as pydantic's.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from operon.flask.answers import REPLAYED
from operon.flask.answers import RUN_ID
from operon.flask.endpoint import Endpoint
from operon.flask.endpoint import path_template
from operon.flask.idempotency import Idempotency
from operon.flask.openapi_models import RunGoingOn
from operon.flask.openapi_parts import BEARER
from operon.flask.openapi_parts import BODY
from operon.flask.openapi_parts import CREDENTIALS
from operon.flask.openapi_parts import REFUSALS
from operon.flask.openapi_parts import Part
from operon.flask.openapi_parts import Schemas
from operon.flask.openapi_parts import headers
from operon.flask.openapi_parts import json_content
from operon.flask.openapi_parts import response
from operon.flask.openapi_runs import FOLLOW
from operon.flask.openapi_runs import RunOperations
from operon.flask.openapi_runs import key_parameter
from operon.flask.openapi_runs import links
from operon.flask.problem import CONTENTION
from operon.flask.problem import IN_PROGRESS
from operon.flask.problem import INSUFFICIENT_SCOPE
from operon.flask.problem import INTERNAL
from operon.flask.problem import INVALID
from operon.flask.problem import INVALID_REQUEST
from operon.flask.problem import KEY_INVALID
from operon.flask.problem import KEY_MISSING
from operon.flask.problem import KEY_REUSED
from operon.flask.problem import NOT_FOUND
from operon.flask.problem import OUTCOME_UNKNOWN
from operon.flask.problem import RESULT_EXPIRED
from operon.flask.problem import TERMINAL
from operon.flask.problem import TOO_LARGE
from operon.flask.problem import UNAVAILABLE
from operon.flask.problem import WORKFLOW_FAILED
from operon.flask.problem import Kind
from operon.flask.telling import kind_of
from operon.transaction import is_transaction

_NULL = {"type": "null"}
_OPTIONAL_KEY = (KEY_INVALID, KEY_REUSED, IN_PROGRESS, RESULT_EXPIRED)
_KEYS: Mapping[Idempotency, Sequence[Kind]] = {
    "off": (),
    "optional": _OPTIONAL_KEY,
    "required": (KEY_MISSING, *_OPTIONAL_KEY),
}
_DONE = "It is done"
_PREFER: Part = {
    "name": "Prefer",
    "in": "header",
    "description": "Wait `wait=n` seconds at most, or `respond-async` (RFC 7240)",
    "schema": {"type": "string"},
}


def document(
    endpoints: Sequence[Endpoint], *, title: str, version: str, prefix: str
) -> dict[str, Any]:
    """Return the document of *endpoints*, and of their runs, below *prefix*."""
    schemas = Schemas(endpoints)
    paths: dict[str, Part] = {}
    for endpoint in endpoints:
        operations = paths.setdefault(prefix + path_template(endpoint.rule), {})
        operations[endpoint.method.lower()] = _operation(endpoint, schemas)
    for method, path, told in RunOperations(endpoints, schemas).all():
        paths.setdefault(prefix + path, {})[method] = told
    return {
        "openapi": "3.1.1",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "headers": headers(),
            "links": links(),
            "securitySchemes": {"bearer": BEARER},
        },
    }


def _operation(endpoint: Endpoint, schemas: Schemas) -> Part:
    access, scopes = endpoint.access, sorted(endpoint.access.scopes)
    told: Part = {
        "operationId": endpoint.name,
        "parameters": list(_parameters(endpoint, schemas)),
        "responses": {
            **dict(_successes(endpoint, schemas)),
            REFUSALS: schemas.refusals(),
            **schemas.problems(_kinds(endpoint)),
        },
        "security": [] if access.public else [{"bearer": scopes}],
    }
    roles = [sorted(each) for each in (access.roles, endpoint.declared.roles) if each]
    if roles and not access.public:
        told["description"] = " ".join(
            f"Asks for one of the roles {', '.join(each)}." for each in roles
        )
        told["x-operon-roles"] = roles
    if not endpoint.reads:
        schema = schemas.of(endpoint, "body", "validation")
        is_required = bool(endpoint.parameters.required)
        told["requestBody"] = {"required": is_required, "content": json_content(schema)}
    return told


def _parameters(endpoint: Endpoint, schemas: Schemas) -> Iterator[Part]:
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
        return
    if endpoint.idempotency != "off" and endpoint.key is None:
        yield key_parameter(
            required=endpoint.idempotency == "required", public=endpoint.access.public
        )
    if not is_transaction(endpoint.declared):
        yield _PREFER


def _successes(endpoint: Endpoint, schemas: Schemas) -> Iterator[tuple[str, Part]]:
    """Yield the responses to a request that is done, or goes on, by status."""
    schema = schemas.of(endpoint, "result", "serialization")
    something, may_be_nothing = _without_null(schema)
    always = [] if endpoint.reads else [RUN_ID]
    maybe = [] if endpoint.reads or endpoint.idempotency == "off" else [REPLAYED]
    place = [] if endpoint.location is None else ["Location"]
    follow = () if endpoint.access.public or endpoint.reads else FOLLOW
    if not is_transaction(endpoint.declared):
        maybe.append("Preference-Applied")
        yield (
            "202",
            response(
                "Its run goes on",
                content=json_content(schemas.of_model(RunGoingOn)),
                always=[*always, "Location", "Retry-After"],
                maybe=maybe,
                links=follow,
            ),
        )
    if something is not None:
        content = json_content(something)
        done = [*always, *place]
        yield (
            str(endpoint.status),
            response(_DONE, content=content, always=done, maybe=maybe, links=follow),
        )
    if may_be_nothing:
        maybe = [*maybe, *place]
        yield "204", response(_DONE, always=always, maybe=maybe, links=follow)


def _without_null(schema: Part) -> tuple[Part | None, bool]:
    """Return the schema of a result that is not null, and whether it may be null."""
    if schema == _NULL:
        return None, True
    if "anyOf" not in schema:
        return schema, not schema
    others = [each for each in schema["anyOf"] if each != _NULL]
    rest: Part = {**schema, "anyOf": others} if len(others) > 1 else others[0]
    return rest, _NULL in schema["anyOf"]


def _kinds(endpoint: Endpoint) -> Iterator[Kind]:
    """Yield all kinds of problems that *endpoint* can answer with."""
    yield from (INVALID_REQUEST, INVALID, TOO_LARGE, INTERNAL, UNAVAILABLE, CONTENTION)
    if endpoint.parameters.path:
        yield NOT_FOUND
    if not endpoint.access.public:
        yield from (*CREDENTIALS, INSUFFICIENT_SCOPE)
    if not endpoint.reads:
        yield from (*BODY, OUTCOME_UNKNOWN)
        yield from _KEYS[endpoint.idempotency]
    yield from _failures(endpoint)


def _failures(endpoint: Endpoint) -> Iterator[Kind]:
    """Yield what the work of *endpoint* can end with, but for what it refuses."""
    if not is_transaction(endpoint.declared):
        yield from (TERMINAL, WORKFLOW_FAILED)
    for error, status in endpoint.errors.items():
        if is_transaction(endpoint.declared):
            yield kind_of(error, status)
        else:
            yield Kind(WORKFLOW_FAILED.slug, status, WORKFLOW_FAILED.title)
