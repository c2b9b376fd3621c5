"""Messages that leave together: what is refused, and what a connection remembers."""

from datetime import UTC
from datetime import datetime

import psycopg
import pytest
from psycopg.pq import ExecStatus
from psycopg.pq import TransactionStatus
from sqlalchemy import make_url

from operon.store.exchange import ALONE
from operon.store.exchange import COMMIT
from operon.store.exchange import Message
from operon.store.exchange import command
from operon.store.exchange import exchange

INSERT = "INSERT INTO kept VALUES ($1::int, $2::text) RETURNING number"


@pytest.fixture
def driver(postgres_database):
    url = make_url(postgres_database.url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
        connection.execute("CREATE TABLE kept (number int PRIMARY KEY, name text)")
        connection.commit()
        yield connection


def kept(driver) -> list[tuple[int, str]]:
    rows = driver.execute("SELECT * FROM kept ORDER BY number").fetchall()
    driver.rollback()
    return rows


def test_a_statement_and_commit_leave_together(driver):
    command(driver, b"BEGIN ISOLATION LEVEL SERIALIZABLE")

    results = exchange(driver, (Message.prepared(INSERT), (1, "a")), (COMMIT, ()))

    assert [ExecStatus(each.status).name for each in results] == [
        "TUPLES_OK",
        "COMMAND_OK",
    ]
    assert results[0].get_value(0, 0) == b"1"
    assert driver.info.transaction_status is TransactionStatus.IDLE
    assert kept(driver) == [(1, "a")]


@pytest.mark.parametrize("prepare_threshold", [None, 5])
def test_what_comes_before_alone_is_a_transaction_by_itself(driver, prepare_threshold):
    driver.prepare_threshold = prepare_threshold
    insert = Message.prepared(INSERT)

    for number in (1, 2):
        begin = (Message(b"BEGIN"), ())
        results = exchange(driver, (insert, (number, "a")), ALONE, begin)
        assert [each.command_status for each in results] == [b"INSERT 0 1", b"BEGIN"]
        assert driver.info.transaction_status is TransactionStatus.INTRANS
        driver.rollback()

    assert kept(driver) == [(1, "a"), (2, "a")]


def test_what_comes_after_alone_happens_though_the_rest_was_refused(driver):
    insert = (Message.prepared(INSERT), (1, "a"))
    exchange(driver, insert)

    with pytest.raises(psycopg.errors.UniqueViolation):
        exchange(driver, insert, ALONE, (Message(b"BEGIN"), ()))

    assert driver.info.transaction_status is TransactionStatus.INTRANS


@pytest.mark.parametrize("prepare_threshold", [None, 5])
def test_what_follows_a_refused_statement_is_skipped(driver, prepare_threshold):
    driver.prepare_threshold = prepare_threshold
    insert = Message.prepared(INSERT)
    command(driver, b"BEGIN")
    exchange(driver, (insert, (1, "a")), (COMMIT, ()))
    command(driver, b"BEGIN")

    with pytest.raises(psycopg.errors.UniqueViolation) as raised:
        exchange(driver, (insert, (1, "b")), (COMMIT, ()))

    assert raised.value.diag.constraint_name == "kept_pkey"
    assert driver.info.transaction_status is TransactionStatus.INERROR
    driver.rollback()
    assert kept(driver) == [(1, "a")]


def test_a_statement_that_was_prepared_and_refused_can_be_sent_again(driver):
    driver.execute("INSERT INTO kept VALUES (1, 'a')")
    driver.commit()
    insert = Message.prepared(INSERT)
    command(driver, b"BEGIN")
    with pytest.raises(psycopg.errors.UniqueViolation):
        exchange(driver, (insert, (1, "b")), (COMMIT, ()))
    driver.rollback()

    command(driver, b"BEGIN")
    exchange(driver, (insert, (2, "b")), (COMMIT, ()))

    assert kept(driver) == [(1, "a"), (2, "b")]


def test_statements_that_somebody_has_discarded_are_prepared_anew(driver):
    insert = Message.prepared(INSERT)
    command(driver, b"BEGIN")
    exchange(driver, (insert, (1, "a")), (COMMIT, ()))
    driver.autocommit = True
    driver.execute("DISCARD ALL")
    driver.autocommit = False

    command(driver, b"BEGIN")
    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        exchange(driver, (insert, (2, "b")), (COMMIT, ()))
    driver.rollback()
    command(driver, b"BEGIN")
    exchange(driver, (insert, (2, "b")), (COMMIT, ()))

    assert kept(driver) == [(1, "a"), (2, "b")]


def test_values_arrive_as_they_were(driver):
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    select = Message(b"SELECT $1::text, $2::int, $3::timestamptz, $4::text")

    [result] = exchange(driver, (select, ("naïve 'text' \\ %s", -7, at, None)))

    values = [result.get_value(0, column) for column in range(4)]
    assert values[0] == "naïve 'text' \\ %s".encode()
    assert values[1] == b"-7"
    assert datetime.fromisoformat(values[2].decode()) == at
    assert values[3] is None


@pytest.mark.parametrize(
    ("value", "error"), [("a\0b", psycopg.DataError), (1.5, TypeError)]
)
def test_a_value_that_cannot_be_sent_is_refused(driver, value, error):
    with pytest.raises(error):
        exchange(driver, (Message(b"SELECT $1::text"), (value,)))

    assert driver.info.transaction_status is TransactionStatus.IDLE


def test_a_lost_connection_says_so(driver):
    other = psycopg.connect(driver.info.dsn, password=driver.info.password)
    command(driver, b"BEGIN")
    other.execute("SELECT pg_terminate_backend(%s)", (driver.info.backend_pid,))
    other.close()

    with pytest.raises(psycopg.OperationalError):
        exchange(driver, (Message.prepared(INSERT), (1, "a")), (COMMIT, ()))

    assert driver.closed
