"""What the outbox asks of a database library, and what the server's refusals mean."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

from rmqpool.errors import NotInTransactionError, OutboxSchemaError
from rmqpool.outbox.refusals import schema_reason
from rmqpool.outbox.statements import Style
from rmqpool.outbox.tables import Tables

__all__ = ["FAILED", "AsyncDriver", "SyncDriver", "aborted", "autocommit", "explain", "is_failed", "named", "role_of"]

FAILED = "25P02"
"""in_failed_sql_transaction: where a library does not tell the state beforehand, the server tells it."""
_INERROR = 3  # PQTRANS_INERROR: the same number in psycopg and psycopg 2


class SyncDriver(Protocol):
    """Executes on the caller's connection, in the caller's transaction, and leaves both to the caller.

    ``execute`` and ``fetch`` raise what :func:`explain` makes of the server's refusal, with the names of ``tables``, and
    the library's own error otherwise: the application's handling of serialization failures must go on to work.
    """

    @property
    def style(self) -> Style:
        """How the library writes placeholders."""
        ...

    def check_transaction(self, connection: Any) -> None:
        """Raise NotInTransactionError if what is executed now would be committed at once, or nothing can be executed."""
        ...

    def execute(self, connection: Any, sql: str, parameters: Sequence[Any], tables: Tables) -> None:
        """Run one statement; its rows are of no interest."""
        ...

    def fetch(self, connection: Any, sql: str, parameters: Sequence[Any], tables: Tables) -> Any:
        """Run one statement, and return the first column of its only row."""
        ...


class AsyncDriver(Protocol):
    """As :class:`SyncDriver`, awaited."""

    @property
    def style(self) -> Style: ...

    async def check_transaction(self, connection: Any) -> None: ...

    async def execute(self, connection: Any, sql: str, parameters: Sequence[Any], tables: Tables) -> None: ...

    async def fetch(self, connection: Any, sql: str, parameters: Sequence[Any], tables: Tables) -> Any: ...


_READ_ONLY = "25006"  # postgresql.org/docs/current/errcodes-appendix.html


def explain(
    error: BaseException, sqlstate: str | None, tables: Tables, role: str | None = None
) -> OutboxSchemaError | None:
    """What the server's refusal means for the outbox; None for everything that is the application's own business.

    ``role`` is the connection's, where the library tells it.
    """
    reason = schema_reason(sqlstate, tables, "write", role)
    if sqlstate == _READ_ONLY:
        reason = "the transaction is read-only: a standby, or default_transaction_read_only; write through the primary"
    if reason is None:
        return None
    return OutboxSchemaError(f"nothing was written to the outbox: {reason} (Postgres said: {str(error).strip()})")


def role_of(raw: Any) -> str | None:
    """The name of the role that connected, of a connection of psycopg, psycopg 2 or asyncpg; None if it does not tell."""
    with contextlib.suppress(Exception):  # for a better word only: a broken connection may raise anything
        if hasattr(raw, "info"):
            return str(raw.info.user)
        return str(raw.get_settings().session_authorization)
    return None


def is_failed(raw: Any) -> bool:
    """Whether the transaction on a connection of psycopg or psycopg 2 failed; False for what does not tell."""
    return getattr(getattr(raw, "info", None), "transaction_status", None) == _INERROR


def autocommit(what: str, way_out: str = "Begin a transaction around both") -> NotInTransactionError:
    """The connection would commit each statement by itself."""
    return NotInTransactionError(
        f"nothing was written: {what} is in autocommit and in no transaction, so the message would be sent even if "
        f"what belongs to it fails. {way_out}"
    )


def aborted(what: str) -> NotInTransactionError:
    """An earlier statement of the transaction failed."""
    return NotInTransactionError(
        f"nothing was written: an earlier statement failed in the transaction of {what}, which can only be rolled back"
    )


def named(parameters: Sequence[Any]) -> dict[str, Any]:
    """The parameters by the names that the style gives them."""
    return {f"p{number}": value for number, value in enumerate(parameters, 1)}
