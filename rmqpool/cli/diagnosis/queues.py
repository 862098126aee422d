"""Queues as they are, against queues as a worker declares them: nothing is created, nothing is changed.

A queue that is not there is only told; one that is there is compared as ``rmqpool.planning.asking`` says.
"""

from __future__ import annotations

from collections.abc import Iterable

from rmqpool.cli.diagnosis.finding import Finding, problem, skipped, warning, well
from rmqpool.errors import AccessRefusedError, NotFoundError, RmqpoolError
from rmqpool.planning.asking import Declaration, differences_of
from rmqpool.pool import ConnectionPool
from rmqpool.topology import Queue

__all__ = ["look_at_queues", "not_reached"]

_CALL = 5.0  # seconds for each call


def look_at_queues(pool: ConnectionPool, queues: Iterable[Queue]) -> list[Finding]:
    """One finding for each queue."""
    return [_look(pool, queue) for queue in queues]


def _look(pool: ConnectionPool, queue: Queue) -> Finding:
    try:
        with pool.channel(_CALL) as channel:
            there = channel.queue_declare(queue.name, passive=True, timeout=_CALL)
        counts = f"{there.message_count} messages ready, {there.consumer_count} consumers"
        return _compare(pool, queue, counts)
    except NotFoundError:
        if queue.passive:
            return problem(
                "queue",
                f"{queue.name} does not exist, and its worker does not declare it (passive=True)",
                "have its owner declare it: the worker cannot start before",
                queue=queue.name,
            )
        return warning(
            "queue",
            f"{queue.name} does not exist",
            "start its worker once, or publish with --declare: both declare it",
            queue=queue.name,
        )
    except AccessRefusedError as error:
        return problem(
            "queue",
            f"{queue.name}: no permission ({error.text})",
            "a worker declares its queues: it needs the configure permission for them",
            queue=queue.name,
        )
    except RmqpoolError as error:
        return problem("queue", f"{queue.name}: {error}", queue=queue.name)


def _compare(pool: ConnectionPool, queue: Queue, counts: str) -> Finding:
    if queue.passive:
        return well("queue", f"{queue.name} is there, as somebody else declared it ({counts})", queue=queue.name)
    differences = differences_of(pool, Declaration.of(queue))
    if not differences:
        return well("queue", f"{queue.name} is as a worker declares it ({counts})", queue=queue.name)
    told = [
        f"{name}: there {there or '(empty)'}, wanted {wanted or '(empty)'}"
        for name, (wanted, there) in differences.items()
    ]
    return problem(
        "queue",
        "\n".join([f"{queue.name} exists with other arguments ({counts}):", *(f"  {line}" for line in told)]),
        "declare it as it is (a Queue with these arguments), or use another name; arguments of a queue never change",
        queue=queue.name,
        differences={name: {"wanted": wanted, "there": there} for name, (wanted, there) in differences.items()},
    )


def not_reached(queues: Iterable[Queue], why: str) -> list[Finding]:
    """Findings for queues that could not be looked at."""
    return [skipped("queue", f"{queue.name}: {why}") for queue in queues]
