"""What a migration does with bindings, policies and declarations; each part may be done again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from rmqpool.core.queue_migration import unsafe_policy_keys
from rmqpool.errors import MigrationError, NotFoundError
from rmqpool.planning.view import BrokerView, bindings_of
from rmqpool.pool import ConnectionPool
from rmqpool.topology import Queue

__all__ = ["bind_exchange_to", "carry_bindings", "check_policy", "declare_missing", "try_declaration"]

_POLICY_TOLD = 30.0  # seconds
_TRIAL_EXPIRES = 60_000  # milliseconds: a trial that was interrupted goes away by itself


def try_declaration(pool: ConnectionPool, queue: Queue) -> None:
    """Declare a queue with these arguments under another name and delete it: what the broker would refuse, it refuses now."""
    name = f"{queue.name}.migration.trial"
    with pool.channel() as channel:
        channel.queue_declare(name, arguments={"x-expires": _TRIAL_EXPIRES, **queue.declare_arguments()})
        channel.queue_delete(name)


def declare_missing(pool: ConnectionPool, queues: Iterable[Queue]) -> None:
    """Declare those that are not there; those that are stay as they are, whatever their arguments."""
    for queue in queues:
        try:
            with pool.channel() as channel:
                channel.queue_declare(queue.name, passive=True)
        except NotFoundError:
            with pool.channel() as channel:
                channel.queue_declare(queue)


def check_policy(view: BrokerView, queue: str) -> None:
    """Raise MigrationError if a policy, or an operator's, could let ``queue`` drop or refuse messages.

    The API tells policies of a new queue with its first statistics, some seconds late: they are waited for.
    """
    until = time.monotonic() + _POLICY_TOLD
    while "effective_policy_definition" not in (told := view.queue(queue) or {}):
        if time.monotonic() > until:
            raise MigrationError(
                f"the management API does not tell what policies apply to {queue!r}: are its statistics switched off? Run "
                "this again when it does"
            )
        threading.Event().wait(0.2)
    unsafe = unsafe_policy_keys(told["effective_policy_definition"])
    if unsafe:
        policy = told.get("policy") or told.get("operator_policy")
        raise MigrationError(
            f"the policy {policy!r} gives the temporary queue {queue!r} {', '.join(unsafe)}: give that queue a policy of "
            "its own with a higher priority and without these, and run this again"
        )


def bind_exchange_to(pool: ConnectionPool, exchange: str, queue: str) -> None:
    """Let the migration's fanout exchange lead to ``queue``, and nowhere else."""
    with pool.channel() as channel:
        channel.exchange_declare(exchange, passive=True)
        channel.queue_bind(queue, exchange)
        if queue != exchange:  # on the way back: the temporary queue has the exchange's name
            channel.queue_unbind(exchange, exchange)


def carry_bindings(
    pool: ConnectionPool, view: BrokerView, source: str, target: str, exchange: str, on_step: Callable[[str], None]
) -> int:
    """Bind ``target`` as ``source`` is bound, and unbind ``source``, one binding after the other; how many there were.

    In between a message may go to both: twice, with one message id, but never to neither.
    """
    bindings = [binding for binding in bindings_of(view, source) if binding.source != exchange]
    with pool.channel() as channel:
        for binding in bindings:
            arguments = binding.declare_arguments()
            channel.queue_bind(target, binding.source, binding.routing_key, arguments)
            on_step("bound")
            channel.queue_unbind(source, binding.source, binding.routing_key, arguments)
            on_step("unbound")
    return len(bindings)
