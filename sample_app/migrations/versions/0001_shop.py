"""The tables of the shop: products, orders, payments, repayments and shipments."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MONEY = sa.Numeric(12, 2).with_variant(sa.BigInteger(), "sqlite")  # cents there


def upgrade() -> None:
    """Create the tables; Operon's are there already."""
    _create_products()
    _create_orders()
    _create_payments()
    _create_repayments()
    _create_shipments()


def downgrade() -> None:
    """Drop the tables, with everything in them."""
    op.drop_table("shipments")
    op.drop_table("repayments")
    op.drop_table("payments")
    op.drop_table("orders")
    op.drop_table("products")


def _create_products() -> None:
    op.create_table(
        "products",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("price", _MONEY, nullable=False),
        sa.Column("stock", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sku", name="pk_products"),
        sa.CheckConstraint("stock >= 0", name="ck_products_stock_not_negative"),
    )


def _create_orders() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("total", _MONEY, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
        sa.ForeignKeyConstraint(["sku"], ["products.sku"], name="fk_orders_sku"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["operon_runs.id"], name="fk_orders_run_id"
        ),
        sa.UniqueConstraint("run_id", name="uq_orders_run_id"),
    )
    op.create_index("ix_orders_customer", "orders", ["customer"])


def _create_payments() -> None:
    op.create_table(
        "payments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("order_id", sa.Integer(), nullable=False),
        sa.Column("amount", _MONEY, nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_payments"),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.id"], name="fk_payments_order_id"
        ),
        sa.UniqueConstraint("order_id", name="uq_payments_order_id"),
        sa.UniqueConstraint("idempotency_key", name="uq_payments_idempotency_key"),
    )


def _create_repayments() -> None:
    op.create_table(
        "repayments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("order_id", sa.Integer(), nullable=False),
        sa.Column("amount", _MONEY, nullable=False),
        sa.Column("clerk", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_repayments"),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.id"], name="fk_repayments_order_id"
        ),
        sa.UniqueConstraint("order_id", name="uq_repayments_order_id"),
    )


def _create_shipments() -> None:
    op.create_table(
        "shipments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("order_id", sa.Integer(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("tracking", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_shipments"),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.id"], name="fk_shipments_order_id"
        ),
        sa.UniqueConstraint("order_id", name="uq_shipments_order_id"),
    )
