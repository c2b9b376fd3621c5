"""Requests with an idempotency key: claimed once, answered, pruned in the end."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import exc
from sqlalchemy import text

from operon.engine.faults import Fault
from operon.engine.faults import classify
from operon.engine.faults import sqlstate_of
from operon.store import requests
from operon.store.dialect import backend_of
from operon.store.requests import Answer
from operon.store.requests import RequestKey
from tests.engine.hourglass import Hourglass
from tests.processes import eventually

KEY = RequestKey(scope="me", key="k", fingerprint="f")
ANSWER = Answer(status=201, headers={"Location": "/orders/7"}, body='{"id": 7}')
SOON = timedelta(seconds=5)


@pytest.fixture
def clock() -> Hourglass:
    return Hourglass()


@pytest.fixture
def engine(operon) -> Engine:
    operon.list_runs()  # the tables are there
    return operon.engine


@pytest.fixture
def connection(engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection


def claim(connection: Connection, clock: Hourglass, **options: Any) -> None:
    options = {"patience": SOON, **options}
    key = options.pop("key", KEY)
    backend = backend_of(connection.engine)
    requests.claim(connection, backend, key, "r", clock=clock, **options)


def test_a_claimed_key_is_known_with_its_answer_once_that_is_committed(
    connection, clock
):
    claim(connection, clock)
    requests.answer(connection, KEY, ANSWER, "r")
    connection.commit()

    known = requests.find(connection, KEY)

    assert known is not None
    assert (known.fingerprint, known.run_id, known.answer) == ("f", "r", ANSWER)
    assert not known.is_pruned


def test_a_key_is_claimed_once_by_each_principal(connection, clock):
    claim(connection, clock)
    claim(connection, clock, key=RequestKey(scope="you", key="k", fingerprint="f"))
    connection.commit()

    with pytest.raises(exc.IntegrityError) as refused:
        claim(connection, clock)

    assert classify(refused.value) is Fault.TAKEN


def test_a_claim_that_is_rolled_back_leaves_the_key_free(connection, clock):
    claim(connection, clock)
    connection.rollback()

    assert requests.find(connection, KEY) is None
    connection.rollback()
    claim(connection, clock)


def test_a_refusal_is_known_without_a_run(connection, clock):
    refusal = Answer(status=409, headers={}, body='{"type": "sold-out"}')
    backend = backend_of(connection.engine)
    requests.claim(
        connection, backend, KEY, None, patience=SOON, clock=clock, answer=refusal
    )
    connection.commit()

    known = requests.find(connection, KEY)

    assert known is not None
    assert (known.run_id, known.answer) == (None, refusal)


@pytest.mark.parametrize("level", ["READ COMMITTED", "SERIALIZABLE"])
def test_a_second_claim_waits_for_the_first_and_is_refused(
    postgres_operon, clock, level
):
    engine = postgres_operon.engine.execution_options(isolation_level=level)
    with engine.connect() as first, engine.connect() as second:
        claim(first, clock)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(claim, second, clock)
            eventually(lambda: is_waiting(postgres_operon.engine))
            first.commit()

            with pytest.raises(exc.IntegrityError):
                waiting.result(10)


def test_a_second_claim_waits_no_longer_than_its_patience(postgres_operon, clock):
    engine = postgres_operon.engine
    with engine.connect() as first, engine.connect() as second:
        claim(first, clock)

        with pytest.raises(exc.OperationalError) as refused:
            claim(second, clock, patience=timedelta(milliseconds=50))

    assert sqlstate_of(refused.value) == "55P03"


def test_the_patience_is_for_the_claim_alone(postgres_operon, clock):
    with postgres_operon.engine.connect() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '7s'"))

        claim(connection, clock, patience=timedelta(milliseconds=50))

        assert connection.scalar(text("SHOW lock_timeout")) == "7s"


def test_answers_are_dropped_before_keys_are(connection, clock):
    backend = backend_of(connection.engine)
    claim(connection, clock, answer=ANSWER)
    connection.commit()

    def prune() -> int:
        changed = requests.prune(
            connection,
            backend,
            answers=timedelta(days=7),
            keys=timedelta(days=90),
            most=10,
            clock=clock,
        )
        connection.commit()
        return changed

    assert prune() == 0
    clock.turn(hours=24 * 8)
    assert prune() == 1
    known = requests.find(connection, KEY)
    assert known is not None
    assert (known.is_pruned, known.answer, known.run_id) == (True, None, "r")
    connection.rollback()
    assert prune() == 0
    clock.turn(hours=24 * 83)
    assert prune() == 1
    assert requests.find(connection, KEY) is None


@pytest.fixture
def postgres_operon(make_operon, postgres_database):
    operon = make_operon(postgres_database.url)
    operon.list_runs()
    return operon


def is_waiting(engine: Engine) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with engine.connect() as connection:
        return connection.scalar(text(query)) == 1
