"""A program that starts two hundred runs and ends when all of them have.

It may be killed at any moment and started again: it starts what is missing, and
whoever launches continues what was left. It dawdles a little at each of the engine's
points, so that whoever kills it meets it everywhere.

    python -m tests.acceptance.storm URL RUNS DAWDLE [SEED]
"""

import os
import random
import sys
import threading
import time
from datetime import timedelta

from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from operon import Operon
from operon.models import WorkflowRun
from operon.points import Point
from operon.status import FINAL
from tests.shop import ThreeSteps

SKUS = [f"sku-{n}" for n in range(8)]  # several, so that not every step collides


def run_ids(runs: int) -> list[str]:
    """Return the fixed ids of the runs."""
    return [f"storm-{n:03}" for n in range(runs)]


class Dawdler:
    """Waits up to *longest* seconds at each point, at random."""

    def __init__(self, longest: float, seed: int) -> None:
        self._random = random.Random(seed)
        self._longest = longest

    def __call__(self, point: Point, run_id: str) -> None:
        del point, run_id
        time.sleep(self._random.uniform(0, self._longest))


def main() -> None:
    url, runs, dawdle, *seed = sys.argv[1:]
    operon = Operon(
        url,
        migrate="never",
        probe=Dawdler(float(dawdle), int(seed[0]) if seed else os.getpid()),
        threads=4,
        heartbeat=timedelta(milliseconds=500),
        lease=timedelta(seconds=20),
    )
    ids = run_ids(int(runs))
    operon.launch()
    known = {run.id for run in operon.list_runs(limit=len(ids))}
    for number, run_id in enumerate(ids):
        if run_id not in known:
            operon.start(ThreeSteps(SKUS[number % len(SKUS)]), id=run_id)
    print("started", flush=True)
    never = threading.Event()
    while not _all_final(operon, len(ids)):
        never.wait(0.1)
    operon.shutdown()


def _all_final(operon: Operon, runs: int) -> bool:
    query = select(func.count()).where(WorkflowRun.status.in_(FINAL))
    try:
        with Session(operon.engine) as session:
            return session.scalar(query) == runs
    except SQLAlchemyError:  # the server was killed as well
        return False


if __name__ == "__main__":
    main()
