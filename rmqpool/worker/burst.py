"""Burst: the worker ends when its queues are empty. Empty is seen twice, with nothing in between.

The broker's count of ready messages does not hold what is on its way to us, and our count of unsettled deliveries does not
hold what the broker has not sent yet. Only when both are zero twice, and nothing was delivered meanwhile, was nothing on
its way in either direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rmqpool.errors import NotFoundError, RmqpoolError
from rmqpool.pool import ConnectionPool
from rmqpool.worker.subscription import Subscription

__all__ = ["POLL", "BurstWatch"]

POLL = 0.1  # seconds between two looks
_TIMEOUT = 5.0
_LOOKS = 2


class BurstWatch:
    """Asked every POLL seconds by one thread. ``is_parking_idle``: nothing is being parked."""

    def __init__(
        self, pool: ConnectionPool, subscriptions: Sequence[Subscription], is_parking_idle: Callable[[], bool]
    ) -> None:
        self._pool = pool
        self._subscriptions = subscriptions
        self._is_parking_idle = is_parking_idle
        self._delivered = -1
        self._looks = 0

    def is_over(self) -> bool:
        """True when the queues are empty and nothing is in hand. A connection that is down is no empty queue."""
        delivered = sum(one.delivered for one in self._subscriptions)
        quiet = (
            delivered == self._delivered
            and self._is_parking_idle()
            and all(one.is_ready and one.in_hand == 0 for one in self._subscriptions)
            and self._queues_are_empty()
        )
        self._delivered = delivered
        self._looks = self._looks + 1 if quiet else 0
        return self._looks >= _LOOKS

    def _queues_are_empty(self) -> bool:
        try:
            with self._pool.channel(_TIMEOUT) as channel:
                return all(
                    channel.queue_declare(one.queue, passive=True, timeout=_TIMEOUT).message_count == 0
                    for one in self._subscriptions
                )
        except NotFoundError:
            return False  # deleted; the consumer declares it again, or is not ready
        except RmqpoolError:
            return False
