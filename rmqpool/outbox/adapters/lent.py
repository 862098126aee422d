"""Functions that work on a psycopg connection take a URL, or a pool of the application's, in its place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from rmqpool.errors import ConfigurationError

if TYPE_CHECKING:
    import psycopg

__all__ = ["lent"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def lent(
    function: Callable[Concatenate[psycopg.Connection[Any], _P], _T],
) -> Callable[Concatenate[object, _P], _T]:
    """The first argument may be a psycopg connection, a URL, a psycopg_pool.ConnectionPool, a SQLAlchemy Engine, or
    ``django.db.connections[alias]``. Adds ConfigurationError, ConnectionFailedError and PoolError to what is raised.
    """

    @functools.wraps(function)
    def call(connection: object, /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        try:
            from rmqpool.outbox.adapters.sessions import session
        except ModuleNotFoundError as error:
            if error.name not in ("psycopg", "psycopg_pool"):
                raise
            raise ConfigurationError(
                f"{function.__name__} needs {error.name}, also on another library's connection: "
                "pip install 'rmqpool[postgres]'"
            ) from error
        with session(connection) as lent_one:
            return function(lent_one, *arguments, **named)

    return call
