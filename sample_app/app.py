"""The application: the Flask app, and the Operon that serves it.

`operon --app "sample_app.app:create_operon()" runs list` looks at its runs, and
`operon --app "sample_app.app:create_operon()" executor` works on them in another
process.
"""

from flask import Flask

from operon import Operon
from sample_app import web
from sample_app.database import default_url
from sample_app.database import enforce_foreign_keys


def create_operon(database_url: str | None = None) -> Operon:
    """Return the shop's Operon, by default on the database of the environment."""
    operon = Operon(database_url or default_url())
    enforce_foreign_keys(operon.engine)
    return operon


def create_app(database_url: str | None = None) -> Flask:
    """Return the shop; nothing is opened until its first request.

    Its Operon is `app.extensions["operon"]`. The tables must be there.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
    app.extensions["operon"] = create_operon(database_url)
    app.register_blueprint(web.blueprint)
    return app
