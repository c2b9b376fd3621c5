"""Forks before and after using an Operon, and works on both sides.

python -m tests.acceptance.forking URL before|after|launched
"""

import os
import sys
import warnings
from datetime import timedelta

from operon import Operon
from tests.shop import ThreeSteps


def main() -> None:
    url, when = sys.argv[1:]
    operon = Operon(url, migrate="never")
    if when != "before":
        operon.run(ThreeSteps("book"), id="used before")
    if when == "launched":
        operon.launch()
    pid = _fork()
    who = "child" if pid == 0 else "parent"
    for number in range(3):
        operon.run(ThreeSteps("book"), id=f"{who} {number}")
    if when == "launched" and who == "child":
        operon.launch()
    if when == "launched":
        handle = operon.start(ThreeSteps("book"), id=f"{who} started")
        handle.result(timedelta(seconds=30))
    if pid == 0:
        operon.shutdown()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    # the child's end has taken nothing from its parent
    for number in range(3, 6):
        operon.run(ThreeSteps("book"), id=f"{who} {number}")
    operon.shutdown()
    sys.exit(os.waitstatus_to_exitcode(status))


def _fork() -> int:
    with warnings.catch_warnings():
        # threads do not survive a fork: that Operon's are made anew is the point
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


if __name__ == "__main__":
    main()
