"""What waiting needs: mail, queues with limits, schedules, deadlines, chains."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "operon_0002"
down_revision = "operon_0001"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_BIGINT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LIVE = "status IN ('enqueued', 'running', 'waiting')"

_COLUMNS = (
    ("partition", sa.Text()),
    ("deduplication_key", sa.Text()),
    ("debounce_key", sa.Text()),
    ("chain_id", sa.Text()),
    ("continued_as", sa.Text()),
    ("timeout", sa.Interval()),
    ("deadline_at", sa.DateTime(timezone=True)),
    ("wait_kind", sa.Text()),
    ("wait_on", sa.Text()),
    ("wait_key", sa.Text()),
    ("wait_position", sa.Integer()),
    ("wait_until", sa.DateTime(timezone=True)),
    ("wake_at", sa.DateTime(timezone=True)),
)
_INDEXES = (
    (
        "ix_operon_runs_partition",
        ["queue", "partition", "priority", "due_at"],
        "partition IS NOT NULL AND status = 'enqueued'",
    ),
    ("ix_operon_runs_wake", ["wake_at"], "status = 'waiting'"),
    (
        "ix_operon_runs_wait",
        ["wait_on"],
        "wait_on IS NOT NULL AND status = 'waiting'",
    ),
    (
        "ix_operon_runs_deadline",
        ["deadline_at"],
        f"deadline_at IS NOT NULL AND {_LIVE}",
    ),
    ("ix_operon_runs_parent", ["parent_id"], f"parent_id IS NOT NULL AND {_LIVE}"),
    (
        "ix_operon_runs_chain",
        ["chain_id"],
        "chain_id IS NOT NULL AND continued_as IS NULL",
    ),
    (
        "uq_operon_runs_deduplication",
        ["queue", "deduplication_key"],
        f"deduplication_key IS NOT NULL AND {_LIVE}",
    ),
    (
        "uq_operon_runs_debounce",
        ["queue", "debounce_key"],
        "debounce_key IS NOT NULL AND status = 'enqueued' AND started_at IS NULL",
    ),
)


def upgrade() -> None:
    """Add the columns and indexes of runs, and create the tables around them."""
    for name, kind in _COLUMNS:
        op.add_column("operon_runs", sa.Column(name, kind))
    op.add_column("operon_checkpoints", sa.Column("open_from", sa.Integer()))
    for name, columns, where in _INDEXES:
        op.create_index(
            name,
            "operon_runs",
            columns,
            unique=name.startswith("uq_"),
            postgresql_where=sa.text(where),
            sqlite_where=sa.text(where),
        )
    _create_messages()
    _create_events()
    _create_streams()
    _create_queues()
    _create_schedules()


def downgrade() -> None:
    """Drop what `upgrade` made, with everything in it; waiting runs look again."""
    op.execute("UPDATE operon_runs SET status = 'enqueued' WHERE status = 'waiting'")
    for table in ("schedules", "partitions", "queues", "streams", "events", "messages"):
        op.drop_table(f"operon_{table}")
    for name, _, _ in _INDEXES:
        op.drop_index(name, "operon_runs")
    op.drop_column("operon_checkpoints", "open_from")
    for name, _ in reversed(_COLUMNS):
        op.drop_column("operon_runs", name)


def _create_messages() -> None:
    op.create_table(
        "operon_messages",
        # an identity needs no right on a sequence, so that DML is enough
        sa.Column("id", _BIGINT, sa.Identity(), nullable=False, autoincrement=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("codec", sa.Text()),
        sa.Column("idempotency_key", sa.Text()),
        sa.Column("sender", sa.Text()),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_by", sa.Text()),
        sa.Column("position", sa.Integer()),
        sa.PrimaryKeyConstraint("id", name="pk_operon_messages"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_operon_messages_unread",
        "operon_messages",
        ["run_id", "topic", "id"],
        postgresql_where=sa.text("received_by IS NULL"),
        sqlite_where=sa.text("received_by IS NULL"),
    )
    op.create_index(
        "uq_operon_messages_key",
        "operon_messages",
        ["run_id", "idempotency_key"],
        unique=True,
    )


def _create_events() -> None:
    op.create_table(
        "operon_events",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("codec", sa.Text()),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "key", name="pk_operon_events"),
    )


def _create_streams() -> None:
    op.create_table(
        "operon_streams",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("offset", sa.Integer(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("codec", sa.Text()),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "stream", "offset", name="pk_operon_streams"),
    )


def _create_queues() -> None:
    op.create_table(
        "operon_queues",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("concurrency", sa.Integer()),
        sa.Column("per_executor", sa.Integer()),
        sa.Column("rate_limit", sa.Integer()),
        sa.Column("rate_period", sa.Interval()),
        sa.Column("partitioned", sa.Boolean(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True)),
        sa.Column("declared", _JSON),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_operon_queues"),
    )
    op.create_table(
        "operon_partitions",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("recent", sa.Text()),
        sa.PrimaryKeyConstraint("queue", "partition", name="pk_operon_partitions"),
    )


def _create_schedules() -> None:
    op.create_table(
        "operon_schedules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("takes_tick", sa.Boolean(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("catch_up", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True)),
        sa.Column("last_tick_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("declared", _JSON),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_operon_schedules"),
    )
