"""What the libraries raise, as psycopg 3's errors: the rest of the outbox decides by those."""

from __future__ import annotations

import psycopg

__all__ = ["as_psycopg"]

_LIBRARIES = ("psycopg2", "asyncpg")
_LOST = ("OperationalError", "InterfaceError", "InternalClientError")


def as_psycopg(error: BaseException) -> psycopg.Error | None:
    """psycopg's error of the same SQLSTATE; None for what is no error of a database library.

    Looks behind SQLAlchemy's and Django's wrappers. A library's error without a SQLSTATE, which says that the connection is
    not what it was, is an OperationalError.
    """
    cause = _cause_of(error)
    if isinstance(cause, psycopg.Error):
        return cause
    if type(cause).__module__.partition(".")[0] not in _LIBRARIES:
        return None
    state = _state_of(cause)
    words = str(cause).strip() or type(cause).__name__
    if state is not None:
        try:
            kind = psycopg.errors.lookup(state)
        except KeyError:
            kind = _with_state(state)
        return kind(words)
    if any(base.__name__ in _LOST for base in type(cause).__mro__):
        return psycopg.OperationalError(words)
    return psycopg.DatabaseError(words)


def _cause_of(error: BaseException) -> BaseException:
    """What the driver raised."""
    for _ in range(4):
        library = type(error).__module__.partition(".")[0]
        inner = getattr(error, "orig", None) if library == "sqlalchemy" else None
        # Django's errors, and SQLAlchemy's own for asyncpg, are raised from the driver's.
        if inner is None and library in ("django", "sqlalchemy"):
            inner = error.__cause__
        if not isinstance(inner, BaseException):
            return error
        error = inner
    return error


def _state_of(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else None


def _with_state(state: str) -> type[psycopg.Error]:
    """A code that psycopg does not know. Class 08, 53, 57: the connection's or the server's trouble."""
    base = psycopg.OperationalError if state[:2] in ("08", "53", "57") else psycopg.DatabaseError
    return type("OtherError", (base,), {"sqlstate": state})
