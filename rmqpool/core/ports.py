"""What the worker and its neighbours know of each other: inbox, services, middleware. Protocols only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol, runtime_checkable

__all__ = ["AsyncBatchInboxPort", "AsyncInboxPort", "BatchInboxPort", "ConsumerPort", "InboxPort", "Service"]


@runtime_checkable
class InboxPort(Protocol):
    """Marks messages as handled, in the handler's own transaction. For ``def`` handlers; thread-safe.

    Where the database cannot be reached, ``transaction`` raises InboxUnavailableError: nothing was done then.
    """

    @property
    def is_async(self) -> bool: ...

    @property
    def consumer(self) -> str | None: ...

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

    @property
    def is_async(self) -> bool: ...

    @property
    def consumer(self) -> str | None: ...

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


class ConsumerPort(Protocol):
    """A running consumer, as its middleware sees it. Thread-safe; everything returns at once."""

    @property
    def queue(self) -> str:
        """The queue's name."""
        ...

    @property
    def settles_by_hand(self) -> bool:
        """True if its handler settles the messages itself (``ack="manual"``), perhaps long after it returned."""
        ...

    @property
    def takes_batches(self) -> bool:
        """True if one call of its handler handles many messages: hooks are called for each of them."""
        ...

    def pause(self, reason: str) -> None:
        """Get no more messages until told otherwise; ``reason`` is a sentence for the log and the figures.

        What was delivered goes on. While it is paused the consumer is not ready.
        """
        ...

    def allow(self, messages: int) -> None:
        """While it is paused: have at most so many delivered ahead (0: none), to try them."""
        ...

    def resume(self, reason: str) -> None:
        """Get messages again, as many as before."""
        ...

    def call_later(self, function: Callable[[], None], seconds: float) -> None:
        """Run ``function``, which must not block, on the worker's background thread; not at all if the worker stops before."""
        ...


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
