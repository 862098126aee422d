"""Which queue is meant: ``orders`` means ``orders.dead``. A queue of work is never taken for one of dead letters."""

from __future__ import annotations

from rmqpool.errors import NotFoundError
from rmqpool.pool import ConnectionPool
from rmqpool.topology import dead_queue_name

__all__ = ["resolve"]

_DEAD = dead_queue_name("")


def resolve(pool: ConnectionPool, name: str, *, exact: bool = False, timeout: float | None = None) -> str:
    """The dead-letter queue that ``name`` stands for: itself if it ends with ``.dead`` or is ``exact``, else ``<name>.dead``.

    Only looks (a passive declare). Raises NotFoundError if there is no such queue, with what to write instead.
    """
    queue = name if exact or name.endswith(_DEAD) else dead_queue_name(name)
    try:
        with pool.channel(timeout) as channel:
            channel.queue_declare(queue, passive=True, timeout=timeout)
    except NotFoundError as error:
        hint = "name another one" if queue == name else f"if {name!r} itself holds dead letters, say --exact"
        raise NotFoundError(
            f"there is no queue {queue!r} in the virtual host {pool.settings.vhost!r}; {hint}",
            code=error.code,
            text=error.text,
        ) from None
    return queue
