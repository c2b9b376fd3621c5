"""The payment provider: stands for a company far away, so it has a file of its own.

What it promises is what such companies promise: the same idempotency key is the same
charge, however often it is asked for. It knows nothing of Operon or of the shop.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

LIMIT = Decimal("1000.00")
"""Larger amounts are declined."""
BAD_CARD = "declined"
"""The test card that is always declined."""

_PATIENCE = 30.0  # seconds that a request waits for the ones before it
_TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY,
    purchase TEXT NOT NULL,
    idempotency_key TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS charges (
    idempotency_key TEXT PRIMARY KEY,
    purchase TEXT NOT NULL,
    amount TEXT NOT NULL,
    reference TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS refunds (
    purchase TEXT PRIMARY KEY
);
"""


class PaymentDeclinedError(Exception):
    """The provider will not take the money; asking again would not help."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the payment was declined: {reason}")


@dataclass(frozen=True)
class Charge:
    """Money that was taken."""

    amount: Decimal
    reference: str
    """The provider's own number."""
    idempotency_key: str


@dataclass(frozen=True)
class PaymentProvider:
    """Takes money and gives it back, and remembers both in the file at *path*."""

    path: Path

    def charge(
        self, purchase: str, amount: Decimal, card: str, *, idempotency_key: str
    ) -> Charge:
        """Take *amount* from *card*, once per *idempotency_key*.

        Args:
            purchase: The shop's own name for what is paid.
            amount: In the shop's currency.
            card: The customer's.
            idempotency_key: With one that was used, that charge is returned.

        Raises:
            PaymentDeclinedError: The card or the amount is not accepted, or the
                purchase was refunded already.
            ConnectionError: The provider cannot be reached; ask again.
        """
        with self._transaction() as ledger:
            ledger.execute(
                "INSERT INTO requests (purchase, idempotency_key) VALUES (?, ?)",
                (purchase, idempotency_key),
            )
            reason = _find_objection(ledger, purchase, amount, card)
            if reason is None:
                ledger.execute(
                    "INSERT INTO charges VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (idempotency_key, purchase, str(amount), f"pay_{uuid4().hex}"),
                )
            taken = ledger.execute(
                "SELECT amount, reference FROM charges WHERE idempotency_key = ?",
                (idempotency_key,),
            ).fetchone()
        if reason is not None:
            raise PaymentDeclinedError(reason)
        return Charge(Decimal(taken[0]), taken[1], idempotency_key)

    def refund(self, purchase: str) -> None:
        """Give back whatever was taken for *purchase*, and take nothing for it later.

        Raises:
            ConnectionError: The provider cannot be reached; ask again.
        """
        with self._transaction() as ledger:
            ledger.execute(
                "INSERT INTO refunds VALUES (?) ON CONFLICT DO NOTHING", (purchase,)
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Open the ledger for one request; what it writes is durable in the end."""
        try:
            ledger = sqlite3.connect(self.path, _PATIENCE, isolation_level=None)
            with closing(ledger):
                ledger.execute("BEGIN IMMEDIATE")
                for statement in _TABLES.split(";"):
                    ledger.execute(statement)
                yield ledger
                ledger.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise ConnectionError(f"the provider does not answer: {error}") from error


def _find_objection(
    ledger: sqlite3.Connection, purchase: str, amount: Decimal, card: str
) -> str | None:
    """Return why the provider does not take the money, or None if it does."""
    if card == BAD_CARD:
        return "the bank refuses the card"
    if amount > LIMIT:
        return f"{amount} is more than {LIMIT}"
    refunded = ledger.execute("SELECT 1 FROM refunds WHERE purchase = ?", (purchase,))
    return "it was refunded" if refunded.fetchone() else None


def provider() -> PaymentProvider:
    """Return the provider that this shop has a contract with."""
    return PaymentProvider(Path(os.environ.get("SAMPLE_APP_PAYMENTS", "payments.db")))
