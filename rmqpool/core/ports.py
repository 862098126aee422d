"""What the worker knows of its neighbours: an inbox, and what runs beside its consumers. Protocols only."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol, runtime_checkable

__all__ = ["AsyncBatchInboxPort", "AsyncInboxPort", "BatchInboxPort", "InboxPort", "Service"]


@runtime_checkable
class InboxPort(Protocol):
    """Marks messages as handled, in the handler's own transaction. For ``def`` handlers; thread-safe.

    Where the database cannot be reached, ``transaction`` raises InboxUnavailableError: nothing was done then.
    """

    is_async: bool
    consumer: str | None

    def open(self, concurrency: int) -> None:
        """Get ready for so many handlers at once."""
        ...

    def transaction(self, consumer: str, message_id: str) -> AbstractContextManager[Any]:
        """The transaction in which the message is marked; None if it was handled before. Commits at the end."""
        ...

    def close(self) -> None:
        """Give everything back; may be opened again."""
        ...


@runtime_checkable
class AsyncInboxPort(Protocol):
    """As :class:`InboxPort`, for ``async def`` handlers, on the worker's event loop."""

    is_async: bool
    consumer: str | None

    def open(self, concurrency: int) -> None: ...

    def transaction(self, consumer: str, message_id: str) -> AbstractAsyncContextManager[Any]: ...

    async def close(self) -> None: ...


@runtime_checkable
class BatchInboxPort(Protocol):
    """What an inbox of a ``def`` handler of batches can do besides."""

    def transaction_for_many(
        self, consumer: str, message_ids: Sequence[str]
    ) -> AbstractContextManager[tuple[Any, set[str]]]:
        """One transaction in which all are marked, and which of them were not marked before. Commits at the end."""
        ...


class AsyncBatchInboxPort(Protocol):
    """As :class:`BatchInboxPort`, for ``async def`` handlers."""

    def transaction_for_many(
        self, consumer: str, message_ids: Sequence[str]
    ) -> AbstractAsyncContextManager[tuple[Any, set[str]]]: ...


class Service(Protocol):
    """Something that runs beside the consumers of a worker process, such as a relay. It lives once."""

    @property
    def name(self) -> str: ...

    @property
    def failure(self) -> BaseException | None:
        """What it died of; None while it lives, and after it was stopped."""
        ...

    def start(self) -> None:
        """Begin; returns at once."""
        ...

    def stop(self, timeout: float) -> bool:
        """End within ``timeout`` seconds; True if nothing was left over."""
        ...
