"""What a shutdown means for callers who wait in this process."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update

from operon import Operon
from operon import RunStatus
from operon.errors import ExecutorStoppedError
from operon.models import WorkflowRun
from tests.engine.seam import Disturbed
from tests.processes import eventually


def test_a_caller_who_waits_for_another_executors_run_is_told_of_the_shutdown(
    operon: Operon,
):
    operon.start(Disturbed(), id="r")
    with operon.engine.begin() as connection:
        held = {"status": RunStatus.RUNNING, "executor": "other", "epoch": 1}
        connection.execute(update(WorkflowRun).values(held))

    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(operon.run, Disturbed(), id="r")
        eventually(operon.list_executors)
        operon.shutdown(timedelta(seconds=1))

        with pytest.raises(ExecutorStoppedError):
            called.result(10)
