"""The tables that starting, running and recovering need.

Runs, checkpoints, attempts and executors.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "operon_0001"
down_revision = None
branch_labels = ("operon",)
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Create the tables and their indexes."""
    _create_runs()
    _index_runs()
    _create_checkpoints()
    _create_attempts()
    _create_executors()


def downgrade() -> None:
    """Drop the tables, with everything in them."""
    op.drop_table("operon_executors")
    op.drop_table("operon_attempts")
    op.drop_table("operon_checkpoints")
    op.drop_table("operon_runs")


def _create_runs() -> None:
    op.create_table(
        "operon_runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("output", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("codec", sa.Text()),
        sa.Column("outcome_codec", sa.Text()),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("principal", _JSON),
        sa.Column("attributes", _JSON),
        sa.Column("parent_id", sa.Text()),
        sa.Column("root_id", sa.Text()),
        sa.Column("forked_from", sa.Text()),
        sa.Column("executor", sa.Text()),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("recoveries", sa.Integer(), nullable=False),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True)),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("code_version", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_operon_runs"),
    )


def _index_runs() -> None:
    op.create_index(
        "ix_operon_runs_due",
        "operon_runs",
        ["queue", "priority", "due_at"],
        postgresql_where=sa.text("status = 'enqueued'"),
        sqlite_where=sa.text("status = 'enqueued'"),
    )
    op.create_index(
        "ix_operon_runs_running",
        "operon_runs",
        ["executor"],
        postgresql_where=sa.text("status = 'running'"),
        sqlite_where=sa.text("status = 'running'"),
    )
    op.create_index(
        "ix_operon_runs_attributes",
        "operon_runs",
        ["attributes"],
        postgresql_using="gin",
        postgresql_ops={"attributes": "jsonb_path_ops"},
        postgresql_where=sa.text("attributes IS NOT NULL"),
        sqlite_where=sa.text("attributes IS NOT NULL"),
    )


def _create_checkpoints() -> None:
    op.create_table(
        "operon_checkpoints",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("output", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("codec", sa.Text()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("isolation", sa.Text()),
        sa.Column("executor", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("transaction_id", sa.BigInteger()),
        sa.Column("snapshot", sa.Text()),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_operon_checkpoints"),
    )


def _create_attempts() -> None:
    op.create_table(
        "operon_attempts",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("codec", sa.Text()),
        sa.Column("traceback", sa.Text()),
        sa.Column("sqlstate", sa.Text()),
        sa.Column("executor", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint(
            "run_id", "position", "attempt", name="pk_operon_attempts"
        ),
    )


def _create_executors() -> None:
    op.create_table(
        "operon_executors",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text()),
        sa.Column("pid_namespace", sa.Text()),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.Text()),
        sa.Column("code_version", sa.Text()),
        sa.Column("workflows", _JSON, nullable=False),
        sa.Column("queues", _JSON, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_operon_executors"),
    )
