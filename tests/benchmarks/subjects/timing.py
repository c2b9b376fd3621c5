"""How long some work takes in some threads."""

import gc
import threading
import time
import uuid
from collections.abc import Callable
from collections.abc import Iterator

Work = Callable[[str], object]
"""What is done over and over, each time with a key that is used for nothing else."""


def timed(work: Work, count: int, threads: int) -> dict[str, float]:
    """Return the seconds that *count* calls of *work* take in *threads* threads.

    Each thread makes its share of the calls; the clock runs from when all are ready
    until the last has ended.
    """
    shares = _shares(count, threads)
    gc.collect()  # the garbage of earlier batches is not this one's
    if threads == 1:
        began = time.perf_counter()
        _call_all(work, next(shares))
        return {"seconds": time.perf_counter() - began}
    return {"seconds": _timed_together(work, list(shares))}


def _shares(count: int, threads: int) -> Iterator[list[str]]:
    batch = uuid.uuid4().hex
    for number in range(threads):
        share = range(number, count, threads)
        yield [f"{batch}-{number}-{each}" for each in share]


def _call_all(work: Work, keys: list[str]) -> None:
    for key in keys:
        work(key)


def _timed_together(work: Work, shares: list[list[str]]) -> float:
    ready = threading.Barrier(len(shares) + 1)
    errors: list[BaseException] = []

    def call_all(keys: list[str]) -> None:
        ready.wait()
        try:
            _call_all(work, keys)
        except BaseException as error:  # noqa: BLE001 - raised below, where it is seen
            errors.append(error)

    crew = [threading.Thread(target=call_all, args=(share,)) for share in shares]
    for thread in crew:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in crew:
        thread.join()
    seconds = time.perf_counter() - began
    if errors:
        raise errors[0]
    return seconds
