"""What is asked of the application's pool, whatever library it is of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["AsyncBorrowed", "AsyncLender", "Borrowed", "Lender"]

_Parameters = Sequence[Any] | None


class Borrowed(Protocol):
    """One connection of the application's, from :meth:`Lender.take` on. Belongs to one thread.

    It ends with :meth:`give_back` or :meth:`discard`; whichever comes second does nothing.
    """

    @property
    def native(self) -> Any:
        """What the application's code and an Outbox work with: a connection of the pool's library."""
        ...

    @property
    def raw(self) -> Any:
        """The driver's connection beneath: psycopg 3's or psycopg 2's; None if there is none any more."""
        ...

    def begin(self) -> None:
        """Begin a transaction, where the library does not do so by itself."""
        ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def execute(self, sql: str, parameters: Any = None) -> Any:
        """Run one statement with the driver's own placeholders; returns the library's cursor or result."""
        ...

    def rows(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one statement of ours, with ``%s``; returns its rows as tuples."""
        ...

    def give_back(self) -> None:
        """To the pool, outside of a transaction."""
        ...

    def discard(self) -> None:
        """Broken, or in a state that nobody knows: the pool is to have another one in its place."""
        ...


class Lender(Protocol):
    """The application's pool. Thread-safe."""

    @property
    def what(self) -> str:
        """What it is, for errors and logs. Without a password."""
        ...

    @property
    def driver(self) -> str:
        """``psycopg`` or ``psycopg2``."""
        ...

    @property
    def largest(self) -> int | None:
        """How many connections there are at most; None: any number, or not known."""
        ...

    def take(self, deadline: float, *, own: bool = False) -> Borrowed:
        """A connection that is not known to be dead, before ``deadline`` (monotonic).

        ``own``: it may be used beside others of the same thread, and moved between threads. Raises PoolTimeoutError,
        TooManyWaitingError, PoolClosedError, ConnectionFailedError.
        """
        ...

    def state(self) -> str:
        """Its sizes now, in a few words."""
        ...

    def sizes(self) -> tuple[int, int, int]:
        """Connections now, at most, and idle; 0 for what is not known."""
        ...

    def forget(self) -> None:
        """Called in a forked child: what is open belongs to the parent. Raises nothing."""
        ...


class AsyncBorrowed(Protocol):
    """As :class:`Borrowed`, awaited; belongs to one task."""

    @property
    def native(self) -> Any: ...

    async def begin(self) -> None: ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...

    async def execute(self, sql: str, parameters: Any = None) -> Any: ...

    async def rows(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]: ...

    @property
    def is_lost(self) -> bool: ...

    @property
    def is_idle(self) -> bool:
        """It is open, and in no transaction."""
        ...

    async def status(self) -> int:
        """libpq's status of the transaction; asks the server where the library does not know that it has failed."""
        ...

    async def give_back(self) -> None: ...

    async def discard(self) -> None: ...


class AsyncLender(Protocol):
    """As :class:`Lender`, awaited; belongs to one event loop."""

    @property
    def what(self) -> str: ...

    async def take(self, deadline: float) -> AsyncBorrowed: ...

    def state(self) -> str: ...

    def sizes(self) -> tuple[int, int, int]: ...
