"""What type checkers know the application's pools by, also where a library is not installed or tells no types.

Nothing of it is used at run time: there :func:`rmqpool.outbox.adapters.is_pool` decides.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

__all__ = ["AsyncEngine", "AsyncpgPool", "DjangoAlias", "DjangoProxy", "Engine"]

_Connection = TypeVar("_Connection", covariant=True)


class Engine(Protocol[_Connection]):
    """``sqlalchemy.Engine``, by the connections that it makes."""

    def connect(self) -> _Connection: ...

    def dispose(self) -> None: ...


class AsyncEngine(Protocol[_Connection]):
    """``sqlalchemy.ext.asyncio.AsyncEngine``."""

    def connect(self) -> _Connection: ...

    def dispose(self) -> Coroutine[Any, Any, None]: ...


class DjangoAlias(Protocol):
    """``django.db.connections[alias]``."""

    @property
    def alias(self) -> str: ...

    @property
    def settings_dict(self) -> dict[str, Any]: ...


class DjangoProxy(Protocol):
    """``django.db.connection``, which has all that the alias has."""

    def __getattr__(self, name: str, /) -> Any: ...


class AsyncpgPool(Protocol):
    """``asyncpg.Pool``."""

    def acquire(self) -> Any: ...

    def terminate(self) -> None: ...
