"""The shop's migrations; Alembic reads the folder, nobody imports it."""
