"""Health: whether this process lives, and whether requests should be sent to it."""

from datetime import timedelta

from operon.app import Operon
from operon.engine.patience import insist
from operon.flask import answers
from operon.flask.problem import UNAVAILABLE
from operon.flask.problem import Problem
from operon.store.requests import Answer

_PATIENCE = timedelta(seconds=1)
_SOON = {"Retry-After": "5"}


def live() -> Answer:
    """Return that the process answers; nothing else is looked at."""
    return answers.of_json({"status": "live"})


def ready(operon: Operon) -> Answer:
    """Return that requests can be served: the tables are there, the database answers.

    Raises:
        Problem: They cannot, or the process is being shut down.
    """
    try:
        services = operon.ready().services
        insist(services.clock, _PATIENCE, services.database.ping)
    except Exception as error:
        detail = "The database does not answer, or lacks Operon's tables"
        raise Problem(UNAVAILABLE, detail, headers=_SOON) from error
    if services.stopping.is_set():
        raise Problem(UNAVAILABLE, "The process is stopping", headers=_SOON)
    return answers.of_json({"status": "ready"})
