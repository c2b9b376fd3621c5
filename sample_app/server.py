"""The server: one process that migrates, stocks, executes and serves the shop.

It may be killed at any moment and started again. Werkzeug's server is enough for a
sample; gunicorn serves `sample_app.app:create_app()`, whose Operon is launched in each
worker at its first request.
"""

import logging
import os
import secrets
import signal
import sys

from flask import Flask
from werkzeug.serving import make_server

from operon import Operon
from sample_app.app import create_app
from sample_app.app import create_operon
from sample_app.catalogue import stock_shelves
from sample_app.database import migrate
from sample_app.identity import SECRET


def prepare(database_url: str) -> None:
    """Create what is missing of the tables and of the goods, and nothing else."""
    operon = create_operon(database_url)
    try:
        _prepare(operon)
    finally:
        _close(operon)


def serve(database_url: str, host: str, port: int) -> None:
    """Open the shop until SIGTERM or SIGINT; port 0 takes any that is free."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # not a line per request
    for asked_to_end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked_to_end, lambda *_: sys.exit())
    app = create_app(database_url, os.environ.get(SECRET) or _invent_secret())
    operon: Operon = app.extensions["operon"]
    try:
        _prepare(operon)
        operon.launch()  # what was left undone goes on before anybody asks
        _listen(app, host, port)
    finally:
        _close(operon)


def _prepare(operon: Operon) -> None:
    migrate(operon.engine)
    operon.run(stock_shelves(), id="stock-shelves")


def _close(operon: Operon) -> None:
    operon.shutdown()
    operon.engine.dispose()


def _invent_secret() -> str:
    """Return a new secret, and show it: without it nobody can make a token."""
    secret = secrets.token_urlsafe(32)
    _say(f"Until the shop closes, {SECRET} is {secret}")
    return secret


def _listen(app: Flask, host: str, port: int) -> None:
    """Answer requests until the process is asked to end."""
    server = make_server(host, port, app, threaded=True)
    try:
        _say(f"The shop is open at http://{host}:{server.port}/")
        server.serve_forever()
    finally:
        server.server_close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
