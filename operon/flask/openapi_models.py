"""What Operon itself answers and takes, as models: their schemas, and their prose.

Nothing is validated by them at run time. They are described together with the models
of the endpoints, so that two of one name get names of their own.
"""

from datetime import datetime
from typing import Any
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field

from operon.status import RunStatus


class Error(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str = Field(
        description="A JSON pointer into the body, or `query/…`, `path/…`, `header/…`"
    )
    detail: str


class Problem(BaseModel):
    """What a request is told that is not done (RFC 9457)."""

    type: str = Field(description="A stable name")
    title: str
    status: int
    detail: str
    retryable: bool = Field(description="The same request may succeed later")
    safe_new_key: bool = Field(description="Another key cannot do the work twice")
    trace_id: str = Field(default_factory=str)
    run_id: str = Field(default_factory=str, description="The run that tells more")
    errors: list[Error] = Field(
        default_factory=list[Error], description="Everything that is wrong"
    )


class RunGoingOn(BaseModel):
    """A run that has not ended; ask again."""

    run_id: str
    status: Literal["running"]


class Run(BaseModel):
    """Where a run stands."""

    id: str
    workflow: str
    version: int
    status: RunStatus
    queue: str
    attributes: dict[str, Any]
    parent_id: str | None
    cancel_requested_at: datetime | None
    deadline_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class RunPage(BaseModel):
    """Runs, the newest first."""

    runs: list[Run]
    next: str = Field(
        default_factory=str, description="Give it as `after`; the last page has none"
    )


class Step(BaseModel):
    """What is recorded of one operation, without its values."""

    position: int
    kind: str
    name: str
    attempts: int
    failed: bool
    started_at: datetime | None
    finished_at: datetime | None


class RunHistory(BaseModel):
    """What is recorded of a run, in order."""

    steps: list[Step]


class ForkRequest(BaseModel):
    """From where a new run goes its own way."""

    model_config = ConfigDict(extra="forbid")

    from_position: int = Field(ge=1)


class Health(BaseModel):
    """How a process is."""

    status: Literal["live", "ready"]


MODELS: tuple[type[BaseModel], ...] = (
    Problem,
    RunGoingOn,
    Run,
    RunPage,
    RunHistory,
    ForkRequest,
    Health,
)
"""All that operations name; the others are part of these."""
