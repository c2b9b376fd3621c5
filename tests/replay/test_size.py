"""A long history is replayed in seconds."""

import time
from datetime import timedelta
from typing import Any

import msgspec

from tests.replay.orders import again
from tests.replay.orders import exported
from tests.replay.orders import order

MANY = 10_000
AT_MOST = 20.0  # seconds on a busy machine; a quiet one needs less than one


def many(self: Any) -> int:
    return sum(self.publish(f"key {n % 7}", n) is None for n in range(MANY))


def test_a_run_of_ten_thousand_operations(small_shop, record_property):
    few = exported(small_shop, lambda self: self.publish("key 0", 0))
    [one] = few.checkpoints
    history = [
        msgspec.structs.replace(
            one,
            position=n + 1,
            name=f"key {n % 7}",
            arguments=msgspec.Raw(b'{"value":%d}' % n),
            finished_at=one.finished_at + timedelta(milliseconds=n),
        )
        for n in range(MANY)
    ]
    run = msgspec.structs.replace(few.run, output=msgspec.Raw(b"%d" % MANY))
    bundle = msgspec.structs.replace(few, run=run, checkpoints=history, pending=[])
    order(many)

    began = time.monotonic()
    replayed = again(bundle, small_shop)
    took = time.monotonic() - began
    record_property("seconds", took)

    assert (replayed.operations, replayed.ending) == (MANY, "succeeded")
    assert took < AT_MOST
