"""The proxy counts and breaks exactly what it is told to, in every protocol mode."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextlib import nullcontext
from contextlib import suppress
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy import make_url
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tests.processes import eventually
from tests.wire import WireProxy
from tests.wire_protocol import Framer
from tests.wire_protocol import Ledger
from tests.wire_protocol import Message

MODES = ["simple", "extended", "prepared", "pipeline"]
INSERT = "INSERT INTO payments (amount) VALUES (%s)"


@pytest.fixture(scope="module")
def payments(postgres_server):
    """The URL of a database with one table."""
    name = f"wire_{uuid4().hex}"
    postgres_server.create_database(name)
    postgres_server.execute("CREATE TABLE payments (amount int PRIMARY KEY)", name)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def direct(payments):
    """The URL of a database whose one table is empty, past the proxy."""
    eventually(lambda: others(payments) == 0)
    with connect(payments, autocommit=True) as connection:
        connection.execute("TRUNCATE payments")
    return payments


@pytest.fixture
def proxy(direct):
    url = make_url(direct)
    with WireProxy(url.host, url.port) as proxy:
        yield proxy


@pytest.fixture
def url(proxy, direct):
    return proxy.url(direct)


@pytest.fixture
def thread():
    """Run a function in a thread that the test does not outlive."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


def connect(url, mode="simple", **options):
    """Open a connection that speaks in *mode*, closed with its with-block."""
    plain = make_url(url).set(drivername="postgresql")
    conninfo = plain.render_as_string(hide_password=False)
    if mode == "simple":
        options["cursor_factory"] = psycopg.ClientCursor
    threshold = 0 if mode == "prepared" else None
    return closing(psycopg.connect(conninfo, prepare_threshold=threshold, **options))


def pay(url, mode="simple", amounts=(1,)):
    """Insert *amounts* in one transaction."""
    with connect(url, mode) as connection:
        pay_with(connection, mode, amounts)


def pay_with(connection, mode="simple", amounts=(1,)):
    pipeline = connection.pipeline() if mode == "pipeline" else nullcontext()
    with pipeline:
        for amount in amounts:
            connection.execute(INSERT, [amount])
        connection.commit()


def paid(direct):
    """Read the amounts past the proxy."""
    with connect(direct) as connection:
        found = connection.execute("SELECT amount FROM payments ORDER BY 1")
        return [amount for (amount,) in found.fetchall()]


def others(direct):
    """Count the other connections to the database."""
    with connect(direct) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return found.fetchone()[0]


def kinds(statements):
    return [statement.split()[0] for statement in statements]


# Counting


@pytest.mark.parametrize("mode", MODES)
def test_attributes_statements_and_counts_commits(proxy, url, direct, mode):
    pay(url, mode, amounts=(1, 2))

    assert kinds(proxy.statements) == ["BEGIN", "INSERT", "INSERT", "COMMIT"]
    assert "payments" in proxy.statements[1]
    assert proxy.commits == 1
    assert paid(direct) == [1, 2]


def test_attributes_executions_of_a_statement_prepared_once(proxy, url):
    with connect(url, "prepared", autocommit=True) as connection:
        for amount in (1, 2, 3):
            connection.execute("SELECT %s::int", [amount])

    assert proxy.statements == ["SELECT $1::int"] * 3


def test_a_rollback_is_no_commit(proxy, url):
    with connect(url) as connection:
        connection.execute(INSERT, [1])
        connection.rollback()

    assert kinds(proxy.statements) == ["BEGIN", "INSERT", "ROLLBACK"]
    assert proxy.commits == 0


def test_a_commit_answered_by_rollback_is_no_commit(proxy, url):
    with connect(url) as connection:
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM nowhere")
        connection.commit()

    assert kinds(proxy.statements) == ["BEGIN", "SELECT", "COMMIT"]
    assert proxy.commits == 0


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("simple", 4), ("extended", 4), ("prepared", 5), ("pipeline", 3)],
)
def test_counts_round_trips(proxy, url, mode, expected):
    with connect(url, mode) as connection:
        proxy.reset()
        pay_with(connection, mode, amounts=(1, 2))

        assert proxy.round_trips == expected


def test_a_pipeline_of_many_segments_is_one_round_trip(proxy, url):
    with connect(url, "pipeline", autocommit=True) as connection:
        proxy.reset()
        with connection.pipeline():
            for _ in range(500):
                connection.execute("SELECT length(%s)", ["x" * 1000])

        assert proxy.round_trips == 1
    assert len(proxy.statements) == 500


def test_what_is_sent_without_waiting_is_part_of_the_round_trip():
    """However fast the server answers what came first."""
    ledger = Ledger()
    ledger.ready = True

    def send() -> bool:
        query = Message("Q", b"SELECT 1\0", b"")
        begins = ledger.asks(query)
        ledger.sent(query, None)
        ledger.answered(Message("C", b"SELECT 1\0", b""))
        ledger.answered(Message("Z", b"I", b""))
        return begins

    assert send()
    assert not send()  # it was on its way while the first answer came
    ledger.rest()
    assert send()


def test_fetching_inside_a_pipeline_is_a_round_trip(proxy, url):
    with connect(url, "pipeline", autocommit=True) as connection:
        proxy.reset()
        with connection.pipeline():
            assert connection.execute("SELECT 1").fetchone() == (1,)
            assert connection.execute("SELECT 2").fetchone() == (2,)

    # psycopg ends the pipeline with a sync, which is a question as well.
    assert proxy.round_trips == 3


@pytest.mark.parametrize("mode", ["simple", "extended"])
def test_follows_copy_in_both_directions(proxy, url, direct, mode):
    with connect(url, mode) as connection:
        cursor = connection.cursor()
        with cursor.copy("COPY payments FROM STDIN") as copy:
            for amount in range(1000):
                copy.write_row([amount])
        with cursor.copy("COPY payments TO STDOUT") as copy:
            assert len(list(copy)) == 1000
        connection.commit()
        proxy.reset()
        connection.execute("SELECT 1")
        connection.commit()

        assert proxy.round_trips == 3
    assert proxy.commits == 1
    assert len(paid(direct)) == 1000


def test_a_copy_with_parameters_leaves_the_count_of_answers_right(proxy, url):
    with connect(url, "extended", autocommit=True) as connection:
        cursor = connection.cursor()
        with cursor.copy("COPY (SELECT generate_series(1, %s)) TO STDOUT", [9]) as copy:
            assert len(list(copy)) == 9
        lost = proxy.lose_reply_to("SELECT")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT %s", ["x"])

    assert lost.answer == "SELECT 1"


def test_reset_counts_from_zero(proxy, url):
    pay(url)
    proxy.reset()

    assert proxy.statements == []
    assert (proxy.commits, proxy.round_trips, proxy.events) == (0, 0, 0)


def test_works_under_sqlalchemy(proxy, url, direct):
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO payments VALUES (:a)"), {"a": 1})
    engine.dispose()

    assert kinds(proxy.statements)[-3:] == ["BEGIN", "INSERT", "COMMIT"]
    assert paid(direct) == [1]


def test_passes_cancel_requests_on(proxy, url, thread):
    with connect(url) as connection:
        sleeping = thread(connection.execute, "SELECT pg_sleep(60)")
        eventually(lambda: "SELECT pg_sleep(60)" in proxy.statements)
        eventually(lambda: connection.cancel_safe() or sleeping.done())

        assert isinstance(sleeping.exception(), psycopg.errors.QueryCanceled)


# Replies that are lost


@pytest.mark.parametrize("mode", MODES)
def test_loses_the_reply_to_an_executed_commit(proxy, url, direct, mode):
    lost = proxy.lose_reply_to("commit")

    with pytest.raises(psycopg.OperationalError):
        pay(url, mode)

    assert lost.happened.is_set()
    assert (lost.sql, lost.answer) == ("COMMIT", "COMMIT")
    assert proxy.commits == 1
    assert paid(direct) == [1]


@pytest.mark.parametrize("mode", MODES)
def test_a_reply_is_lost_once(proxy, url, direct, mode):
    proxy.lose_reply_to("COMMIT")
    with pytest.raises(psycopg.OperationalError):
        pay(url, mode, amounts=(1,))

    pay(url, mode, amounts=(2,))

    assert paid(direct) == [1, 2]


@pytest.mark.parametrize("mode", MODES)
def test_loses_the_reply_to_a_statement_that_commits_by_itself(
    proxy, url, direct, mode
):
    lost = proxy.lose_reply_to(lambda sql: "payments" in sql)

    with connect(url, mode, autocommit=True) as connection:
        pipeline = connection.pipeline() if mode == "pipeline" else nullcontext()
        with pytest.raises(psycopg.OperationalError), pipeline:
            connection.execute(INSERT, [1])

    assert lost.answer == "INSERT 0 1"
    assert paid(direct) == [1]


def test_loses_a_reply_the_client_asked_for_by_a_flush(proxy, url):
    lost = proxy.lose_reply_to("SELECT 2")

    def fetch_one_by_one(connection):
        with connection.pipeline():
            assert connection.execute("SELECT 1").fetchone() == (1,)
            connection.execute("SELECT 2").fetchone()

    with connect(url, autocommit=True) as connection:
        with pytest.raises(psycopg.OperationalError):
            fetch_one_by_one(connection)
        assert connection.closed

    assert lost.answer == "SELECT 1"


def test_loses_an_error_as_well(proxy, url, direct):
    pay(direct)
    lost = proxy.lose_reply_to("INSERT")

    with pytest.raises(psycopg.OperationalError):
        pay(url)

    assert lost.answer == "23505"


def test_a_commit_skipped_after_an_error_loses_nothing(proxy, url, direct):
    pay(direct, amounts=(1,))
    lost = proxy.lose_reply_to("COMMIT")

    with connect(url, "pipeline") as connection:
        with pytest.raises(psycopg.errors.UniqueViolation):
            pay_with(connection, "pipeline", amounts=(1,))
        connection.rollback()
        assert not lost.happened.is_set()
        with pytest.raises(psycopg.OperationalError):
            pay_with(connection, "pipeline", amounts=(2,))

    assert lost.answer == "COMMIT"
    assert paid(direct) == [1, 2]


def test_loses_the_reply_to_sqlalchemys_commit(proxy, url, direct):
    engine = create_engine(url)
    lost = proxy.lose_reply_to("COMMIT")

    with pytest.raises(OperationalError), engine.begin() as connection:
        connection.execute(text("INSERT INTO payments VALUES (1)"))
    engine.dispose()

    assert lost.happened.is_set()
    assert paid(direct) == [1]


# Requests that never arrive


@pytest.mark.parametrize("mode", MODES)
def test_cuts_before_the_server_gets_a_command(proxy, url, direct, mode):
    cut = proxy.cut_before("COMMIT")

    with pytest.raises(psycopg.OperationalError):
        pay(url, mode)

    assert cut.happened.is_set()
    assert cut.answer is None
    assert "COMMIT" not in proxy.statements
    assert paid(direct) == []


def test_a_pattern_matches_the_beginning_only(proxy, url):
    cut = proxy.cut_before("COMMIT")

    with connect(url) as connection:
        connection.execute("SET LOCAL synchronous_commit = off")

    assert not cut.happened.is_set()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("after", [False, True])
def test_cuts_at_every_message(proxy, url, direct, mode, after):
    sent, acknowledged = {0}, {0}
    pay(url, mode, amounts=(0,))
    eventually(lambda: others(direct) == 0)

    for event in range(1, proxy.events + 1):
        proxy.reset()
        cut = proxy.cut_at(event, after=after)
        with suppress(psycopg.OperationalError):  # the last flush is not answered
            pay(url, mode, amounts=(event,))
        assert cut.happened.wait(10)
        assert proxy.events == event
        eventually(lambda: others(direct) == 0)
        sent |= {event} if "COMMIT" in proxy.statements else set()
        acknowledged |= {event} if proxy.commits else set()

    assert acknowledged <= set(paid(direct)) <= sent


def test_a_message_cut_after_reaches_the_server(proxy, url, direct):
    pay(url, amounts=(1,))
    total = proxy.events
    proxy.reset()
    proxy.cut_at(total, after=True)

    with pytest.raises(psycopg.OperationalError):
        pay(url, amounts=(2,))

    eventually(lambda: paid(direct) == [1, 2])


def test_a_cut_at_a_past_message_is_refused(proxy, url):
    pay(url)

    with pytest.raises(ValueError, match="event 1 is past: 3 were counted"):
        proxy.cut_at(1)


# Holding back


@pytest.mark.parametrize("mode", MODES)
def test_holds_a_reply_until_it_is_released(proxy, url, direct, thread, mode):
    hold = proxy.hold_reply("COMMIT")

    paying = thread(pay, url, mode)
    assert hold.happened.wait(10)
    assert paid(direct) == [1]
    assert not paying.done()
    hold.release()

    assert paying.result(10) is None
    assert hold.answer == "COMMIT"


@pytest.mark.parametrize("mode", MODES)
def test_a_held_reply_can_be_lost(proxy, url, direct, thread, mode):
    hold = proxy.hold_reply("COMMIT")

    paying = thread(pay, url, mode)
    assert hold.happened.wait(10)
    hold.cut()

    assert isinstance(paying.exception(10), psycopg.OperationalError)
    assert paid(direct) == [1]


@pytest.mark.parametrize("mode", MODES)
def test_holds_a_request_until_it_is_released(proxy, url, direct, thread, mode):
    hold = proxy.hold_request("COMMIT")

    paying = thread(pay, url, mode)
    assert hold.happened.wait(10)
    assert paid(direct) == []
    assert "COMMIT" not in proxy.statements
    hold.release()

    assert paying.result(10) is None
    assert paid(direct) == [1]


@pytest.mark.parametrize("mode", MODES)
def test_a_held_request_can_be_lost(proxy, url, direct, thread, mode):
    hold = proxy.hold_request("COMMIT")

    paying = thread(pay, url, mode)
    assert hold.happened.wait(10)
    hold.cut()

    assert isinstance(paying.exception(10), psycopg.OperationalError)
    eventually(lambda: others(direct) == 0)
    assert paid(direct) == []


def test_a_held_request_arrives_after_its_client_has_gone(proxy, url, direct):
    hold = proxy.hold_request("COMMIT")
    with connect(url) as connection:
        connection.execute(INSERT, [1])
        connection.pgconn.send_query(b"COMMIT")
        assert hold.happened.wait(10)
    assert paid(direct) == []

    hold.release()

    eventually(lambda: paid(direct) == [1])


def test_holds_nothing_that_came_before(proxy, url):
    hold = proxy.hold_reply("SELECT 2")

    with connect(url, autocommit=True) as connection:
        libpq = connection.pgconn
        libpq.enter_pipeline_mode()
        libpq.send_query_params(b"SELECT 1", None)
        libpq.send_query_params(b"SELECT 2", None)
        libpq.pipeline_sync()
        libpq.flush()
        assert result_of(libpq).get_value(0, 0) == b"1"
        assert result_of(libpq) is None
        assert hold.happened.wait(10)
        hold.release()

        assert result_of(libpq).get_value(0, 0) == b"2"


def result_of(libpq):
    """Wait for a result; `get_result` would keep the proxy's threads from running."""

    def there():
        libpq.consume_input()
        return not libpq.is_busy()

    eventually(there)
    return libpq.get_result()


def test_holds_only_the_connection_that_matches(proxy, url, direct, thread):
    hold = proxy.hold_reply("COMMIT")

    paying = thread(pay, url)
    assert hold.happened.wait(10)
    pay(url, amounts=(2,))
    hold.release()

    assert paying.result(10) is None
    assert paid(direct) == [1, 2]


# Outages


def test_cuts_all_connections(proxy, url, direct, thread):
    hold = proxy.hold_reply("COMMIT")
    paying = thread(pay, url)
    assert hold.happened.wait(10)

    with connect(url, autocommit=True) as idle:
        proxy.cut_all()

        assert isinstance(paying.exception(10), psycopg.OperationalError)
        with pytest.raises(psycopg.OperationalError):
            idle.execute("SELECT 1")
    eventually(lambda: others(direct) == 0)
    pay(url, amounts=(2,))


def test_refuses_new_connections_until_told_otherwise(proxy, url):
    with connect(url, autocommit=True) as connection:
        proxy.refuse = True
        with pytest.raises(psycopg.OperationalError), connect(url):
            pass
        connection.execute("SELECT 1")
    proxy.refuse = False

    pay(url)


def test_passes_the_end_of_a_connection_on(url, direct):
    with connect(url) as connection, connect(direct, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])

        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")


def test_hangs_up_while_the_server_is_down(own_server):
    with WireProxy("127.0.0.1", own_server.port) as proxy:
        url = proxy.url(own_server.url("postgres"))
        with connect(url) as connection:
            own_server.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError), connect(url):
            pass
        own_server.start()
        with connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_delays_both_directions(proxy, url):
    with connect(url, autocommit=True) as connection:
        proxy.delay = 0.05
        begun = time.monotonic()
        connection.execute("SELECT 1")

        assert time.monotonic() - begun >= 2 * 0.05


# Ending


def test_no_thread_outlives_the_proxy(direct):
    before = set(threading.enumerate())
    server = make_url(direct)
    with WireProxy(server.host, server.port) as proxy:
        proxy.delay = 0.01
        url = proxy.url(direct)
        hold = proxy.hold_request("SELECT")
        with connect(url) as held, connect(url):
            held.pgconn.send_query(b"SELECT 1")
            assert hold.happened.wait(10)
            proxy.close()

            assert set(threading.enumerate()) == before


def test_frames_messages_however_they_are_cut():
    stream = b"Q\0\0\0\rSELECT 1\0" + b"S\0\0\0\x04" + b"Q\0\0\0\x0bCOMMIT\0"
    framer = Framer()

    messages = [
        message
        for byte in range(len(stream))
        for message in framer.feed(stream[byte : byte + 1])
    ]

    assert [message.kind for message in messages] == ["Q", "S", "Q"]
    assert [messages[0].text(), messages[2].text()] == ["SELECT 1", "COMMIT"]
    assert b"".join(message.raw for message in messages) == stream
