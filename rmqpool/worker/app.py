"""The worker: handlers registered with a decorator, run by ``worker.run()`` or ``rmqpool worker module:worker``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rmqpool.codecs import DEFAULT_ACCEPT
from rmqpool.errors import ConfigurationError
from rmqpool.late_imports import IMPORTING
from rmqpool.middleware import Middleware, checked
from rmqpool.pool import ConnectionPool
from rmqpool.settings import ConnectionSettings
from rmqpool.topology import Queue, Topology, checked_topology
from rmqpool.worker.run_options import RunOptions, pool_for, seconds_of

if TYPE_CHECKING:
    from rmqpool.core.overdue import Overdue
    from rmqpool.core.ports import AsyncInboxPort, InboxPort, Service
    from rmqpool.core.retry import RetryPolicy
    from rmqpool.message import Delivery
    from rmqpool.worker.answering import ReplyMode
    from rmqpool.worker.guard_options import PrefetchOption
    from rmqpool.worker.registration import ConsumerDefinition
    from rmqpool.worker.runner import Runner
    from rmqpool.worker.stats import WorkerStats

__all__ = ["Worker"]

_PATIENCE = 10.0  # seconds for a broker that is not to be waited for
_BEYOND_GRACE = 20.0  # seconds: cancelling, closing channels and connections, each with a timeout of its own

Function = TypeVar("Function", bound=Callable[..., Any])


class Worker:
    """Consumes queues with handlers. A message is acknowledged after its handler returned, or its copy is safe elsewhere.

    ``name`` appears in logs, thread names and the headers of parked messages. ``pool`` is a URL or
    :class:`ConnectionSettings` (the worker owns its pool), or a :class:`ConnectionPool` (shared, stays open); None is
    the local broker, unless a run says otherwise. ``declare`` names topology that is declared at the start, before
    the consumers' own queues. ``grace`` is the seconds that running handlers get when the worker stops. ``middleware``
    (:class:`Middleware` objects) stands around every handling.

    Raises ConfigurationError. Thread-safe.
    """

    def __init__(
        self,
        name: str,
        pool: ConnectionPool | ConnectionSettings | str | None = None,
        *,
        declare: Iterable[Topology] = (),
        grace: float = 30.0,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        with IMPORTING:
            import rmqpool.worker.process  # noqa: F401 - the machinery of a run

        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"a worker's name is {name!r}; give a text, as in Worker('orders')")
        self.name = name
        self._pool = pool
        self._declare = checked_topology(declare)
        self._grace = seconds_of("grace", grace)
        self._middleware = checked(middleware, f"worker {name!r}")
        self._definitions: list[ConsumerDefinition] = []
        self._services: list[Service] = []
        self._runner: Runner | None = None
        self._lock = threading.Lock()

    def consumer(
        self,
        name: str | Queue,
        /,
        *,
        concurrency: int = 8,
        prefetch: PrefetchOption = None,
        queue: Queue | None = None,
        on_error: Literal["park", "requeue"] = "park",
        ack: Literal["auto", "manual"] = "auto",
        reply: ReplyMode = "always",
        accept: Collection[str] = DEFAULT_ACCEPT,
        redeclare: bool = True,
        inbox: InboxPort | AsyncInboxPort | None = None,
        retry: RetryPolicy | None = None,
        middleware: Iterable[Middleware] = (),
        delivery_timeout: float | None = None,
        overdue: Overdue = "park",
        stalled_after: float = 30.0,
        batch: int | None = None,
        batch_timeout: float | None = None,
        key: Callable[[Delivery], Hashable] | None = None,
        executor: Literal["thread", "process"] | None = None,
        time_limit: float | None = None,
        hard_time_limit: float | None = None,
        recycle_after: int | None = None,
        memory_limit: int | None = None,
        poison_after: int | None = None,
    ) -> Callable[[Function], Function]:
        """Register the decorated function (``def`` or ``async def``) as the handler of queue ``name``; it stays as it is.

        Its first parameter is the body, as its annotation says (a dataclass, a pydantic model, a msgspec Struct, dict,
        list, str; ``bytes``: undecoded; none: decoded), or the :class:`Delivery`. A second one may be the Delivery.

        ``concurrency``: handlers that run at once. ``prefetch``: messages delivered and not settled (default 4 times
        the concurrency; ``"adaptive"`` or :class:`AdaptivePrefetch`: by the handlers' time). ``queue``: how the queue is
        declared (default ``Queue(name)``). ``on_error``: what an exception does: ``park`` puts the
        message into the dead-letter queue, ``requeue`` back into its queue after a pause.
        ``ack="manual"``: the handler settles the delivery itself. ``reply``: what whoever asked for a reply hears from here:
        ``always`` how it ended, ``failure`` only that the message was parked (its copy is answered elsewhere), or ``never``.
        ``accept``: content types that are decoded (``json``,
        ``text``, ``bytes``, ``msgpack``, ``yaml``, or in full). ``redeclare=False``: a deleted queue stays deleted, and
        the worker is not ready until it is there again. ``inbox`` (:class:`rmqpool.outbox.Inbox`, or AsyncInbox) gives the
        handler a transaction, in which the message is marked as handled: its effects happen once. ``retry``
        (:class:`RetryPolicy`): what fails is tried again with delays, and parked after the last attempt. ``middleware``
        stands around this consumer's handlings, inside the worker's own. ``overdue``: what becomes of a message that a
        handler still has shortly before the broker would close the channel: ``park``, ``requeue`` or ``leave`` it;
        ``delivery_timeout`` is the broker's ``consumer_timeout`` in seconds where that is not its default (30 minutes)
        or the queue's own. ``stalled_after``: seconds without a message, while handlers are free, after which the broker
        is asked whether there are any; a consumer that it serves no more is subscribed anew.

        ``batch``: the handler gets lists of so many messages, or of those that came within ``batch_timeout`` seconds
        (default 0.2) after the first; it may take a list of their deliveries, too. Returning acknowledges all; raising
        fails all; raising :class:`BatchError` says which. ``key``: messages for which it returns the same are handled one
        after the other, in the order of arrival; one that waits in a retry queue, or is parked, lets the next go.

        ``executor="process"`` runs the handler in child processes, ``concurrency`` of them (default: threads, and an event
        loop for ``async def``). ``time_limit`` (seconds; processes and ``async def``): TimeLimitExceededError is raised in
        the handler. For processes only: ``hard_time_limit`` (seconds; default 10 more than ``time_limit``): the child is
        killed; ``recycle_after`` messages a child is replaced; ``memory_limit`` (bytes): MemoryError beyond it;
        ``poison_after``: a message that killed so many children is parked (default 2).

        Raises ConfigurationError, naming the function and what is wrong with it.
        """

        from rmqpool.worker.guard_options import guard_options
        from rmqpool.worker.limits import Limits
        from rmqpool.worker.registration import define

        limits = Limits(time_limit, hard_time_limit, recycle_after, memory_limit, poison_after)

        def register(function: Function) -> Function:
            definition = define(
                function,
                name,
                declared_as=queue,
                concurrency=concurrency,
                prefetch=prefetch,
                on_error=on_error,
                ack=ack,
                reply=reply,
                accept=accept,
                redeclare=redeclare,
                inbox=inbox,
                retry=retry,
                middleware=(*self._middleware, *checked(middleware, f"consumer of {name!r}")),
                guards=guard_options(delivery_timeout, overdue, stalled_after),
                batch=batch,
                batch_timeout=batch_timeout,
                key=key,
                executor=executor,
                limits=limits,
            )
            with self._lock:
                self._add(definition)
            return function

        if not isinstance(name, str | Queue):
            raise ConfigurationError("@worker.consumer needs the queue's name: write @worker.consumer('orders')")
        return register

    def add_service(self, service: Service) -> None:
        """Run something beside the consumers, such as a :class:`rmqpool.outbox.Relay`: started before them, stopped after.

        If it dies the worker stops, and the run raises what it died of. It lives for one run.
        """
        for name in ("start", "stop", "name", "failure"):
            if not hasattr(service, name):
                raise ConfigurationError(f"{service!r} is no service: it has no {name}")
        with self._lock:
            self._services.append(service)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that have a handler, in the order of registration."""
        return tuple(definition.queue.name for definition in self._definitions)

    @property
    def has_pool(self) -> bool:
        """True if the worker was told where its broker is: a pool, settings or a URL."""
        return self._pool is not None

    @property
    def consumers(self) -> tuple[ConsumerDefinition, ...]:
        """What was registered."""
        return tuple(self._definitions)

    @property
    def declared(self) -> tuple[Topology, ...]:
        """What the worker was told to declare beside its consumers' queues."""
        return self._declare

    # A process of its own

    def run(
        self,
        *,
        queues: Iterable[str] | None = None,
        concurrency: int | None = None,
        prefetch: int | None = None,
        burst: bool = False,
        grace: float | None = None,
        pool: ConnectionPool | ConnectionSettings | str | None = None,
        wait_for_broker: bool = True,
    ) -> int:
        """Consume until SIGTERM or SIGINT (or :meth:`stop`); returns the exit code, see rmqpool.worker.exits.

        A second signal ends the process at once. ``queues``, ``concurrency``, ``prefetch``, ``grace`` and ``pool``
        replace what the worker and its consumers say. ``burst`` ends when the queues are empty and everything is
        settled. A broker that is not there is waited for, unless ``wait_for_broker`` is False: PoolTimeoutError then, or
        CircuitOpenError of a pool with a breaker.

        Raises what prevents a start: ConfigurationError, TopologyMismatchError, AuthenticationError,
        VirtualHostNotFoundError, VirtualHostAccessError, TLSError, AccessRefusedError.
        """
        from rmqpool.worker.process import run_until_signalled

        patience = None if wait_for_broker else _PATIENCE
        asked = RunOptions(queues, concurrency, prefetch, burst, grace, pool, patience)
        return run_until_signalled(self.name, lambda on_end: self._new_runner(asked, on_end))

    # Inside another process

    def start(
        self,
        *,
        queues: Iterable[str] | None = None,
        concurrency: int | None = None,
        prefetch: int | None = None,
        pool: ConnectionPool | ConnectionSettings | str | None = None,
        timeout: float = 10.0,
    ) -> Worker:
        """Consume on threads of its own; returns the worker itself once every consumer is subscribed.

        Raises as :meth:`run` does; PoolTimeoutError if that takes more than ``timeout`` seconds: nothing runs then.
        """
        asked = RunOptions(queues, concurrency, prefetch, False, None, pool, timeout)
        runner = self._new_runner(asked, lambda: None)
        runner.start()
        try:
            runner.wait_ready(timeout)
        except BaseException:
            self.stop(0.0)
            raise
        return self

    def stop(self, grace: float | None = None) -> bool:
        """Stop in good order: running handlers get ``grace`` seconds (default: the worker's), the rest goes back.

        True if no handler was abandoned. Idempotent; a handler must not call it (it would wait for itself).
        """
        runner = self._runner
        if runner is None:
            return True
        seconds = self._grace if grace is None else seconds_of("grace", grace)
        runner.request_stop(seconds)
        return runner.wait_ended(seconds + _BEYOND_GRACE) and runner.stats().abandoned == 0

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the worker has stopped; False if it still runs after ``timeout`` seconds."""
        return self._runner is None or self._runner.wait_ended(timeout)

    # Telling

    @property
    def is_ready(self) -> bool:
        """True while the worker runs and the broker delivers to every consumer."""
        return self.stats().ready

    def stats(self) -> WorkerStats:
        """The figures of this run, or of the last one."""
        from rmqpool.worker.stats import WorkerStats

        runner = self._runner
        return runner.stats() if runner is not None else WorkerStats(name=self.name)

    @property
    def grace(self) -> float:
        """Seconds that running handlers get at the end, unless a run was asked for others."""
        return self._grace

    def is_alive(self) -> bool:
        """False if a loop that drives the run hangs: only a new process helps then. The broker has no part in it.

        True as well before and after a run. Thread-safe.
        """
        runner = self._runner
        return runner is None or runner.wait_ended(0) or not runner.pulse.hanging(time.monotonic())

    def __repr__(self) -> str:
        stats = self.stats()
        ready = ", not ready" if stats.state == "running" and not stats.ready else ""
        queues = ", ".join(self.queues) or "no queue"
        return (
            f"<Worker {self.name!r} {stats.state}{ready} on {queues}: {stats.handled} handled, {stats.parked} parked, "
            f"{stats.in_progress} in progress>"
        )

    def __enter__(self) -> Worker:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Inside

    def _add(self, definition: ConsumerDefinition) -> None:
        for other in self._definitions:
            if other.queue.name == definition.queue.name:
                raise ConfigurationError(
                    f"queue {definition.queue.name!r} of worker {self.name!r} has two handlers, {other.handler.name} and "
                    f"{definition.handler.name}: a message would go to either; keep one, or use two queues"
                )
        self._definitions.append(definition)

    def _new_runner(self, asked: RunOptions, on_end: Callable[[], None]) -> Runner:
        from rmqpool.worker.registration import select, with_declared
        from rmqpool.worker.run_options import refuse_in_a_child
        from rmqpool.worker.runner import Runner, State

        refuse_in_a_child(self.name)
        with self._lock:
            if self._runner is not None and self._runner.state is not State.STOPPED:
                raise ConfigurationError(f"worker {self.name!r} runs already: stop it first, or make a second Worker")
            chosen = [
                with_declared(definition, self._declare).with_overrides(asked.concurrency, asked.prefetch)
                for definition in select(self._definitions, asked.queues, self.name)
            ]
            pool, owned = pool_for(self.name, self._pool if asked.pool is None else asked.pool)
            self._runner = Runner(
                self.name,
                chosen,
                pool,
                owns_pool=owned,
                declare=self._declare,
                services=tuple(self._services),
                grace=self._grace if asked.grace is None else seconds_of("grace", asked.grace),
                burst=asked.burst,
                patience=asked.patience,
                on_end=on_end,
            )
            return self._runner
