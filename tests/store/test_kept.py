"""Connections kept for single statements: when one is used again, and when not."""

import os
import sqlite3

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy import event
from sqlalchemy import exc
from sqlalchemy.pool import NullPool

from operon.store import kept
from operon.store.kept import KeptConnections


@pytest.fixture
def engine(database):
    engine = create_engine(database.url)
    yield engine
    engine.dispose()


@pytest.fixture
def opened(engine) -> list[object]:
    """The driver's connections, as they are opened."""
    connections: list[object] = []
    event.listen(engine, "connect", lambda driver, _: connections.append(driver))
    return connections


def use(connections: KeptConnections) -> object:
    with connections.one() as driver:
        driver.execute("SELECT 1").fetchone()
        return driver


def is_closed(driver) -> bool:
    try:
        driver.execute("SELECT 1")
    except (psycopg.Error, sqlite3.Error):
        return True
    return False


def keep(engine) -> KeptConnections:
    return KeptConnections(engine, lambda driver: None)


def test_the_connection_that_was_used_last_is_used_again(engine, opened):
    connections = keep(engine)
    assert use(connections) is use(connections)
    assert len(opened) == 1
    assert engine.pool.checkedout() == 0


def test_one_that_was_not_used_for_long_is_replaced(engine, opened, monkeypatch):
    connections = keep(engine)
    first = use(connections)
    monkeypatch.setattr(kept, "_STALE", -1.0)

    second = use(connections)

    assert second is not first
    assert is_closed(first)


def test_an_error_ends_the_connection_and_frees_its_place(engine, opened):
    connections = keep(engine)
    for _ in range(10):
        with pytest.raises(KeyError), connections.one() as driver:
            raise KeyError
        assert is_closed(driver)
    assert len(opened) == 10


def test_one_that_cannot_be_made_frees_its_place(engine, opened):
    connections = keep(engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "raw_connection", lambda: 1 / 0)
        for _ in range(10):
            with pytest.raises(ZeroDivisionError), connections.one():
                pass
    use(connections)


def test_one_that_cannot_be_prepared_is_closed(engine, opened):
    connections = KeptConnections(engine, lambda driver: 1 / 0)
    with pytest.raises(ZeroDivisionError), connections.one():
        pass
    assert is_closed(opened[0])


def test_who_comes_when_all_are_busy_is_told_so_in_time(engine, monkeypatch):
    monkeypatch.setattr(kept, "_MOST", 1)
    monkeypatch.setattr(kept, "_PATIENCE", 0.01)
    connections = keep(engine)
    with connections.one(), pytest.raises(exc.TimeoutError), connections.one():
        pass


def test_where_the_application_keeps_none_none_is_kept(database):
    engine = create_engine(database.url, poolclass=NullPool)
    connections = keep(engine)
    assert is_closed(use(connections))


def test_disposing_the_engine_closes_them_and_later_uses_open_new_ones(engine, opened):
    connections = keep(engine)
    first = use(connections)
    engine.dispose()
    assert is_closed(first)
    assert use(connections) is not first


def test_disposing_the_engine_closes_all_that_are_free(engine, opened):
    connections = keep(engine)
    with connections.one() as first, connections.one() as second:
        pass
    engine.dispose()
    assert is_closed(first)
    assert is_closed(second)
    with connections.one(), connections.one(), connections.one(), connections.one():
        assert len(opened) == 6


def test_closed_for_good_the_last_one_goes_with_its_user(engine):
    connections = keep(engine)
    with connections.one() as driver:
        connections.close()
    assert is_closed(driver)


def test_in_a_forked_child_the_parents_are_left_alone(engine, monkeypatch):
    connections = keep(engine)
    driver = use(connections)
    with monkeypatch.context() as patch:
        patch.setattr(kept.os, "getpid", lambda: -1)
        engine.dispose(close=False)
    assert not is_closed(driver)
    assert kept.os is os


def test_that_none_can_be_made_is_said_as_sqlalchemy_says_it():
    engine = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    connections = keep(engine)

    for _ in range(kept._MOST + 1):  # each try gives its place back
        with pytest.raises(exc.OperationalError):
            use(connections)
