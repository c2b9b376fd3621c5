"""Endings: what the run of a workflow has come to, as an answer."""

from datetime import timedelta

from operon.errors import ResultTimeoutError
from operon.flask import answers
from operon.flask.endpoint import Endpoint
from operon.flask.problem import TERMINAL
from operon.flask.problem import WORKFLOW_FAILED
from operon.flask.problem import Kind
from operon.flask.problem import Problem
from operon.flask.problem import Refused
from operon.results import Results
from operon.status import RunStatus
from operon.store.requests import Answer


def ending(
    results: Results, endpoint: Endpoint, run_id: str, wait: timedelta
) -> Answer | None:
    """Return how *run_id* ended, the same whenever it is asked for.

    None if it goes on after *wait*.
    """
    try:
        found = results.wait(run_id, wait)
    except ResultTimeoutError:
        return None
    if found.status is RunStatus.CANCELLED:
        problem = Problem(TERMINAL, "The run was cancelled", run_id=run_id)
        return answers.of_problem(problem)
    try:
        result = results.resolve(run_id, found)
    except Exception as error:  # noqa: BLE001 - whatever the workflow raised is its outcome
        return answers.of_problem(_failure(endpoint, error, run_id))
    return answers.of_result(endpoint, result, run_id)


def declared_status(endpoint: Endpoint, error: Exception) -> int | None:
    """Return the status that the endpoint declares for *error*, by its classes."""
    for each in type(error).__mro__:
        status = endpoint.errors.get(each)
        if status is not None:
            return status
    return None


def _failure(endpoint: Endpoint, error: Exception, run_id: str) -> Problem:
    """Return what a failed run is told as: what the endpoint declares, or 500."""
    if isinstance(error, Refused):
        told = error.problem
        return Problem(told.kind, told.detail, run_id=run_id)
    kind, status = WORKFLOW_FAILED, declared_status(endpoint, error)
    if status is not None:
        kind = Kind(kind.slug, status, kind.title)
    return Problem(kind, "The run tells more", run_id=run_id)
