"""The web edge: workflows and transactions served by a Flask application."""
