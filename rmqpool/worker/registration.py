"""What ``@worker.consumer(...)`` was told, checked at once: a mistake shows when the module is imported."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rmqpool.core.ports import AsyncInboxPort, BatchInboxPort, InboxPort
from rmqpool.core.prefetch import PREFETCH_FACTOR, PREFETCH_MAX, AdaptivePrefetch
from rmqpool.core.retry import RetryPolicy
from rmqpool.errors import ConfigurationError
from rmqpool.message import Delivery
from rmqpool.middleware import Middleware, checked
from rmqpool.topology import DEAD_DELIVERY_LIMIT, Queue, Topology, dead_queue_name, expand, retry_queue
from rmqpool.worker.answering import REPLY_MODES, ReplyMode
from rmqpool.worker.batch_handlers import BatchShape, check_batch_fits, check_batch_options, inspect_batch_handler
from rmqpool.worker.guard_options import BY_DEFAULT, GuardOptions, PrefetchOption, check_queue_fits, prefetch_option
from rmqpool.worker.handlers import Handler, content_types, inspect_handler
from rmqpool.worker.limits import Executor, Limits, check_executor

__all__ = ["ConsumerDefinition", "define", "select", "topology_of", "with_declared"]

BATCHES_AHEAD = 2  # one is handled while the next one fills
_MOST_THREADS = 10_000


@dataclass(frozen=True, slots=True)
class ConsumerDefinition:
    """One registered consumer. ``prefetch`` None is PREFETCH_FACTOR times ``concurrency``, or room for two batches of each
    handler; at most PREFETCH_MAX.
    """

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
    batch: BatchShape | None = None
    key: Callable[[Delivery], Hashable] | None = None
    executor: Executor = "thread"
    limits: Limits = field(default_factory=Limits)
    accept: tuple[str, ...] = ()  # in full
    reply: ReplyMode = "always"

    @property
    def messages_ahead(self) -> int:
        """The prefetch count that the broker is asked for at the start."""
        if isinstance(self.prefetch, AdaptivePrefetch):
            return self.prefetch.start(self.concurrency)
        if self.prefetch is not None:
            return self.prefetch
        each = PREFETCH_FACTOR if self.batch is None else BATCHES_AHEAD * self.batch.size
        return min(PREFETCH_MAX, each * self.concurrency)

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
            check_batch_fits(self.queue.name, self.batch, prefetch)
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
    batch: int | None = None,
    batch_timeout: float | None = None,
    key: Callable[[Delivery], Hashable] | None = None,
    executor: str | None = None,
    limits: Limits | None = None,
    reply: ReplyMode = "always",
) -> ConsumerDefinition:
    """Check everything. Raises ConfigurationError that says what to write instead."""
    value = _queue(queue, declared_as)
    if on_error not in ("park", "requeue"):
        raise ConfigurationError(f"on_error is {on_error!r}; it must be 'park' or 'requeue'")
    if ack not in ("auto", "manual"):
        raise ConfigurationError(f"ack is {ack!r}; it must be 'auto' or 'manual'")
    if reply not in REPLY_MODES:
        raise ConfigurationError(f"reply is {reply!r}; it must be 'always', 'failure' or 'never'")
    accepted = content_types(accept)
    handler, shape = _inspect(function, accepted, batch, batch_timeout)
    ahead = prefetch_option(prefetch)
    check_batch_fits(value.name, shape, ahead)
    check_queue_fits(value, ahead)
    _check_key(handler, key, shape)
    if ack == "manual" and not handler.takes_delivery:
        parameter = "delivery: Delivery" if shape is None else "deliveries: list[Delivery]"
        raise ConfigurationError(
            f"handler {handler.name} has ack='manual' but does not take the delivery that it must settle: "
            f"add a parameter '{parameter}'"
        )
    _check_inbox(handler, inbox, ack)
    _check_retry(handler, retry, on_error)
    if shape is not None and inbox is not None and not isinstance(inbox, BatchInboxPort):
        raise ConfigurationError(f"inbox is {inbox!r}, which takes no batches: it has no transaction_for_many")
    chosen = check_executor(handler, executor, limits or Limits())
    if chosen == "process":
        _check_process(handler, inbox, ack, shape)
    return ConsumerDefinition(
        value,
        handler,
        _whole("concurrency", concurrency, _MOST_THREADS),
        ahead,
        on_error,
        ack,
        redeclare,
        inbox,
        retry,
        checked(middleware, f"handler {handler.name}"),
        guards=guards,
        batch=shape,
        key=key,
        executor=chosen,
        limits=limits or Limits(),
        accept=accepted,
        reply=reply,
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
        check_queue_fits(definition.queue, definition.prefetch)
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


def _inspect(
    function: Callable[..., Any], accept: tuple[str, ...], batch: int | None, batch_timeout: float | None
) -> tuple[Handler, BatchShape | None]:
    if batch is not None:
        return inspect_batch_handler(function, accept, batch, check_batch_options(batch, batch_timeout, PREFETCH_MAX))
    if batch_timeout is not None:
        raise ConfigurationError(
            "batch_timeout was given without batch: say how many messages a batch has, as in batch=500"
        )
    return inspect_handler(function, accept), None


def _check_key(handler: Handler, key: object, batch: BatchShape | None) -> None:
    if key is None:
        return
    if not callable(key) or inspect.iscoroutinefunction(key):  # of a coroutine no two are equal
        raise ConfigurationError(
            f"key of handler {handler.name} is {key!r}; give a plain function of the delivery, as in "
            "key=lambda delivery: delivery.routing_key"
        )
    if batch is not None:
        raise ConfigurationError(
            f"handler {handler.name} has a batch and a key: a batch holds messages of many keys; leave one out. "
            "With concurrency=1 batches are in the queue's order"
        )


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


def _check_process(
    handler: Handler, inbox: InboxPort | AsyncInboxPort | None, ack: str, batch: BatchShape | None
) -> None:
    """What stays in the worker's process cannot be asked for in another one."""
    if batch is not None:
        raise ConfigurationError(
            f"handler {handler.name} has a batch and executor='process', where one message after the other is handled: "
            "leave one out; a message that kills its process would take the whole batch along"
        )
    if ack == "manual":
        raise ConfigurationError(
            f"handler {handler.name} has ack='manual' and executor='process', where no channel is: leave one out; Retry and "
            "Reject work in a process"
        )
    if inbox is not None:
        raise ConfigurationError(
            f"handler {handler.name} has an inbox and executor='process', which a transaction cannot travel to: leave one out"
        )
    from rmqpool.worker.children.locating import reference_of  # only who uses processes pays for their machinery

    reference_of(handler)


def _whole(name: str, value: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigurationError(f"{name} is {value!r}; give a whole number from 1 to {most}")
    return value
