"""The crashes of one test: at a named point of a run, or at each of its COMMITs."""

from typing import Any

from operon import Operon
from operon.registry import Runnable
from operon.testing.activities import Activities
from operon.testing.crash import Crasher
from operon.testing.exploring import Call
from operon.testing.exploring import Check
from operon.testing.exploring import explore
from operon.testing.findings import Exploration


class Crashes(Crasher):
    """Lets the process die on one database, once or everywhere.

    Activities are answered by *activities*, in whatever process.
    """

    def __init__(self, operon: Operon, activities: Activities) -> None:
        super().__init__(operon, outside=activities.call)
        self._operon = operon
        self._activities = activities

    def explore(
        self, workflow: Runnable[Any] | Call, check: Check | None = None, **options: Any
    ) -> Exploration:
        """Crash at every boundary of a run; see `operon.testing.explore`."""
        answers = self._activities.call
        return explore(workflow, check, operon=self._operon, outside=answers, **options)
