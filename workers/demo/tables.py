"""The demo's own tables, beside those of the outbox."""

from __future__ import annotations

import psycopg

from rmqpool.outbox import Tables
from rmqpool.outbox.migrations import migrate

__all__ = ["SCHEMA", "create_tables"]

# Nothing here is unique: an effect that happened twice would show.
SCHEMA = """
CREATE TABLE orders (message_id text NOT NULL, content jsonb NOT NULL);
CREATE TABLE shipments (
    order_id text NOT NULL,
    message_id text NOT NULL,
    worker text NOT NULL,
    shipped_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""
"""``orders`` is the service's, ``shipments`` the workers': one row for each order that was handled."""


def create_tables(database: str) -> None:
    """Make the outbox's tables and the demo's in an empty database. Raises psycopg.Error."""
    with psycopg.connect(database) as connection:
        migrate(connection, Tables())
        connection.execute(SCHEMA.encode())
