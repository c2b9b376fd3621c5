"""What schemathesis is told besides the document; it loads this, not the project.

Its own checks know no owners, and take the range 4XX as leave for everything.
"""

import hashlib
import os
import uuid
from typing import Any

import requests
import schemathesis

STRANGER = os.environ.get("OPERON_JUDGES_STRANGER")
"""A token of somebody who has no runs."""
REFUSED = "OPERON_JUDGES_REFUSED" in os.environ
"""Whether the token of all requests has expired."""
OWN_SLUGS = frozenset(os.environ.get("OPERON_JUDGES_SLUGS", "").split())
"""The types of problems that Operon has by itself."""

_KEY = "Idempotency-Key"
_UUID = 36  # characters
_PATIENCE = 20.0  # seconds


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]
) -> None:
    """Give every request the key that is its own: the same again has the same."""
    key = str((case.headers or {}).get(_KEY, ""))
    is_wrong = case.meta is not None and case.meta.generation.mode.is_negative
    if is_wrong or not key:
        return
    asked = repr((case.method, case.formatted_path, case.query, case.body, key))
    digest = hashlib.sha256(asked.encode(errors="backslashreplace")).hexdigest()[:32]
    is_uuid = len(key) == _UUID and key.count("-") == 4
    case.headers[_KEY] = str(uuid.UUID(digest)) if is_uuid else digest


@schemathesis.check
def runs_are_their_owners(
    context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case,
) -> None:
    """Send what was answered once more as a stranger, for whom there is no such run."""
    found = response.status_code < 400 or response.status_code == 409
    if (
        case.method == "OPTIONS"
        or STRANGER is None
        or not found
        or "{run_id}" not in case.operation.path
    ):
        return
    asked = response.request.copy()
    asked.headers["Authorization"] = f"Bearer {STRANGER}"
    answer = requests.Session().send(asked, timeout=_PATIENCE)
    assert answer.status_code == 404, f"a stranger got {answer.status_code}"


@schemathesis.check
def nothing_is_open_to_an_expired_token(
    context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case,
) -> None:
    """Answer 401 to all that is not public, unless there is nothing at the path."""
    is_public = not case.operation.definition.raw.get("security")
    if not REFUSED or is_public or case.method == "OPTIONS":
        return
    status = response.status_code
    nowhere = (
        status == 404 and response.json()["detail"] == "There is nothing at this path"
    )
    assert status in {401, 405} or nowhere, f"an expired token got {status}"


@schemathesis.check
def a_range_is_for_refusals_of_the_handler(
    context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case,
) -> None:
    """Name the status of every problem of Operon's own in the document."""
    status = response.status_code
    named = case.operation.definition.raw["responses"]
    if not 400 <= status < 500 or status == 405 or str(status) in named:
        return
    told = response.json()["type"]
    assert told not in OWN_SLUGS, f"{told} is answered by {status}, undocumented"
