"""The server: one process that migrates, stocks, executes and serves the shop.

It may be killed at any moment and started again. Werkzeug's server is enough for a
sample; behind gunicorn, call `operon.launch()` in each worker or run executors apart.
"""

import logging
import signal
import sys

from flask import Flask
from werkzeug.serving import make_server

from operon import Operon
from sample_app.app import create_app
from sample_app.catalogue import stock_shelves
from sample_app.database import migrate


def serve(database_url: str, host: str, port: int) -> None:
    """Open the shop until SIGTERM or SIGINT; port 0 takes any that is free."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # not a line per request
    for asked_to_end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked_to_end, lambda *_: sys.exit())
    app = create_app(database_url)
    operon: Operon = app.extensions["operon"]
    try:
        migrate(operon.engine)
        operon.run(stock_shelves(), id="stock-shelves")
        operon.launch()
        _listen(app, host, port)
    finally:
        operon.shutdown()
        operon.engine.dispose()


def _listen(app: Flask, host: str, port: int) -> None:
    """Answer requests until the process is asked to end."""
    server = make_server(host, port, app, threaded=True)
    try:
        sys.stdout.write(f"The shop is open at http://{host}:{server.port}/\n")
        sys.stdout.flush()
        server.serve_forever()
    finally:
        server.server_close()
