"""Operon's Alembic migrations; installed as `operon.migrations`, imported by nobody."""
