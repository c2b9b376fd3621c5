"""HTTP requests with an idempotency key, and whose runs are whose."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "operon_0003"
down_revision = "operon_0002"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Create the table and the index."""
    op.create_table(
        "operon_requests",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text()),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", _JSON),
        sa.Column("body", sa.Text()),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pruned_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("scope", "key", name="pk_operon_requests"),
    )
    for name, condition in (
        ("ix_operon_requests_unpruned", "pruned_at IS NULL"),
        ("ix_operon_requests_pruned", "pruned_at IS NOT NULL"),
    ):
        op.create_index(
            name,
            "operon_requests",
            ["received_at"],
            postgresql_where=sa.text(condition),
            sqlite_where=sa.text(condition),
        )

    op.create_index(
        "ix_operon_runs_principal",
        "operon_runs",
        ["principal"],
        postgresql_using="gin",
        postgresql_ops={"principal": "jsonb_path_ops"},
        postgresql_where=sa.text("principal IS NOT NULL"),
        sqlite_where=sa.text("principal IS NOT NULL"),
    )


def downgrade() -> None:
    """Drop both, and with them every answer that could be repeated."""
    op.drop_index("ix_operon_runs_principal", "operon_runs")
    op.drop_table("operon_requests")
