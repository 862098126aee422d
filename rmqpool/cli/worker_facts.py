"""The command line's only knowledge of what a Worker is made of: its consumers, its topology, how it is run."""

from __future__ import annotations

import inspect
import os
import socket
import typing
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rmqpool.cli.session import pool_of, sources_of
from rmqpool.health.values import Health
from rmqpool.topology import Queue, Topology
from rmqpool.worker.exits import end_process
from rmqpool.worker.registration import ConsumerDefinition, select, topology_of, with_declared

if TYPE_CHECKING:
    from rmqpool.config import Settings
    from rmqpool.health.announcing import HealthReporter
    from rmqpool.pool import ConnectionPool
    from rmqpool.worker import Worker

__all__ = ["describe_consumers", "queues_of", "run_worker", "topology_of_worker"]


def describe_consumers(worker: Worker, settings: Settings) -> list[dict[str, Any]]:
    """Each consumer as it would run. Raises ConfigurationError if there is none."""
    return [
        _description(consumer.with_overrides(settings.concurrency, settings.prefetch))
        for consumer in _consumers(worker)
    ]


def topology_of_worker(worker: Worker) -> tuple[Topology, ...]:
    """Everything that the worker declares at its start, in order. ConfigurationError if names clash."""
    return topology_of(_consumers(worker), worker.declared)


def queues_of(worker: Worker) -> list[Queue]:
    """The queues among them."""
    return [value for value in topology_of_worker(worker) if isinstance(value, Queue)]


def run_worker(
    worker: Worker, settings: Settings, queues: Iterable[str] | None, *, burst: bool, reporter: HealthReporter
) -> typing.NoReturn:
    """Run until it is told to stop, and end the process; raises what prevents a start. ``reporter`` tells its health.

    The URL comes from the command line, environment or pyproject.toml; if none of them names one, from the worker. A
    burst does not wait for a broker that is not there. Handlers that never end do not keep the process.
    """
    sources = sources_of(settings)
    own = sources["url"] == "default" and worker.has_pool
    name = f"rmqpool worker {worker.name}@{socket.gethostname()}:{os.getpid()}"[:200]
    pool = None if own else pool_of(settings, name)
    grace = worker.grace if sources["grace"] == "default" else settings.grace
    reporter.probe = lambda: _health_of(worker, grace, pool)
    try:
        code = worker.run(
            queues=queues,
            concurrency=settings.concurrency,
            prefetch=settings.prefetch,
            burst=burst,
            grace=grace,
            pool=pool,
            wait_for_broker=not burst,
        )
    finally:
        if pool is not None:
            pool.close()
        reporter.close()
    end_process(code, abandoned=worker.stats().abandoned)


def _health_of(worker: Worker, grace: float, pool: ConnectionPool | None) -> Health:
    stats = worker.stats()
    told = {} if pool is None else {"pool": pool.health().as_json()}
    state = "starting" if stats.state == "new" else stats.state
    ready = sum(one.ready for one in stats.consumers)
    return Health(
        alive=worker.is_alive(),
        ready=stats.ready,
        state=state,
        text=f"{state}: {ready} of {len(stats.consumers)} consumers ready, {stats.in_progress} in progress, "
        f"{stats.handled} handled",
        details={"worker": worker.name, "pid": os.getpid(), "grace": grace, **told},
    )


def _consumers(worker: Worker) -> list[ConsumerDefinition]:
    return [with_declared(consumer, worker.declared) for consumer in select(worker.consumers, None, worker.name)]


def _description(consumer: ConsumerDefinition) -> dict[str, Any]:
    return {
        "queue": consumer.queue.name,
        "handler": consumer.handler.name,
        "concurrency": consumer.concurrency,
        "prefetch": consumer.messages_ahead,
        "body": _body_type(consumer.handler.function),
        "on_error": consumer.on_error,
        "ack": consumer.ack,
    }


def _body_type(function: Any) -> str:
    """The first parameter's annotation, as text; ``decoded`` if there is none."""
    parameters = list(inspect.signature(function).parameters.values())
    hints = typing.get_type_hints(function) if inspect.isroutine(function) else {}
    annotation = hints.get(parameters[0].name, parameters[0].annotation)
    return "decoded" if annotation is inspect.Parameter.empty else inspect.formatannotation(annotation)
