"""Runs that nobody ran: many copies of one that was, made by single statements.

So each column is as Operon itself writes it, whatever columns there are.
"""

from collections.abc import Collection
from collections.abc import Mapping
from typing import cast

from sqlalchemy import Table

from operon.models import Checkpoint
from operon.models import WorkflowRun
from tests.postgres import DatabaseServer

Changes = Mapping[str, str]
"""Columns that differ from the copied row's, with SQL for their values.

`number` is the copy's number, from 1; `template` the copied row.
"""

ENQUEUED: Changes = {
    "status": "'enqueued'",
    "output": "NULL",
    "executor": "NULL",
    "finished_at": "NULL",
    "due_at": "now()",
    "started_at": "now()",
    "epoch": "1",
}
"""A run that was begun and given back: whoever claims it replays its history."""


class Seeds:
    """Copies of a run in a database of *server*.

    Args:
        server: Where the database is.
        database: Its name there.
        template: The id of the run.
        history: The id of the run whose first checkpoint is copied, if not its own.
    """

    def __init__(
        self,
        server: DatabaseServer,
        database: str,
        template: str,
        history: str | None = None,
    ) -> None:
        self._server = server
        self._database = database
        self._template = template
        self._history = history or template

    def sow(
        self, batch: str, count: int, positions: Collection[int], changes: Changes
    ) -> None:
        """Make *count* runs with *changes*, each with checkpoints at *positions*."""
        run_id = f"md5('{batch}-' || number)::uuid::text"  # as spread as random ones
        self._copy(WorkflowRun, count, {"id": run_id, **changes})
        for position in positions:
            copied = {"run_id": run_id, "position": str(position)}
            self._copy(Checkpoint, count, copied)

    def sow_long(self, run_id: str, steps: int, changes: Changes) -> None:
        """Make one run with *changes* and a history of *steps* checkpoints."""
        self._copy(WorkflowRun, 1, {"id": f"'{run_id}'", **changes})
        copied = {"run_id": f"'{run_id}'", "position": "number"}
        self._copy(Checkpoint, steps, copied)

    def settle(self) -> None:
        """Let the server know what the tables hold now."""
        self._server.execute("VACUUM ANALYZE", self._database)

    def _copy(
        self, model: type[WorkflowRun | Checkpoint], count: int, changes: Changes
    ) -> None:
        """Copy the template's row, of its checkpoints the first."""
        table = cast("Table", model.__table__)
        names = table.columns.keys()
        values = [changes.get(name, f'template."{name}"') for name in names]
        quoted = ", ".join(f'"{name}"' for name in names)
        chosen = (
            f"id = '{self._template}'"
            if model is WorkflowRun
            else f"run_id = '{self._history}' AND template.position = 1"
        )
        statement = (
            f"INSERT INTO {table.name} ({quoted}) "
            f"SELECT {', '.join(values)} "
            f"FROM {table.name} AS template, generate_series(1, {count}) AS number "
            f"WHERE template.{chosen}"
        )
        self._server.execute(statement, self._database)
