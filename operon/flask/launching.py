"""Launching: a process that serves requests executes runs, once it has served one."""

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from operon.errors import OperonError
from operon.runtime import Process

_logger = logging.getLogger("operon.flask")

_AGAIN = 5.0  # seconds until the next try
_LEAVE = timedelta(seconds=20)  # gunicorn ends a worker by force after 30


class Launches(Protocol):
    """An Operon, as far as it is launched and shut down."""

    def launch(self) -> None:
        """Execute started runs in this process."""
        ...

    def shutdown(self, timeout: timedelta) -> None:
        """Stop that."""
        ...


class Launching:
    """Launches the Operon of an application in each process that serves it.

    It is done beside the request: nobody waits for a database that is away. What
    keeps it from being launched is logged, and tried again until it is.
    """

    def __init__(self, operon: Launches, app: Flask, process: Process) -> None:
        self._operon = operon
        self._app = weakref.ref(app)
        self._process = process
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        _all.add(self)

    def ensure(self) -> None:
        """See to it that this process executes runs, now or soon."""
        if self._process.is_launched:
            return
        with self._mutex:
            if self._thread is None or not self._thread.is_alive():
                self._stopped.clear()
                self._thread = threading.Thread(
                    target=self._launch, name="operon-launch", daemon=True
                )
                self._thread.start()

    def stop(self, timeout: timedelta) -> None:
        """Try no more."""
        self._stopped.set()
        thread = self._thread
        if thread is not None:
            thread.join(timeout.total_seconds())

    def _launch(self) -> None:
        """Launch; a process that ends takes leave, so that others go on at once."""
        while not self._stopped.is_set():
            app = self._app()
            if app is None:
                return
            try:
                with app.app_context():
                    self._operon.launch()
            except (OperonError, SQLAlchemyError) as error:
                _logger.warning("runs are not executed here yet: %s", error)
                self._process.settings.clock.wait(self._stopped, _AGAIN)
            else:
                leave = weakref.WeakMethod(self._leave)
                atexit.register(_call_in, os.getpid(), leave)
                return

    def _leave(self) -> None:
        app = self._app()
        if app is not None and self._process.is_launched:
            with app.app_context():
                self._operon.shutdown(_LEAVE)

    def begin_anew(self) -> None:
        """Forget, in a forked child, the thread that only the parent has."""
        self._mutex, self._thread = threading.Lock(), None
        self._stopped = threading.Event()


def _call_in(pid: int, method: weakref.WeakMethod[Callable[[], None]]) -> None:
    """Call *method* in the process *pid*, and in none that was forked from it."""
    found = method()
    if found is not None and pid == os.getpid():
        found()


_all: "weakref.WeakSet[Launching]" = weakref.WeakSet()


def _begin_all_anew() -> None:
    for each in list(_all):
        each.begin_anew()


os.register_at_fork(after_in_child=_begin_all_anew)
