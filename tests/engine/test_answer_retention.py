"""Answers and keys of requests are kept as long as is said, and no longer."""

from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon.models import WebRequest
from tests.processes import eventually

CENTURY = timedelta(days=36_500)


def remember(operon, *ages: float) -> None:
    """Store an answer for each of *ages*, in days."""
    now = datetime.now(UTC)
    with Session(operon.engine) as session, session.begin():
        session.add_all(
            WebRequest(
                scope="s",
                key=f"{number}-{age}",
                fingerprint="f",
                received_at=now - timedelta(days=age),
                run_id="r",
                status=200,
                headers={},
                body="done",
            )
            for number, age in enumerate(ages)
        )


def kept(operon) -> list[tuple[float, str | None]]:
    """Return the age of each request that is known, and its answer."""
    with Session(operon.engine) as session:
        rows = session.scalars(select(WebRequest).order_by(WebRequest.received_at))
        return [(float(row.key.split("-")[1]), row.body) for row in rows]


def test_a_purge_drops_answers_after_a_week_and_keys_after_ninety_days(operon):
    remember(operon, 91, 89, 8, 6)

    operon.purge(CENTURY)

    assert kept(operon) == [(89, None), (8, None), (6, "done")]


def test_a_purge_does_so_in_batches_to_the_end(operon):
    remember(operon, *[100] * 7, *[50] * 8, 1)

    operon.purge(CENTURY, batch=3)

    assert kept(operon) == [*[(50, None)] * 8, (1, "done")]


@pytest.mark.parametrize("retention", [None, CENTURY], ids=["runs for ever", "both"])
def test_an_executor_does_so_by_itself(make_operon, database, retention):
    operon = make_operon(
        database.url,
        retention=retention,
        answer_retention=timedelta(days=2),
        key_retention=timedelta(days=4),
    )
    operon.list_runs()
    remember(operon, 5, 3, 1)

    operon.launch()

    eventually(lambda: kept(operon) == [(3, None), (1, "done")])
