"""Parts of the OpenAPI document that operations of all kinds have in common."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Literal

from pydantic import BaseModel
from pydantic import TypeAdapter

from operon.flask.answers import JSON
from operon.flask.answers import REPLAYED
from operon.flask.answers import RUN_ID
from operon.flask.endpoint import Endpoint
from operon.flask.openapi_models import MODELS
from operon.flask.openapi_models import ForkRequest
from operon.flask.openapi_models import Problem
from operon.flask.problem import AUTH_UNAVAILABLE
from operon.flask.problem import ENCODING_REFUSED
from operon.flask.problem import INVALID_REQUEST
from operon.flask.problem import INVALID_TOKEN
from operon.flask.problem import MALFORMED
from operon.flask.problem import MEDIA_TYPE
from operon.flask.problem import MEDIA_TYPE_REFUSED
from operon.flask.problem import TOO_LARGE
from operon.flask.problem import UNAUTHENTICATED
from operon.flask.problem import Kind

Mode = Literal["validation", "serialization"]
Part = dict[str, Any]
"""A part of the document, as JSON."""

REFUSALS = "4XX"
"""What a handler may refuse with; its statuses are its own."""

BEARER: Part = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}

CREDENTIALS = (INVALID_REQUEST, UNAUTHENTICATED, INVALID_TOKEN, AUTH_UNAVAILABLE)
"""What is the matter with who asks."""
BODY = (TOO_LARGE, MEDIA_TYPE_REFUSED, ENCODING_REFUSED, MALFORMED)
"""What is the matter with a body, before anybody knows what it is for."""

_REF = "#/components/schemas/{model}"
_ALWAYS = (
    "Operon-Request-Id",
    "Operon-Trace-Id",
    "Cache-Control",
    "X-Content-Type-Options",
)
_MAYBE = "Optional-"
_TEXT: Part = {"type": "string", "minLength": 1}
_HEADERS: Mapping[str, Part] = {
    "Operon-Request-Id": {"description": "This request's, in the log", "schema": _TEXT},
    "Operon-Trace-Id": {
        "description": "Tell us this one when something went wrong",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "Cache-Control": {"schema": {"const": "no-store"}},
    "X-Content-Type-Options": {"schema": {"const": "nosniff"}},
    RUN_ID: {"description": "The run that does, or did, the work", "schema": _TEXT},
    "Location": {
        "description": "Where it is found",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Retry-After": {
        "description": "In how many seconds to ask again",
        "schema": {"type": "integer", "minimum": 0},
    },
    "ETag": {
        "description": "Changes when the run does",
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
    },
    "WWW-Authenticate": {
        "description": "What is missing or wrong (RFC 6750)",
        "schema": {"type": "string", "pattern": "^Bearer "},
    },
    "Preference-Applied": {
        "description": "What was heard of `Prefer`",
        "schema": {"type": "string", "pattern": "^(wait=[0-9]+|respond-async)$"},
    },
    REPLAYED: {
        "description": "The same request was answered before, with this",
        "schema": {"const": "true"},
    },
}
_OF_PROBLEMS: Mapping[int, tuple[Sequence[str], Sequence[str]]] = {
    401: (["WWW-Authenticate"], []),
    403: (["WWW-Authenticate"], []),
    503: (["Retry-After"], [RUN_ID]),
}
"""By status: the headers that a problem always has, and those it may have."""
_OPTIONAL = ("Retry-After", RUN_ID, REPLAYED)


class Schemas:
    """The schemas of everything that is served, by what they are of."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        inputs = [each for one in endpoints for each in _parts(one)]
        for model in MODELS:
            mode: Mode = "validation" if model is ForkRequest else "serialization"
            inputs.append((model.__name__, mode, TypeAdapter(model)))
        self._found, rest = TypeAdapter.json_schemas(inputs, ref_template=_REF)
        self.components: Part = rest.get("$defs", {})

    def of(self, endpoint: Endpoint, part: str, mode: Mode) -> Part:
        """Return the schema of a *part* of *endpoint*, such as `body`."""
        return self._found[f"{endpoint.name}/{part}", mode]

    def of_model(self, model: type[BaseModel], mode: Mode = "serialization") -> Part:
        """Return a reference to one of Operon's own models."""
        return self._found[model.__name__, mode]

    def problems(self, kinds: Iterable[Kind]) -> dict[str, Part]:
        """Return the responses that *kinds* of problems are told in, by status."""
        by_status: dict[int, dict[str, Kind]] = {}
        for kind in kinds:
            by_status.setdefault(kind.status, {})[kind.slug] = kind
        return {
            str(status): self._problem(status, by_status[status].values())
            for status in sorted(by_status)
        }

    def refusals(self) -> Part:
        """Return the response that a handler's own refusal is told in."""
        return self._told(
            "It is refused; the problem's type is the handler's", [], _OPTIONAL
        )

    def _problem(self, status: int, kinds: Iterable[Kind]) -> Part:
        lines = [f"`{kind.slug}`: {kind.title}" for kind in kinds]
        always, maybe = _OF_PROBLEMS.get(status, ([], _OPTIONAL))
        return self._told("; ".join(lines), always, maybe)

    def _told(self, text: str, always: Sequence[str], maybe: Sequence[str]) -> Part:
        content = {MEDIA_TYPE: {"schema": self.of_model(Problem)}}
        return response(text, content=content, always=always, maybe=maybe)


def _parts(endpoint: Endpoint) -> Iterator[tuple[str, Mode, TypeAdapter[Any]]]:
    parameters, name = endpoint.parameters, endpoint.name
    for each, adapter in parameters.path.items():
        yield f"{name}/path/{each}", "validation", adapter
    if endpoint.reads:
        for each, adapter in parameters.members.items():
            yield f"{name}/member/{each}", "validation", adapter
    else:  # only in a body does a dataclass refuse unknown members, so never both
        yield f"{name}/body", "validation", TypeAdapter(parameters.body)
    yield f"{name}/result", "serialization", endpoint.result


def headers() -> Part:
    """Return all headers that responses refer to, as they always or may have them."""
    always = {name: {"required": True, **told} for name, told in _HEADERS.items()}
    maybe = {
        f"{_MAYBE}{name}": told
        for name, told in _HEADERS.items()
        if name not in _ALWAYS
    }
    return {**always, **maybe}


def response(
    description: str,
    *,
    content: Part | None = None,
    always: Sequence[str] = (),
    maybe: Sequence[str] = (),
    links: Iterable[str] = (),
) -> Part:
    """Return a response.

    Args:
        description: What it means.
        content: Its body by media type; None if it has none.
        always: Headers that it has.
        maybe: Headers that it may have.
        links: The operations that are the next thing to do, by name.
    """
    told: Part = {
        "description": description,
        "headers": {
            **{name: _header(name) for name in (*_ALWAYS, *always)},
            **{name: _header(f"{_MAYBE}{name}") for name in maybe},
        },
    }
    if content is not None:
        told["content"] = content
    refer = {name: {"$ref": f"#/components/links/{name}"} for name in links}
    return told | ({"links": refer} if refer else {})


def json_content(schema: Part) -> Part:
    """Return the content that is JSON of *schema*."""
    return {JSON: {"schema": schema}}


def _header(name: str) -> Part:
    return {"$ref": f"#/components/headers/{name}"}
