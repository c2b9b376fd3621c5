"""The extension: `operon.Operon` for Flask applications that are made by factories."""

import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from typing import Unpack
from typing import cast

from flask import Flask
from flask import current_app
from flask import has_app_context
from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.orm import sessionmaker

import operon
from operon.config import Options
from operon.config import Settings
from operon.config import Surroundings
from operon.config import settings
from operon.errors import ConfigurationError
from operon.errors import MisuseError
from operon.flask.config import launches
from operon.flask.config import options_of
from operon.flask.launching import Launching
from operon.runtime import Process

NAME = "operon"
"""Of the extension in `app.extensions`."""


class Operon(operon.Operon):
    """Durable workflows of a Flask application.

    ```python
    operon = Operon()
    operon.init_app(app)
    ```

    Nothing is opened by either. The first request that a process serves lets it
    execute started runs, in the background, until it ends: after a fork each child
    does by itself, and a reloader's parent, which serves none, never does. Bodies,
    steps and activities are called within `app.app_context()`, one of their own each.

    One object may serve several applications, each with its own database and
    configuration; which one is meant is told by `current_app`, and where there is
    none, by there being only one.

    Args:
        database: A URL, an Engine or a sessionmaker. By default, what the
            application's `OPERON_DATABASE_URL` or the environment's names, or else
            the engine of its Flask-SQLAlchemy.
        app: An application to begin with.
        options: See `operon.Operon`. What an application's configuration says by
            `OPERON_…` goes before them, and before the environment.

    Raises:
        ConfigurationError: As for `operon.Operon`.
    """

    def __init__(
        self,
        database: "str | URL | Engine | sessionmaker[Any] | None" = None,
        *,
        app: Flask | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._rules = {}
        self._database = database
        self._options = options
        self._settings = settings(options)
        self._bound: weakref.WeakKeyDictionary[Flask, _Bound]
        self._bound = weakref.WeakKeyDictionary()
        self._only: weakref.ref[Flask] | None = None
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Serve *app* as well, as its configuration says; nothing is opened.

        Raises:
            ConfigurationError: It has an Operon already, names no database, or its
                configuration is malformed.
        """
        if NAME in app.extensions:
            raise ConfigurationError(
                f"the application {app.name!r}",
                "has an Operon already",
                cure="call init_app once for each application",
            )
        options: Options = {
            "surroundings": _context_of(app),
            **self._options,
            **options_of(app.config),
        }
        process = self._made(self._database_of(app), settings(options))
        self._only = None if self._bound else weakref.ref(app)
        self._bound[app] = bound = _Bound(process, Launching(self, app, process))
        app.extensions[NAME] = self
        if launches(app.config):
            app.before_request(bound.launching.ensure)

    @property
    def settings(self) -> Settings:
        """How this Operon behaves for the present application."""
        found = self._found()
        return self._settings if found is None else found.process.settings

    def shutdown(self, timeout: timedelta = timedelta(seconds=30)) -> None:
        """Stop executing runs of the present application; see `operon.Operon`."""
        found = self._found()
        if found is not None:
            found.launching.stop(timeout)
            super().shutdown(timeout)

    def _database_of(self, app: Flask) -> Any:
        """Return the database that *app* works on, None for the environment's."""
        config = cast("Mapping[str, Any]", app.config)
        configured = config.get("OPERON_DATABASE_URL")
        if configured is not None or self._database is not None:
            return self._database if configured is None else configured
        beside: Any = app.extensions.get("sqlalchemy")
        if beside is None:
            return None
        with app.app_context():
            return beside.engine

    def _found(self) -> "_Bound | None":
        """Return what is had for the present application, if there is any."""
        if has_app_context():
            return self._bound.get(cast("Any", current_app)._get_current_object())  # noqa: SLF001 - the proxy itself is no key
        only = None if self._only is None else self._only()
        return None if only is None else self._bound[only]

    @property
    def _process(self) -> Process:
        found = self._found()
        if found is None:
            raise MisuseError(
                "this Operon",
                "was used where it is not known for which application",
                cure="call init_app(app), and use it within app.app_context()",
            )
        return found.process


@dataclass(frozen=True)
class _Bound:
    """What there is for one application."""

    process: Process
    launching: Launching


def _context_of(app: Flask) -> Surroundings:
    """Return what makes contexts of *app*, and does not keep it alive."""
    present = weakref.ref(app)

    def context() -> AbstractContextManager[Any]:
        app = present()
        return nullcontext() if app is None else app.app_context()

    return context
