"""In which trace a run was started."""

import sqlalchemy as sa
from alembic import op

revision = "operon_0004"
down_revision = "operon_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; both databases do so without touching a row."""
    op.add_column("operon_runs", sa.Column("traceparent", sa.Text()))
    op.add_column("operon_runs", sa.Column("tracestate", sa.Text()))


def downgrade() -> None:
    """Drop them: runs begin traces of their own."""
    op.drop_column("operon_runs", "tracestate")
    op.drop_column("operon_runs", "traceparent")
