"""HTTP requests with an idempotency key, and their answers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "operon_0003"
down_revision = "operon_0002"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Create the table."""
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


def downgrade() -> None:
    """Drop it, and with it every answer that could be repeated."""
    op.drop_table("operon_requests")
