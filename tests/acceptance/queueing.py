"""An executor of a limited queue, in a process of its own.

    python -m tests.acceptance.queueing URL LIMITS

LIMITS is `concurrency N`, `rate N SECONDS` or `ticks`. Each run writes into the ledger
when its work begins and ends, by a clock that all processes of this machine share.
SIGTERM shuts the executor down in order.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue

from operon import Operon
from operon import Workflow
from operon import activity
from operon import current
from operon.queue import Queue
from operon.queue import Rate
from tests import shop

WORK = 0.15  # seconds that a run is at it


class Spell(Workflow):
    """Is at work for a moment, and tells the world."""

    seconds: float = WORK

    @activity
    def work(self) -> None:
        _tell("begin")
        time.sleep(self.seconds)
        _tell("end")

    def run(self) -> None:
        self.work()


class Tick(Workflow):
    """Tells the world that its tick has come."""

    tick: datetime

    @activity
    def tell(self) -> None:
        shop.happen(self.tick.isoformat())

    def run(self) -> None:
        self.tell()


@dataclass(frozen=True)
class Worked:
    """When a run was at work, in seconds of the shared clock."""

    run_id: str
    pid: int
    begun: float
    ended: float | None
    """None if its process was killed meanwhile."""


def limited(limits: Sequence[str]) -> Queue:
    """Return the queue that the program's arguments mean."""
    match list(limits):
        case ["concurrency", number]:
            return Queue("q", concurrency=int(number))
        case ["rate", number, seconds]:
            return Queue("q", rate=Rate(int(number), timedelta(seconds=float(seconds))))
        case _:
            return Queue("q")


def worked(ledger: Path) -> list[Worked]:
    """Return who was at work when, as *ledger* says, in the order they began."""
    open_: dict[tuple[str, int], float] = {}
    spells = []
    for line in shop.happened(ledger):
        what, run_id, pid, at = line.split()
        key = run_id, int(pid)
        if what == "begin":
            open_[key] = float(at)
        else:
            spells.append(Worked(*key, open_.pop(key), float(at)))
    spells += [Worked(*key, begun, None) for key, begun in open_.items()]
    return sorted(spells, key=lambda each: each.begun)


def _tell(what: str) -> None:
    shop.happen(f"{what} {current().run_id} {os.getpid()} {time.monotonic()}")


def main() -> None:
    url, *limits = sys.argv[1:]
    told: SimpleQueue[int] = SimpleQueue()
    signal.signal(signal.SIGTERM, lambda number, _: told.put(number))
    operon = Operon(
        url,
        migrate="never",
        queues=[limited(limits)],
        heartbeat=timedelta(seconds=0.3),
        threads=8,
    )
    if limits == ["ticks"]:
        operon.schedule("* * * * *", Tick, queue="q", catch_up="all")
    operon.launch()
    print("launched", flush=True)
    told.get()
    operon.shutdown(timedelta(seconds=20))


if __name__ == "__main__":
    main()
