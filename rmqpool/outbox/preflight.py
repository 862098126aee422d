"""What would keep a relay waiting for somebody's help, looked for before it starts."""

from __future__ import annotations

from contextlib import ExitStack, suppress

from rmqpool.errors import ConnectionFailedError, ConnectionLostError, OutboxSchemaError, PoolError
from rmqpool.outbox.adapters.sessions import session
from rmqpool.outbox.connect_failures import PERMANENT
from rmqpool.outbox.inspection_connection import explained
from rmqpool.outbox.migrations import check_version
from rmqpool.outbox.refusals import grant_advice
from rmqpool.outbox.rights import missing_grants
from rmqpool.outbox.tables import Tables

__all__ = ["check_start"]


def check_start(database: object, tables: Tables) -> None:
    """Raise what a relay on this database (a URL, or a pool of the application's) would wait for in vain, until somebody
    changes something.

    ConnectionFailedError: wrong password, unknown role or database. OutboxSchemaError: tables that are missing or of
    another version, rights that are missing. A server that is not there, or goes away, is no reason: it comes by itself.
    """
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(session(database, name="rmqpool outbox relay"))
        except PoolError:
            return
        except ConnectionFailedError as error:
            if error.stage in PERMANENT:
                raise
            return
        with suppress(ConnectionLostError), explained(connection, tables):
            check_version(connection, tables)
            lacking = missing_grants(connection, tables, "relay")
            if lacking:
                raise OutboxSchemaError(f"a relay needs rights that its role has not; {grant_advice(lacking)}")
