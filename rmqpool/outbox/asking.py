"""What looks at a database, written once for connections that block and for those that are awaited.

Such functions are coroutines, and ask through an :class:`Ask`. On a connection that blocks nothing ever suspends them, so
:func:`at_once` runs them to their end without an event loop.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import psycopg

__all__ = ["Ask", "asking", "at_once"]

_T = TypeVar("_T")


class Ask(Protocol):
    """Asks within the transaction that is open."""

    async def __call__(self, sql: str, /, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement with ``%s`` (and ``%%`` for a ``%``), and return its rows. Raises its library's errors."""
        ...


def asking(cursor: psycopg.Cursor[Any]) -> Ask:
    """Asks on a cursor that blocks."""

    async def ask(sql: str, /, *parameters: Any) -> list[tuple[Any, ...]]:
        return cursor.execute(sql.encode(), parameters).fetchall()

    return ask


def at_once(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """What it returns. Raises what it raises, and RuntimeError if it waits: what it asks must block."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    coroutine.close()
    raise RuntimeError("this waits for an event loop, and was run without one")
