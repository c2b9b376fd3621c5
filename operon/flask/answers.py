"""Answers: what a request is sent back, before Flask knows of it."""

import json
from collections.abc import Mapping
from typing import Any
from typing import cast

from operon.flask.endpoint import Endpoint
from operon.flask.problem import MEDIA_TYPE
from operon.flask.problem import Problem
from operon.store.requests import Answer

OK = 200
JSON = "application/json"
RUN_ID = "Operon-Run-Id"
REPLAYED = "Idempotent-Replayed"
REPEATED = frozenset({"Content-Type", "Location", "ETag", RUN_ID})
"""The headers that are stored with an answer and repeated."""


def of_result(endpoint: Endpoint, result: Any, run_id: str | None) -> Answer:
    """Return the answer to a request whose work was done with *result*."""
    headers = {} if run_id is None else {RUN_ID: run_id}
    location = location_of(endpoint, result)
    if location is not None:
        headers["Location"] = location
    if result is None:
        return Answer(status=204, headers=headers, body="")
    headers["Content-Type"] = JSON
    body = endpoint.result.dump_json(result).decode()
    return Answer(status=endpoint.status, headers=headers, body=body)


def of_problem(problem: Problem, **members: Any) -> Answer:
    """Return the answer to a request that is not done; *members* are told as well."""
    headers = {"Content-Type": MEDIA_TYPE, **problem.headers}
    if problem.run_id is not None:
        headers[RUN_ID] = problem.run_id
        members["run_id"] = problem.run_id
    body = problem.body(**members)
    return Answer(status=problem.kind.status, headers=headers, body=body)


def of_json(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return an answer that is the JSON *value*."""
    body = json.dumps(value, separators=(",", ":"))
    return Answer(
        status=status, headers={"Content-Type": JSON, **(headers or {})}, body=body
    )


def still_going(run_id: str, location: str) -> Answer:
    """Return the answer for a run that has not ended, and is found at *location*."""
    headers = {RUN_ID: run_id, "Location": location, "Retry-After": "1"}
    return of_json({"run_id": run_id, "status": "running"}, status=202, headers=headers)


def repeatable(answer: Answer) -> Answer:
    """Return what is stored of *answer*."""
    kept = {name: text for name, text in answer.headers.items() if name in REPEATED}
    return Answer(status=answer.status, headers=kept, body=answer.body)


def repeated(answer: Answer) -> Answer:
    """Return *answer*, as it was stored, for a request that came again."""
    return Answer(
        status=answer.status,
        headers={**answer.headers, REPLAYED: "true"},
        body=answer.body,
    )


def location_of(endpoint: Endpoint, result: Any) -> str | None:
    """Return where *result* is to be found, if the endpoint says it."""
    if endpoint.location is None or callable(endpoint.location):
        return None if endpoint.location is None else endpoint.location(result)
    plain = endpoint.result.dump_python(result, mode="json")
    if not isinstance(plain, dict):
        return endpoint.location.format(result=plain)
    return endpoint.location.format(**cast("dict[str, Any]", plain))
