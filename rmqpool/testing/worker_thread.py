"""A worker beside the test: started, stopped, and what its handlers raise is raised in the test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from rmqpool.message import Delivery
from rmqpool.middleware import Middleware
from rmqpool.pool import ConnectionPool
from rmqpool.settings import ConnectionSettings
from rmqpool.testing.errors import ServicesError
from rmqpool.testing.waiting import wait_until
from rmqpool.worker import Reject, Retry, Skip, Worker

__all__ = ["HandlerFailure", "WorkerThread"]


@dataclass(frozen=True, slots=True)
class HandlerFailure:
    """What a handler, or the decoding before it, raised, and for which message. Verdicts (Retry, Reject, Skip) are none."""

    delivery: Delivery
    error: BaseException


class WorkerThread:
    """A context manager around ``worker.start()`` and ``stop()``; the worker is as it was afterwards.

    ``pool`` and ``queues`` as for :meth:`Worker.start`; ``grace``: seconds for running handlers at the end. Leaving the
    block raises what a handler raised, unless :meth:`take_failures` took it, or the block ends by an exception of its own.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        pool: ConnectionPool | ConnectionSettings | str | None = None,
        queues: Iterable[str] | None = None,
        grace: float = 5.0,
        timeout: float = 10.0,
    ) -> None:
        self.worker = worker
        self._pool = pool
        self._queues = queues
        self._grace = grace
        self._timeout = timeout
        self._failures: list[HandlerFailure] = []

    def wait_handled(self, count: int = 1, timeout: float = 5.0) -> None:
        """Wait until handlers have returned for ``count`` messages in all. Raises at once what a handler raises instead;
        ServicesError, with the worker's figures, after ``timeout`` seconds.
        """

        def is_over() -> bool:
            return bool(self._failures) or self.worker.stats().handled >= count

        try:
            wait_until(is_over, f"{count} handled messages", timeout=timeout)
        except ServicesError as error:
            raise ServicesError(f"{error} {self.worker!r}") from None
        self.raise_failures()

    def raise_failures(self) -> None:
        """Raise what handlers have raised: the only error, or an ExceptionGroup of all."""
        errors = [failure.error for failure in self.take_failures()]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup(f"{len(errors)} messages failed", errors)

    def take_failures(self) -> list[HandlerFailure]:
        """What handlers have raised and nobody has looked at: from here on it fails the test no more."""
        taken, self._failures[:] = list(self._failures), []
        return taken

    def stop(self) -> None:
        """Stop the worker. Raises what it died of; ServicesError if a handler did not end in time."""
        ended = self.worker.stop(self._grace)
        runner = self.worker._runner  # a test may look behind the curtain
        if runner is not None and runner.error is not None:
            raise runner.error
        if not ended:
            raise ServicesError(
                f"{self.worker!r}: a handler still ran {self._grace:g} s after the test asked it to stop."
            )

    def __enter__(self) -> Self:
        definitions = self.worker._definitions
        self._before = list(definitions)
        recorder = _Recorder(self._failures)
        definitions[:] = [replace(one, middleware=(recorder, *one.middleware)) for one in definitions]
        try:
            self.worker.start(pool=self._pool, queues=self._queues, timeout=self._timeout)
        except BaseException:
            definitions[:] = self._before
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self.worker._definitions[:] = self._before
        if error is None:
            self.raise_failures()

    def __repr__(self) -> str:
        return f"<WorkerThread of {self.worker!r}, {len(self._failures)} failures>"


class _Recorder(Middleware):
    def __init__(self, failures: list[HandlerFailure]) -> None:
        self._failures = failures

    def on_handle_error(self, delivery: Delivery, state: Any, error: BaseException) -> None:
        if not isinstance(error, Retry | Reject | Skip):
            self._failures.append(HandlerFailure(delivery, error))
