"""Bugs that only one kind of fault shows are found by it, on each database."""

import pytest
from sqlalchemy.orm import Session

from operon import Workflow
from operon import step
from operon.testing import NotCrashSafeError
from operon.testing import explore
from tests import shop

TRIES: list[str] = []


class PlantedTries(Workflow):
    """Bug: what the step writes depends on how often the process has tried it."""

    @step
    def reserve(self, session: Session) -> None:
        TRIES.append("tried")
        tried = f"try {len(TRIES)}"
        session.add(shop.Order(sku="book", quantity=1, run_id=tried))

    def run(self) -> None:
        self.reserve()


def test_a_step_whose_rows_depend_on_how_often_it_was_tried_is_found(operon):
    with pytest.raises(NotCrashSafeError) as caught:
        explore(PlantedTries(), operon=operon, prepare=TRIES.clear)

    first, *_ = caught.value.exploration.findings
    assert first.name == "before COMMIT of step 'reserve', position 1, attempt 1"
    assert "run_id=try 1" in first.problem
    assert "run_id=try 2" in first.problem
