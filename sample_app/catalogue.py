"""The catalogue: what the shop sells, and how its shelves are filled at first."""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import transaction
from sample_app.models import Product

ASSORTMENT = (
    ("notebook-a5", "Notebook, A5, dotted", "12.90", 400),
    ("notebook-a6", "Notebook, A6, blank", "8.50", 400),
    ("pencil-hb", "Pencil, HB, box of twelve", "9.20", 300),
    ("pencil-4b", "Pencil, 4B, box of twelve", "9.80", 250),
    ("fountain-pen", "Fountain pen, fine nib", "46.00", 60),
    ("ink-blue", "Ink, royal blue, 50 ml", "11.40", 200),
    ("ink-black", "Ink, carbon black, 50 ml", "11.40", 200),
    ("eraser", "Eraser, natural rubber", "2.30", 800),
    ("sharpener", "Sharpener, brass", "6.70", 150),
    ("ruler-30", "Ruler, steel, 30 cm", "7.90", 120),
    ("desk-lamp", "Desk lamp, brass", "129.00", 12),
    ("globe-1928", "Globe, 1928, restored", "890.00", 1),
)
"""Sku, name, price and first stock of each product."""


@dataclass(frozen=True)
class ProductView:
    """A product as customers see it."""

    sku: str
    name: str
    price: Decimal
    stock: int


@transaction
def stock_shelves(session: Session) -> int:
    """Add the products that are not there yet; return how many."""
    known = set(session.scalars(select(Product.sku)))
    missing = [
        Product(sku=sku, name=name, price=Decimal(price), stock=stock)
        for sku, name, price, stock in ASSORTMENT
        if sku not in known
    ]
    session.add_all(missing)
    return len(missing)


@transaction(read_only=True, isolation="REPEATABLE READ")
def list_products(session: Session) -> list[ProductView]:
    """Return every product, by name."""
    return [
        ProductView(product.sku, product.name, product.price, product.stock)
        for product in session.scalars(select(Product).order_by(Product.name))
    ]
