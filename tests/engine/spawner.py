"""A process that executes one gather and records only a part of it.

    python -m tests.engine.spawner URL RECORDED

RECORDED names the activities that end; the others last until somebody kills it.
"""

import sys
import threading

from operon import Operon
from operon import Workflow
from operon import activity
from tests.shop import happen

ending = ["abc"]
"""Which activities end in this process."""


class Spawner(Workflow):
    """Gathers three activities."""

    @activity
    def ask(self, what: str) -> str:
        happen(what)
        if what not in ending[0]:
            threading.Event().wait(60)
        return what

    def run(self) -> list[str]:
        return list(self.gather(*(self.spawn(self.ask, what) for what in "abc")))


def main() -> None:
    """Execute what is there until the end comes."""
    url, ending[0] = sys.argv[1], sys.argv[2]
    operon = Operon(url)
    operon.launch()
    threading.Event().wait(60)


if __name__ == "__main__":
    main()
