"""The OpenAPI operations of runs, and of the service itself."""

from collections.abc import Iterator
from collections.abc import Sequence

from operon.flask.answers import RUN_ID
from operon.flask.endpoint import Endpoint
from operon.flask.idempotency import HEADER
from operon.flask.openapi_models import ForkRequest
from operon.flask.openapi_models import Health
from operon.flask.openapi_models import Run
from operon.flask.openapi_models import RunGoingOn
from operon.flask.openapi_models import RunHistory
from operon.flask.openapi_models import RunPage
from operon.flask.openapi_parts import BODY
from operon.flask.openapi_parts import CREDENTIALS
from operon.flask.openapi_parts import REFUSALS
from operon.flask.openapi_parts import Part
from operon.flask.openapi_parts import Schemas
from operon.flask.openapi_parts import json_content
from operon.flask.openapi_parts import response
from operon.flask.ownership import OPERATOR
from operon.flask.problem import CONTENTION
from operon.flask.problem import INSUFFICIENT_SCOPE
from operon.flask.problem import INTERNAL
from operon.flask.problem import INVALID
from operon.flask.problem import KEY_INVALID
from operon.flask.problem import NOT_FOUND
from operon.flask.problem import TERMINAL
from operon.flask.problem import UNAVAILABLE
from operon.flask.problem import WORKFLOW_FAILED
from operon.flask.problem import Kind
from operon.flask.run_page import MOST
from operon.flask.run_page import PLACE
from operon.flask.run_page import USUAL
from operon.status import RunStatus

Operation = tuple[str, str, Part]
"""Method, path below the prefix, and what is said of it."""

FOLLOW = (
    "run_show",
    "run_result",
    "run_steps",
    "run_cancel",
    "run_resume",
    "run_retry",
    "run_fork",
)
"""What can be done next with a run of which only the id is known."""

_ANY: Part = {}
_TEXT: Part = {"type": "string", "minLength": 1}
_PLAIN: Part = {"type": "string", "pattern": "^[^\\u0000]*$"}
_MOMENT: Part = {"type": "string", "format": "date-time"}
_NAME: Part = {"type": "string", "minLength": 1, "maxLength": 255}
_DONE = "It is done"
_SSE = "text/event-stream"


def links() -> Part:
    """Return the links from a run to what can be done with it."""
    return {name: _link(name) for name in FOLLOW}


def _link(name: str) -> Part:
    link: Part = {
        "operationId": name,
        "parameters": {"run_id": f"$response.header.{RUN_ID}"},
    }
    return link | ({"requestBody": {"from_position": 1}} if name == "run_fork" else {})


class RunOperations:
    """The operations below `/runs`, and those of the service."""

    def __init__(self, endpoints: Sequence[Endpoint], schemas: Schemas) -> None:
        """Describe them for runs of *endpoints*."""
        self._endpoints = endpoints
        self._schemas = schemas

    def all(self) -> Iterator[Operation]:
        """Yield each with its method and path."""
        yield "get", "/runs", self._list()
        yield "get", "/runs/{run_id}", self._show()
        yield "get", "/runs/{run_id}/result", self._result()
        yield "get", "/runs/{run_id}/steps", self._steps()
        yield "get", "/runs/{run_id}/events/{key}", self._event()
        yield "get", "/runs/{run_id}/stream/{name}", self._stream()
        again = [INSUFFICIENT_SCOPE]  # as for whoever starts it
        for action, summary, kinds in (
            ("cancel", "Ask it to end", []),
            ("resume", "Continue it, if it is dead or was cancelled by force", again),
            ("retry", "Redo the operation by which it has failed", again),
        ):
            told = self._control(f"run_{action}", summary, kinds)
            yield "post", f"/runs/{{run_id}}/{action}", told
        yield "post", "/runs/{run_id}/fork", self._fork()
        yield "post", "/runs/{run_id}/messages/{topic}", self._send()
        yield "get", "/health/live", self._live()
        yield "get", "/health/ready", self._ready()
        yield "get", "/openapi.json", self._openapi()

    def _list(self) -> Part:
        page = json_content(self._schemas.of_model(RunPage))
        found = response("A page of them", content=page)
        summary = "The caller's runs, the newest first"
        parameters = list(_filters())
        told = self._of_runs(
            "run_list", summary, {"200": found}, [INVALID], parameters=parameters
        )
        del told["responses"]["404"]
        return told

    def _show(self) -> Part:
        run = json_content(self._schemas.of_model(Run))
        responses = {
            "200": response("Where it stands", content=run, always=["ETag"]),
            "304": response("It is as the caller has it", always=["ETag"]),
        }
        seen = _in_header("If-None-Match", "ETags of what the caller has")
        return self._of_runs(
            "run_show", "Where a run stands", responses, parameters=[_RUN, seen]
        )

    def _result(self) -> Part:
        going = json_content(self._schemas.of_model(RunGoingOn))
        come = response(
            "What it has come to", content=json_content(_ANY), maybe=["Location"]
        )
        statuses = {str(each.status) for each in self._endpoints if not each.reads}
        responses: dict[str, Part] = {
            **dict.fromkeys(sorted({"200"} | statuses), come),
            "202": response(
                "It goes on",
                content=going,
                always=[RUN_ID, "Location", "Retry-After"],
            ),
            "204": response("It has come to nothing", always=[RUN_ID]),
            REFUSALS: self._schemas.refusals(),
        }
        declared = {status for one in self._endpoints for status in one.errors.values()}
        kinds = [
            Kind(WORKFLOW_FAILED.slug, status, WORKFLOW_FAILED.title)
            for status in sorted(declared)
        ]
        summary = "What a run has come to, the same as its endpoint answers"
        return self._of_runs(
            "run_result", summary, responses, [TERMINAL, WORKFLOW_FAILED, *kinds]
        )

    def _steps(self) -> Part:
        steps = json_content(self._schemas.of_model(RunHistory))
        found = response("Its history", content=steps)
        return self._of_runs("run_steps", "What is recorded of a run", {"200": found})

    def _event(self) -> Part:
        found = response("What it is", content=json_content(_ANY))
        return self._of_runs(
            "run_event",
            "What a run has published under a key",
            {"200": found},
            parameters=[_RUN, _in_path("key", _TEXT)],
        )

    def _stream(self) -> Part:
        values = "Its values: `data` is JSON, `id` its place; the last event is `end`"
        lines = response(values, content={_SSE: {"schema": _ANY}})
        seen = _in_header("Last-Event-ID", "The `id` that was read last")
        return self._of_runs(
            "run_stream",
            "What a run writes, as server-sent events, until it ends",
            {"200": lines},
            [INVALID],
            parameters=[_RUN, _in_path("name", _NAME), seen],
        )

    def _control(self, name: str, summary: str, kinds: Sequence[Kind]) -> Part:
        run = json_content(self._schemas.of_model(Run))
        done = response(_DONE, content=run, always=[RUN_ID, "ETag"], links=FOLLOW)
        kinds = [TERMINAL, CONTENTION, *kinds]
        return self._of_runs(name, summary, {"200": done}, kinds)

    def _fork(self) -> Part:
        run = json_content(self._schemas.of_model(Run))
        always = [RUN_ID, "ETag", "Location"]
        made = response("A new run", content=run, always=always, links=FOLLOW)
        told = self._of_runs(
            "run_fork",
            "Make a new run of the beginning of a run",
            {"201": made},
            [*BODY, INVALID, INSUFFICIENT_SCOPE, CONTENTION],
        )
        told["description"] = f"Asks for the role {OPERATOR}."
        told["x-operon-roles"] = [[OPERATOR]]
        asked = self._schemas.of_model(ForkRequest, "validation")
        told["requestBody"] = {"required": True, "content": json_content(asked)}
        return told

    def _send(self) -> Part:
        told = self._of_runs(
            "run_send",
            "Send a run a message, once for each idempotency key",
            {"204": response("It is sent")},
            [*BODY, KEY_INVALID, INVALID, CONTENTION],
            parameters=[_RUN, _in_path("topic", _NAME), key_parameter()],
        )
        told["requestBody"] = {"required": False, "content": json_content(_ANY)}
        return told

    def _live(self) -> Part:
        health = json_content(self._schemas.of_model(Health))
        alive = response("It does", content=health)
        return self._open("live", "Whether the process answers", {"200": alive})

    def _ready(self) -> Part:
        health = json_content(self._schemas.of_model(Health))
        is_ready = response("It is", content=health)
        summary = "Whether requests can be served"
        return self._open("ready", summary, {"200": is_ready}, [UNAVAILABLE])

    def _openapi(self) -> Part:
        shown = response("It", content=json_content({"type": "object"}))
        return self._open("openapi", "This document", {"200": shown})

    def _of_runs(
        self,
        name: str,
        summary: str,
        responses: dict[str, Part],
        kinds: Sequence[Kind] = (),
        *,
        parameters: Sequence[Part] | None = None,
    ) -> Part:
        always = [*CREDENTIALS, NOT_FOUND, INVALID, UNAVAILABLE, INTERNAL]
        return {
            "operationId": name,
            "summary": summary,
            "tags": ["runs"],
            "parameters": [_RUN] if parameters is None else parameters,
            "responses": {**responses, **self._schemas.problems([*always, *kinds])},
            "security": [{"bearer": []}],
        }

    def _open(
        self,
        name: str,
        summary: str,
        responses: dict[str, Part],
        kinds: Sequence[Kind] = (),
    ) -> Part:
        problems = self._schemas.problems([INTERNAL, *kinds])
        return {
            "operationId": name,
            "summary": summary,
            "tags": ["service"],
            "responses": {**responses, **problems},
            "security": [],
        }


def key_parameter(*, required: bool = False, public: bool = False) -> Part:
    """Return the parameter that is an idempotency key; *public* ones are UUIDs."""
    visible = r"[!#-+\--\[\]-~]{1,255}"
    key: Part = {"type": "string", "pattern": f'^({visible}|"{visible}")$'}
    if public:
        key = {"type": "string", "format": "uuid"}
    return {
        "name": HEADER,
        "in": "header",
        "required": required,
        "description": "The same for the same request, however often it is sent",
        "schema": key,
    }


def _filters() -> Iterator[Part]:
    statuses = {"type": "string", "enum": [each.value for each in RunStatus]}
    limit = {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL}
    yield _in_query("status", "Runs in one of these", _array(statuses))
    yield _in_query("workflow", "Runs of this one", _PLAIN)
    yield _in_query("created_after", "Runs created then or later", _MOMENT)
    yield _in_query("created_before", "Runs created earlier", _MOMENT)
    plain = {"type": ["string", "number", "boolean"]}
    attributes = {"type": "object", "additionalProperties": plain}
    yield {
        **_in_query("attribute", "Runs that have all of these", attributes),
        "style": "deepObject",
        "explode": True,
    }
    yield _in_query("limit", "How many", limit)
    after = {"type": "string", "pattern": PLACE}
    yield _in_query("after", "The `next` of the page before", after)


def _array(items: Part) -> Part:
    return {"type": "array", "items": items}


def _in_query(name: str, description: str, schema: Part) -> Part:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _in_header(name: str, description: str) -> Part:
    schema: Part = {"type": "string"}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _in_path(name: str, schema: Part) -> Part:
    return {"name": name, "in": "path", "required": True, "schema": schema}


_RUN = _in_path("run_id", _TEXT)
