"""The application: the Flask app, and the Operon that executes what it serves.

`operon --app "sample_app.app:create_operon()" runs list` looks at its runs, and
`operon --app "sample_app.app:create_operon()" executor` works on them in another
process.
"""

from flask import Flask

import operon.flask
from operon import Operon
from operon import telemetry
from sample_app import pages
from sample_app.api import create_api
from sample_app.database import default_url
from sample_app.database import enforce_foreign_keys
from sample_app.identity import trusted_issuer


def create_operon(database_url: str | None = None) -> Operon:
    """Return the shop's Operon without the web, by default on the usual database."""
    shop = Operon(database_url or default_url())
    enforce_foreign_keys(shop.engine)
    return shop


def create_app(database_url: str | None = None, secret: str | None = None) -> Flask:
    """Return the shop; nothing is opened until its first request.

    What is not given, the environment tells. The tables must be there. The app's
    Operon is `app.extensions["operon"]`.

    Raises:
        ConfigurationError: The secret, or the database, cannot be used.
    """
    telemetry.configure()  # exports if OTEL_EXPORTER_OTLP_ENDPOINT says where
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024  # of the page's form
    shop = operon.flask.Operon(database_url or default_url(), app=app)
    enforce_foreign_keys(shop.engine)
    app.register_blueprint(pages.blueprint)
    api = create_api(shop, trusted_issuer(secret))
    app.register_blueprint(api, url_prefix="/api")
    return app
