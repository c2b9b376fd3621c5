"""Ownership: whose runs are whose. A stranger's run is like one that does not exist."""

from collections.abc import Mapping
from typing import Any

from operon.flask.access import insufficient
from operon.flask.problem import NOT_FOUND
from operon.flask.problem import Problem
from operon.flask.tokens import Principal
from operon.models import WorkflowRun

OPERATOR = "operon:operator"
"""The role that sees, and may control, every run of its tenant."""


def shared(principal: Principal) -> Mapping[str, str | None]:
    """Return what all runs that *principal* may see say of theirs."""
    everything = {"issuer": principal.issuer, "tenant": principal.tenant}
    if OPERATOR in principal.roles:
        return everything
    return {**everything, "subject": principal.subject}


def refuse_unless_operator(principal: Principal) -> None:
    """Refuse who is no operator: a fork repeats what its original has done outside.

    Raises:
        Problem: The role is missing.
    """
    if OPERATOR not in principal.roles:
        raise insufficient(())


def owned(run: WorkflowRun | None, principal: Principal) -> WorkflowRun:
    """Return *run* if *principal* may see it.

    Raises:
        Problem: There is none, or it is a stranger's: nobody can tell which.
    """
    stored: Mapping[str, Any] = {} if run is None else run.principal or {}
    wanted = shared(principal).items()
    if run is None or any(stored.get(name) != value for name, value in wanted):
        raise Problem(NOT_FOUND, "There is no such run")
    return run
