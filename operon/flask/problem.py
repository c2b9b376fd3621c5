"""Problems: what a request is told when it is not done, and what to do about it.

Every error is `application/problem+json` with a stable type. Nothing of the request's
values, of SQL or of the code gets into one.

Source:
    RFC 9457, "Problem Details for HTTP APIs".
"""

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """A kind of problem."""

    slug: str
    status: int
    title: str
    retryable: bool = False
    """Whether the same request, with the same key, may succeed later."""
    safe_new_key: bool = True
    """Whether sending it with another key cannot do the work twice."""


@dataclass(frozen=True)
class Flaw:
    """One thing that is wrong with a request."""

    pointer: str
    """Where: a JSON pointer into the body, or `query/…`, `path/…`, `header/…`."""
    detail: str


class Problem(Exception):  # noqa: N818 - an answer, in the shape of an exception
    """A request that is not done.

    Attributes:
        kind: What is the matter.
        detail: The same for this request, without its values.
        errors: Everything that is wrong, if it is the request.
        headers: What the answer says besides.
        run_id: The run that can tell more, if there is one.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        errors: Sequence[Flaw] = (),
        headers: Mapping[str, str] | None = None,
        run_id: str | None = None,
    ) -> None:
        super().__init__(f"{kind.slug}: {detail}")
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.run_id = run_id

    def body(self, **more: Any) -> str:
        """Return what is sent; *more* are members such as `trace_id`."""
        members: dict[str, Any] = {
            "type": self.kind.slug,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "retryable": self.kind.retryable,
            "safe_new_key": self.kind.safe_new_key,
        }
        if self.errors:
            members["errors"] = [
                {"pointer": each.pointer, "detail": each.detail} for each in self.errors
            ]
        return json.dumps({**members, **more}, separators=(",", ":"))


IN_PROGRESS = Kind(
    "request-in-progress",
    409,
    "The same request is still being worked on",
    retryable=True,
    safe_new_key=False,
)
KEY_REUSED = Kind("idempotency-key-reused", 422, "The key belongs to another request")
KEY_MISSING = Kind("idempotency-key-missing", 400, "An idempotency key is required")
KEY_INVALID = Kind("idempotency-key-invalid", 400, "The idempotency key is malformed")
RESULT_EXPIRED = Kind(
    "idempotency-result-expired",
    409,
    "The request was answered too long ago",
    safe_new_key=False,
)
UNAUTHENTICATED = Kind("unauthenticated", 401, "Credentials are required")
INVALID_TOKEN = Kind("invalid-token", 401, "The token is not valid")
INVALID_REQUEST = Kind("invalid-request", 400, "The request is ambiguous")
INSUFFICIENT_SCOPE = Kind("insufficient-scope", 403, "The token does not allow this")
NOT_FOUND = Kind("not-found", 404, "There is no such thing")
METHOD_NOT_ALLOWED = Kind("method-not-allowed", 405, "The method is not allowed here")
AUTH_UNAVAILABLE = Kind(
    "auth-unavailable", 503, "Tokens cannot be checked now", retryable=True
)
MEDIA_TYPE_REFUSED = Kind(
    "unsupported-media-type", 415, "The body is of another media type"
)
ENCODING_REFUSED = Kind("unsupported-encoding", 415, "The body is encoded")
MALFORMED = Kind("malformed-json", 400, "The body cannot be read")
INVALID = Kind("validation", 422, "The request does not fit what is declared")
TOO_LARGE = Kind("content-too-large", 413, "The body is too large")
TERMINAL = Kind("run-terminal", 409, "The run has ended")
CONTENTION = Kind("contention", 503, "Too many wanted the same at once", retryable=True)
UNAVAILABLE = Kind("unavailable", 503, "The service cannot work now", retryable=True)
OUTCOME_UNKNOWN = Kind(
    "outcome-unknown",
    503,
    "Nobody knows yet whether it was done",
    retryable=True,
    safe_new_key=False,
)
WORKFLOW_FAILED = Kind(
    "workflow-failed", 500, "The workflow has failed", safe_new_key=False
)
INTERNAL = Kind("internal", 500, "Something went wrong here", safe_new_key=False)

KINDS = tuple(value for value in list(globals().values()) if isinstance(value, Kind))
"""All of them, for the OpenAPI document."""


class Refused(Exception):  # noqa: N818 - what an application says, not what went wrong
    """A handler's final refusal: recorded, and repeated for the same key.

    Raise it from a transaction, or from a workflow's body or step.

    Attributes:
        status: From 400 to 422.
        slug: A stable name for the reason; the problem's type.
        detail: The same in words, without secrets.
    """

    def __init__(self, status: int, slug: str, detail: str) -> None:
        super().__init__(status, slug, detail)
        self.status = status
        self.slug = slug
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.slug}: {self.detail}"

    @property
    def problem(self) -> Problem:
        """The same as a problem."""
        return Problem(Kind(self.slug, self.status, "Refused"), self.detail)
