"""What a relay takes for its database."""

from __future__ import annotations

from rmqpool.errors import ConfigurationError
from rmqpool.outbox.adapters import lender_of
from rmqpool.outbox.adapters.long_loan import LongLender
from rmqpool.outbox.conninfo import read_conninfo

__all__ = ["database_of_relay"]


def database_of_relay(database: object, *, doorbell: bool, pgbouncer: bool) -> str | LongLender:
    """A URL that can be read, or who lends as many connections of psycopg 3 as it needs. Raises ConfigurationError."""
    if isinstance(database, str):
        read_conninfo(database)  # a mistake shows here, not in the log of a thread
        return database
    lender = lender_of(database, "a relay")
    if lender.driver != "psycopg":
        raise ConfigurationError(
            f"a relay needs connections of psycopg 3, for LISTEN and for what they do in one round trip, and {lender.what} "
            "has psycopg 2: give it a URL"
        )
    connections = 3 if doorbell and not pgbouncer else 2
    largest = lender.largest
    if largest is not None and largest < connections:
        raise ConfigurationError(
            f"a relay keeps {connections} connections for as long as it runs, and {lender.what} has {largest} at most: "
            "make it larger, or give the relay a URL"
        )
    return LongLender(lender, session=not pgbouncer)
