"""What is kept of a database is put back as it was, whatever its tables are like."""

from collections.abc import Sequence

import pytest
from sqlalchemy import Engine
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from operon.store.contents import Contents
from operon.store.contents import contents_of


@pytest.fixture
def engine(empty_database) -> Engine:
    return empty_database.engine()


@pytest.fixture
def postgresql(engine) -> Engine:
    assert engine.dialect.name == "postgresql"
    return engine


@pytest.fixture
def sqlite(engine) -> Engine:
    assert engine.dialect.name == "sqlite"
    return engine


on_postgresql = pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)


def execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def kept(engine: Engine, *statements: str) -> Contents:
    """Return the contents, kept, of the tables that *statements* make and fill."""
    execute(engine, *statements)
    contents = contents_of(engine)
    contents.keep()
    return contents


def assert_put_back(engine: Engine, contents: Contents, changes: Sequence[str]) -> None:
    """Assert that what *changes* do is seen, and undone."""
    before = contents.rows()
    execute(engine, *changes)
    assert contents.rows() != before
    contents.put_back()
    assert contents.rows() == before
    assert any(before.values())


def test_rows_that_were_changed_added_and_deleted_are_put_back(engine):
    contents = kept(
        engine,
        "CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT)",
        "INSERT INTO books VALUES (1, 'a'), (2, NULL), (3, '')",
    )

    assert_put_back(
        engine,
        contents,
        (
            "UPDATE books SET title = 'b' WHERE id = 1",
            "DELETE FROM books WHERE id = 2",
            "INSERT INTO books VALUES (4, 'c')",
        ),
    )


def test_a_table_that_was_empty_is_emptied(engine):
    contents = kept(engine, "CREATE TABLE books (id INTEGER PRIMARY KEY)")

    execute(engine, "INSERT INTO books VALUES (1)")
    contents.put_back()

    assert contents.rows() == {"books": []}


def test_contents_are_put_back_as_often_as_one_likes(engine):
    contents = kept(
        engine,
        "CREATE TABLE books (id INTEGER PRIMARY KEY)",
        "INSERT INTO books VALUES (1)",
    )

    for _ in range(3):
        assert_put_back(engine, contents, ("DELETE FROM books",))


def test_tables_that_refer_to_each_other_are_put_back(engine):
    is_sqlite = engine.dialect.name == "sqlite"
    contents = kept(
        engine,
        "CREATE TABLE heads (id INTEGER PRIMARY KEY, team INTEGER)",
        "CREATE TABLE teams (id INTEGER PRIMARY KEY, "
        "head INTEGER REFERENCES heads, part_of INTEGER REFERENCES teams)",
        "SELECT 1"
        if is_sqlite
        else "ALTER TABLE heads ADD FOREIGN KEY (team) REFERENCES teams",
        "INSERT INTO heads VALUES (1, NULL)",
        "INSERT INTO teams VALUES (2, NULL, 3), (3, 1, NULL)",
        "UPDATE heads SET team = 2",
    )

    assert_put_back(
        engine,
        contents,
        ("UPDATE heads SET team = NULL", "DELETE FROM teams", "DELETE FROM heads"),
    )


def test_names_may_be_case_sensitive_and_have_quotes(engine):
    contents = kept(
        engine,
        'CREATE TABLE "Order ""lines"" 5%" ("Id" INTEGER PRIMARY KEY, "a ""b" TEXT)',
        """INSERT INTO "Order ""lines"" 5%" VALUES (1, 'x')""",
        "CREATE TABLE sqlitelike (id INTEGER)",
    )

    assert_put_back(engine, contents, ('DELETE FROM "Order ""lines"" 5%"',))
    assert set(contents.rows()) == {'Order "lines" 5%', "sqlitelike"}


def test_generated_columns_are_generated_again(engine):
    contents = kept(
        engine,
        "CREATE TABLE books (price INTEGER, "
        "double INTEGER GENERATED ALWAYS AS (price * 2) STORED, title TEXT)",
        "INSERT INTO books (price, title) VALUES (1, 'a')",
    )

    assert_put_back(engine, contents, ("UPDATE books SET price = 2",))
    assert contents.rows() == {"books": [{"price": 1, "double": 2, "title": "a"}]}


@on_postgresql
def test_an_identity_that_is_always_generated_keeps_its_values_and_goes_on(postgresql):
    contents = kept(
        postgresql,
        "CREATE TABLE books "
        "(id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title TEXT)",
        "INSERT INTO books (title) VALUES ('a'), ('b')",
        "DELETE FROM books WHERE id = 1",
    )

    assert_put_back(
        postgresql, contents, ("INSERT INTO books (title) VALUES ('c'), ('d')",)
    )
    execute(postgresql, "INSERT INTO books (title) VALUES ('e')")
    assert [row["id"] for row in contents.rows()["books"]] == [2, 3]


@on_postgresql
def test_a_sequence_that_nobody_has_asked_begins_again(postgresql):
    contents = kept(postgresql, "CREATE TABLE books (id BIGSERIAL, title TEXT)")

    execute(postgresql, "INSERT INTO books (title) VALUES ('a')")
    contents.put_back()
    execute(postgresql, "INSERT INTO books (title) VALUES ('a')")

    assert contents.rows() == {"books": [{"id": 1, "title": "a"}]}


@on_postgresql
def test_the_tables_of_other_schemas_are_put_back(postgresql):
    contents = kept(
        postgresql,
        'CREATE SCHEMA "Shop"',
        'CREATE TABLE "Shop".books (id INTEGER PRIMARY KEY)',
        'CREATE TABLE books (id INTEGER REFERENCES "Shop".books)',
        'INSERT INTO "Shop".books VALUES (1)',
        "INSERT INTO books VALUES (1)",
    )

    assert_put_back(
        postgresql, contents, ("DELETE FROM books", 'DELETE FROM "Shop".books')
    )
    assert set(contents.rows()) == {"books", "Shop.books"}


@on_postgresql
def test_partitions_are_put_back_before_what_refers_to_their_table(postgresql):
    contents = kept(
        postgresql,
        'CREATE SCHEMA "Shop"',
        'CREATE TABLE "Shop".books (id INTEGER PRIMARY KEY) PARTITION BY RANGE (id)',
        'CREATE TABLE zz_books PARTITION OF "Shop".books FOR VALUES FROM (0) TO (9)',
        'CREATE TABLE lines (book INTEGER REFERENCES "Shop".books)',
        'INSERT INTO "Shop".books VALUES (1)',
        "INSERT INTO lines VALUES (1)",
    )

    assert_put_back(
        postgresql, contents, ("DELETE FROM lines", 'DELETE FROM "Shop".books')
    )
    assert contents.rows() == {"zz_books": [{"id": 1}], "lines": [{"book": 1}]}


@on_postgresql
def test_values_of_every_kind_are_put_back_exactly(postgresql):
    contents = kept(
        postgresql,
        "CREATE TABLE odd (at TIMESTAMPTZ, raw BYTEA, n NUMERIC, f FLOAT8, a TEXT[], "
        "j JSON, i INTERVAL)",
        "INSERT INTO odd VALUES ('infinity', '\\x00ff', 'NaN', 0.1, "
        """'{"a",NULL,"\\""}', '{"a":  1, "a": 2}', '1 month -1 day')""",
    )
    exact = "SELECT odd::text FROM odd"
    with postgresql.connect() as connection:
        before = connection.scalar(text(exact))

    assert_put_back(postgresql, contents, ("DELETE FROM odd",))

    with postgresql.connect() as connection:
        assert connection.scalar(text(exact)) == before


@on_postgresql
def test_what_is_put_back_still_has_to_fit_its_constraints(postgresql):
    contents = kept(
        postgresql,
        "CREATE TABLE books (id INTEGER PRIMARY KEY)",
        "INSERT INTO books VALUES (1)",
    )
    execute(postgresql, "ALTER TABLE books ADD CHECK (id > 1) NOT VALID")

    with pytest.raises(Exception, match="check constraint"):
        contents.put_back()

    assert contents.rows() == {"books": [{"id": 1}]}


@on_sqlite
@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_file_is_put_back_in_each_journal_mode(sqlite, mode):
    with sqlite.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA journal_mode = {mode}")
    contents = kept(
        sqlite,
        "CREATE TABLE books (id TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT)",
        "INSERT INTO books VALUES ('a')",
        "INSERT INTO counted DEFAULT VALUES",
    )

    assert_put_back(
        sqlite,
        contents,
        ("INSERT INTO books VALUES ('b')", "INSERT INTO counted DEFAULT VALUES"),
    )

    execute(sqlite, "INSERT INTO counted DEFAULT VALUES")
    assert [row["id"] for row in contents.rows()["counted"]] == [1, 2]
    with sqlite.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    assert found == mode


def test_keys_still_hold_after_rows_were_put_back(engine):
    contents = kept(
        engine,
        "CREATE TABLE books (id INTEGER PRIMARY KEY)",
        "INSERT INTO books VALUES (1)",
    )
    assert_put_back(engine, contents, ("DELETE FROM books",))

    with pytest.raises(IntegrityError):
        execute(engine, "INSERT INTO books VALUES (1)")
