"""A database that is one millisecond away."""

from tests.benchmarks.bench import Bench
from tests.benchmarks.distance import Distance
from tests.benchmarks.figures import Wanted
from tests.benchmarks.pairing import Batch
from tests.benchmarks.pairing import ratios
from tests.benchmarks.rows.row import Row

AWAY = 0.001  # seconds that each round trip takes more


def check_distance(bench: Bench) -> list[float]:
    """Tell how many milliseconds more a `SELECT 1` takes through the proxy."""
    distance = bench.keep(Distance(bench.server.url("postgres"), AWAY))
    return [distance.look() * 1000 for _ in bench.rounds()]


def from_far(bench: Bench) -> list[float]:
    """Compare a run of one step with the same transaction, both from far."""
    batches: list[Batch] = []
    for name in ("operon", "plain"):
        url = bench.server.url(bench.database(name))
        distance = bench.keep(Distance(url, AWAY))
        batches.append(Batch(bench.program(name, url=distance.url)))
    return ratios(bench.measured(*batches))


ROWS = (
    Row(
        name="latency proxy: what a round trip takes more (1 ms wanted)",
        a="SELECT 1, proxied",
        b="SELECT 1",
        measure=check_distance,
        unit="ms",
    ),
    Row(
        name="one-step run, round trips of 1 ms",
        a="operon.run",
        b="plain transaction",
        measure=from_far,
        wanted=Wanted("at most", 2.0),
    ),
)
