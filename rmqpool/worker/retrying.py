"""Trying again by a policy: how long, whether in the worker or in the broker, and how many may wait in the worker."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from rmqpool import headers as names
from rmqpool.amqp.deliveries import is_surely_plain
from rmqpool.core.overdue import may_keep
from rmqpool.core.retry import RetryPolicy
from rmqpool.errors import DecodeError
from rmqpool.message import Delivery
from rmqpool.topology import Queue, retry_queue
from rmqpool.worker.failure import Failure
from rmqpool.worker.guard_options import broker_timeout
from rmqpool.worker.later import Later
from rmqpool.worker.parking import Parking, ParkingPlace
from rmqpool.worker.registration import ConsumerDefinition

__all__ = ["Retrying"]

_LOGGER = logging.getLogger("rmqpool")


class Retrying:
    """The retries of one consumer. Thread-safe. ``again`` hands a delivery to the handlers once more; ``hold`` is told before
    that it will be, and ``release`` that it will not, because it went on to a queue of the broker.

    At most half of the prefetch waits in the worker, so that failing messages never keep all others out. None waits there for
    so long that the broker's consumer timeout would be near: a copy goes to the queue's end, and waits as a fresh delivery.
    """

    def __init__(
        self,
        definition: ConsumerDefinition,
        policy: RetryPolicy,
        parking: Parking,
        place: ParkingPlace,
        later: Later,
        again: Callable[[Delivery], None],
        hold: Callable[[Delivery], None] | None = None,
        release: Callable[[Delivery], None] | None = None,
    ) -> None:
        self._policy = policy
        self._queue = definition.queue
        self._timeout = broker_timeout(definition.guards, definition.queue.consumer_timeout)
        self._parking = parking
        self._place = place
        self._later = later
        self._again = again
        self._hold = hold
        self._release = release
        self._most_held = max(1, definition.messages_ahead // 2)
        self._lock = threading.Lock()
        self._held = 0

    def is_early(self, delivery: Delivery) -> bool:
        """True if the message came back before its delay was over: it is sent on, and not to be handled now."""
        if is_surely_plain(delivery):
            return False
        left = delivery.headers.get(names.DELAY_LEFT)
        if not isinstance(left, int) or left <= 0:
            return False
        delivery.headers = {name: value for name, value in delivery.headers.items() if name != names.DELAY_LEFT}
        self._wait(delivery, None, left / 1000)
        return True

    def delay(self, delivery: Delivery, error: BaseException, asked: float | None, *, is_verdict: bool) -> float | None:
        """Seconds before the next attempt; None: the message is to be parked. Raises what the policy's function raises."""
        if not is_verdict and not self._policy.wants(error):
            return None
        return self._policy.delay(delivery.attempt, _age(delivery), asked)

    def retry(self, delivery: Delivery, failure: Failure, delay: float) -> None:
        """Have it handled again after ``delay`` seconds."""
        self._wait(delivery, failure, delay)

    def _wait(self, delivery: Delivery, failure: Failure | None, delay: float) -> None:
        hop = self._policy.hop(delay, may_hold=self._held < self._most_held, random=random.random())
        if hop.step:
            self._move(delivery, failure, retry_queue(self._queue.name, hop.step), hop.left)
            return
        if self._is_too_old(delivery, hop.held):
            self._move(delivery, failure, self._queue, delay)
            return
        with self._lock:
            self._held += 1
        if failure is not None:
            delivery.tries += 1
            if names.FIRST_FAILURE_AT not in delivery.headers:
                delivery.headers = {
                    **delivery.headers,
                    names.FIRST_FAILURE_AT: datetime.now(UTC).isoformat("T", "milliseconds"),
                }
            self._place.counters.add("held_back")
        delivery.begun = False  # no handler has it while it waits
        if self._hold is not None:
            self._hold(delivery)
        self._later.call(lambda: self._over(delivery, hop.left), hop.held)

    def _move(self, delivery: Delivery, failure: Failure | None, wait: Queue, left: float) -> None:
        self._parking.delay(delivery, failure, self._place, wait, left)
        if self._release is not None:
            self._release(delivery)

    def _is_too_old(self, delivery: Delivery, seconds: float) -> bool:
        """True if a fresh delivery could wait for that, and this one cannot any more."""
        age = time.monotonic() - delivery.received_at if delivery.received_at else 0.0
        return may_keep(0.0, seconds, self._timeout) and not may_keep(age, seconds, self._timeout)

    def _over(self, delivery: Delivery, left: float) -> None:
        with self._lock:
            self._held -= 1
        if left > 0:
            self._wait(delivery, None, left)
        else:
            self._again(delivery)


def _age(delivery: Delivery) -> float:
    """Seconds since the first failure, by the clocks of two machines; 0 if nobody wrote it down."""
    try:
        told = delivery.headers.get(names.FIRST_FAILURE_AT)
        first = datetime.fromisoformat(told) if isinstance(told, str) else None
    except (ValueError, DecodeError):
        return 0.0
    if first is None or first.tzinfo is None:
        return 0.0
    return max(0.0, (datetime.now(UTC) - first).total_seconds())
