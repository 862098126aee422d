"""What ``@worker.consumer(...)`` was told, checked at once: a mistake shows when the module is imported."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rmqpool.core.ports import AsyncInboxPort, InboxPort
from rmqpool.core.prefetch import PREFETCH_FACTOR, PREFETCH_MAX, AdaptivePrefetch
from rmqpool.core.retry import RetryPolicy
from rmqpool.errors import ConfigurationError
from rmqpool.middleware import Middleware, checked
from rmqpool.topology import DEAD_DELIVERY_LIMIT, Queue, Topology, dead_queue_name, expand, retry_queue
from rmqpool.worker.guard_options import BY_DEFAULT, GuardOptions, PrefetchOption, prefetch_option
from rmqpool.worker.handlers import Handler, content_types, inspect_handler

__all__ = ["ConsumerDefinition", "define", "select", "topology_of", "with_declared"]

_MOST_THREADS = 10_000


@dataclass(frozen=True, slots=True)
class ConsumerDefinition:
    """One registered consumer. ``prefetch`` None is PREFETCH_FACTOR times ``concurrency``, at most PREFETCH_MAX."""

    queue: Queue
    handler: Handler
    concurrency: int
    prefetch: int | AdaptivePrefetch | None
    on_error: Literal["park", "requeue"]
    ack: Literal["auto", "manual"]
    redeclare: bool
    inbox: InboxPort | AsyncInboxPort | None = None
    retry: RetryPolicy | None = None
    middleware: tuple[Middleware, ...] = ()
    parking_as: Queue | None = None  # how the worker declares the parking queue, if it does
    guards: GuardOptions = BY_DEFAULT

    @property
    def messages_ahead(self) -> int:
        """The prefetch count that the broker is asked for at the start."""
        if isinstance(self.prefetch, AdaptivePrefetch):
            return self.prefetch.start(self.concurrency)
        return min(PREFETCH_MAX, PREFETCH_FACTOR * self.concurrency) if self.prefetch is None else self.prefetch

    @property
    def parking_queue(self) -> str:
        """The queue that failed messages are parked in: the queue's own dead-letter queue, or ``<queue>.dead``."""
        return self.queue.dead_letter_queue or dead_queue_name(self.queue.name)

    def parking(self) -> Queue:
        """The queue of :attr:`parking_queue` as a value."""
        if self.parking_as is not None:
            return self.parking_as
        implied = self.queue.implied()
        return (
            implied[0] if implied else Queue(self.parking_queue, delivery_limit=DEAD_DELIVERY_LIMIT, dead_letter=None)
        )

    def ladder(self) -> tuple[Queue, ...]:
        """The queues in which messages wait for their next attempt."""
        if self.retry is None:
            return ()
        return tuple(retry_queue(self.queue.name, step) for step in self.retry.steps)

    def with_overrides(self, concurrency: int | None, prefetch: int | None) -> ConsumerDefinition:
        """The same with what the command line says."""
        changed = self
        if concurrency is not None:
            changed = replace(changed, concurrency=_whole("concurrency", concurrency, _MOST_THREADS))
        if prefetch is not None:
            changed = replace(changed, prefetch=_whole("prefetch", prefetch, PREFETCH_MAX))
        return changed


def define(
    function: Callable[..., Any],
    queue: str | Queue,
    *,
    concurrency: int,
    prefetch: PrefetchOption,
    declared_as: Queue | None,
    on_error: Literal["park", "requeue"],
    ack: Literal["auto", "manual"],
    accept: Collection[str],
    redeclare: bool,
    inbox: InboxPort | AsyncInboxPort | None = None,
    retry: RetryPolicy | None = None,
    middleware: Iterable[Middleware] = (),
    guards: GuardOptions = BY_DEFAULT,
) -> ConsumerDefinition:
    """Check everything. Raises ConfigurationError that says what to write instead."""
    value = _queue(queue, declared_as)
    if on_error not in ("park", "requeue"):
        raise ConfigurationError(f"on_error is {on_error!r}; it must be 'park' or 'requeue'")
    if ack not in ("auto", "manual"):
        raise ConfigurationError(f"ack is {ack!r}; it must be 'auto' or 'manual'")
    handler = inspect_handler(function, content_types(accept))
    if ack == "manual" and not handler.takes_delivery:
        raise ConfigurationError(
            f"handler {handler.name} has ack='manual' but does not take the delivery that it must settle: "
            "add a parameter 'delivery: Delivery'"
        )
    _check_inbox(handler, inbox, ack)
    _check_retry(handler, retry, on_error)
    return ConsumerDefinition(
        value,
        handler,
        _whole("concurrency", concurrency, _MOST_THREADS),
        prefetch_option(prefetch),
        on_error,
        ack,
        redeclare,
        inbox,
        retry,
        checked(middleware, f"handler {handler.name}"),
        guards=guards,
    )


def select(
    definitions: Sequence[ConsumerDefinition], queues: Iterable[str] | None, worker: str
) -> list[ConsumerDefinition]:
    """Those that consume one of ``queues``; all for None. Raises ConfigurationError for a queue that nobody consumes."""
    if not definitions:
        raise ConfigurationError(
            f"worker {worker!r} has no consumer: decorate a handler with @worker.consumer('queue')"
        )
    if queues is None:
        return list(definitions)
    known = {definition.queue.name: definition for definition in definitions}
    chosen: dict[str, ConsumerDefinition] = {}
    for name in queues:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it consumes: {', '.join(sorted(known))}"
            raise ConfigurationError(f"worker {worker!r} does not consume queue {name!r}; {hint}")
        chosen[name] = known[name]
    if not chosen:
        raise ConfigurationError(f"no queue was chosen for worker {worker!r}; it consumes: {', '.join(sorted(known))}")
    return list(chosen.values())


def topology_of(definitions: Iterable[ConsumerDefinition], declared: Iterable[Topology]) -> tuple[Topology, ...]:
    """Everything to declare, each value once, in the order in which to declare.

    Raises ConfigurationError if a name stands for two different queues or exchanges.
    """
    explicit = tuple(declared)
    names = {value.name for value in explicit if isinstance(value, Queue)}
    parking = [d.parking() for d in definitions if d.parking_queue not in names]
    ladders = [step for d in definitions for step in d.ladder() if step.name not in names]
    return expand([*parking, *explicit, *(d.queue for d in definitions), *ladders])


def with_declared(definition: ConsumerDefinition, declared: Iterable[Topology]) -> ConsumerDefinition:
    """A consumer takes the worker's own declarations of its queue (if it gave only a name) and of its parking queue."""
    queues = {value.name: value for value in declared if isinstance(value, Queue)}
    name = definition.queue.name
    if name in queues and definition.queue == Queue(name):
        definition = replace(definition, queue=queues[name])
    return replace(definition, parking_as=queues.get(definition.parking_queue))


def _queue(queue: str | Queue, declared_as: Queue | None) -> Queue:
    if isinstance(queue, Queue):
        if declared_as is not None and declared_as != queue:
            raise ConfigurationError(f"consumer of queue {queue.name!r}: give the Queue once, not as queue= too")
        return queue
    if not isinstance(queue, str):
        raise ConfigurationError("@worker.consumer needs the queue's name: write @worker.consumer('orders')")
    if declared_as is None:
        return Queue(queue)
    if declared_as.name != queue:
        raise ConfigurationError(f"consumer of queue {queue!r} has queue=Queue({declared_as.name!r}): use one name")
    return declared_as


def _check_inbox(handler: Handler, inbox: InboxPort | AsyncInboxPort | None, ack: str) -> None:
    if inbox is None:
        if handler.transaction_as is not None:
            raise ConfigurationError(
                f"handler {handler.name} has a parameter {handler.transaction_as!r} that nothing fills: "
                "give the consumer an inbox, as in @worker.consumer('orders', inbox=Inbox(database)), or remove the parameter"
            )
        return
    if not isinstance(inbox, InboxPort):
        raise ConfigurationError(f"inbox is {inbox!r}; it must be an Inbox, or an AsyncInbox for an async def handler")
    if inbox.is_async != handler.is_async:
        kind, other = ("an async def", "AsyncInbox") if handler.is_async else ("a def", "Inbox")
        raise ConfigurationError(f"handler {handler.name} is {kind} function: give its consumer an {other}")
    if ack == "manual":
        raise ConfigurationError(
            f"handler {handler.name} has ack='manual' and an inbox, which acknowledges after its commit: leave one out"
        )


def _check_retry(handler: Handler, retry: RetryPolicy | None, on_error: str) -> None:
    if retry is None:
        return
    if not isinstance(retry, RetryPolicy):
        raise ConfigurationError(f"retry is {retry!r}; give a RetryPolicy, such as RetryPolicy(max_attempts=5)")
    if on_error == "requeue":
        raise ConfigurationError(
            f"handler {handler.name} has on_error='requeue' and a retry policy, which decides what a failure does: leave one out"
        )


def _whole(name: str, value: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigurationError(f"{name} is {value!r}; give a whole number from 1 to {most}")
    return value
