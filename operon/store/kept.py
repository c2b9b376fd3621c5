"""Connections kept for single statements, each of which is a transaction by itself."""

import os
import queue
import time
from collections.abc import Callable
from collections.abc import Generator
from contextlib import contextmanager
from contextlib import suppress
from typing import Any

from sqlalchemy import Engine
from sqlalchemy import event
from sqlalchemy import exc
from sqlalchemy.pool import NullPool

_MOST = 4
_STALE = 30.0  # seconds without use after which a connection may be gone
_PATIENCE = 30.0  # seconds to wait for one, as SQLAlchemy's pools do


class KeptConnections:
    """A few of the driver's connections, made as *engine* makes its own.

    The pool would reset one, and set its isolation level, for each statement. Where
    the application keeps none (`NullPool`), none is kept.
    """

    def __init__(self, engine: Engine, prepare: Callable[[Any], None]) -> None:
        """Keep connections of *engine*, each *prepare*d once."""
        self._engine = engine
        self._prepare = prepare
        self._pid = os.getpid()
        self._closed = False
        self._free: queue.LifoQueue[tuple[Any, float] | None] = queue.LifoQueue()
        for _ in range(_MOST):
            self._free.put(None)
        event.listen(engine, "engine_disposed", self._disposed)

    @contextmanager
    def one(self) -> Generator[Any, None, None]:
        """Lend one within the block; an error ends it, whatever its state.

        Raises:
            SQLAlchemyError: None can be made, or none was given back in time.
        """
        try:
            kept = self._free.get(timeout=_PATIENCE)
        except queue.Empty:
            raise exc.TimeoutError("Operon's kept connections are all busy") from None
        left = None
        try:
            driver = self._usable(kept)
            try:
                yield driver
            except BaseException:
                _close(driver)
                raise
            if self._closed or isinstance(self._engine.pool, NullPool):
                _close(driver)
            else:
                left = driver, time.monotonic()
        finally:
            self._free.put(left)

    def _usable(self, kept: tuple[Any, float] | None) -> Any:
        """Return the driver's connection in *kept*, or a new one."""
        if kept is not None:
            driver, used = kept
            if time.monotonic() - used < _STALE:
                return driver
            _close(driver)
        # not `raw_connection`, whose errors would be the driver's own
        connection = self._engine.connect()
        driver = connection.connection.dbapi_connection
        connection.detach()
        try:
            self._prepare(driver)
        except BaseException:
            _close(driver)
            raise
        return driver

    def close(self) -> None:
        """Close them, those in use when they are given back."""
        self._closed = True
        event.remove(self._engine, "engine_disposed", self._disposed)
        self._disposed(self._engine)

    def _disposed(self, _engine: Engine) -> None:
        """Close those that nobody uses now; after a fork they are the parent's."""
        if self._pid != os.getpid():
            return
        found: list[tuple[Any, float] | None] = []
        with suppress(queue.Empty):
            while True:
                found.append(self._free.get_nowait())
        for kept in found:
            if kept is not None:
                _close(kept[0])
            self._free.put(None)


def _close(driver: Any) -> None:
    with suppress(Exception):  # it may be lost
        driver.close()
