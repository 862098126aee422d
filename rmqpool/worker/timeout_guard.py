"""Watches the age of what a consumer has not settled, against the broker's consumer timeout.

The broker would close the channel, and everything that it holds would come again, the innocent with the guilty. For the
worker's supervisor thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from rmqpool.amqp.deliveries import forget_unreadable
from rmqpool.core.overdue import WARN_AT, Stage, pause_between_looks, stage
from rmqpool.message import Delivery
from rmqpool.worker.failure import Failure
from rmqpool.worker.guard_options import broker_timeout
from rmqpool.worker.parking import Parking, ParkingPlace
from rmqpool.worker.registration import ConsumerDefinition

__all__ = ["TimeoutGuard"]

_LOGGER = logging.getLogger("rmqpool")
_DUE = {
    Stage.PARK: "it is parked in {place!r}, and what the handler still does has no effect on it",
    Stage.REQUEUE: "it goes back to its queue, and is handled again while this handler may still run",
    Stage.LEAVE: "nothing is done (overdue='leave'): the broker will close the channel, and all that it holds comes again",
}


class TimeoutGuard:
    """Guards one consumer. ``outstanding`` gives what is not settled, in the order of arrival."""

    def __init__(
        self,
        definition: ConsumerDefinition,
        parking: Parking,
        place: ParkingPlace,
        outstanding: Callable[[], list[Delivery]],
    ) -> None:
        self._definition = definition
        self._overdue = definition.guards.overdue
        self.timeout = broker_timeout(definition.guards, definition.queue.consumer_timeout)
        self._parking = parking
        self._place = place
        self._outstanding = outstanding
        self._count = place.counters.add
        self._warned: dict[Delivery, Stage] = {}  # what was said last, or done
        self.look_every = pause_between_looks(self.timeout)

    def look(self, now: float) -> None:
        """Warn of what is old, and act on what is overdue, each message once."""
        old: dict[Delivery, Stage] = {}
        waiting = 0
        for delivery in self._outstanding():
            age = now - delivery.received_at
            due = stage(age, self.timeout, begun=delivery.begun, overdue=self._overdue)
            if due is Stage.FINE:
                break  # those behind it came later
            before = self._warned.get(delivery)
            old[delivery] = due
            if due is before or (due is Stage.WARN and before is not None):
                continue
            if due is Stage.WARN and not delivery.begun:
                waiting += 1
            elif due is Stage.WARN:
                self._warn(delivery, age)
            else:
                self._act(delivery, due, age)
        self._warned = old
        if waiting:
            self._warn_of_waiting(waiting)

    def _warn(self, delivery: Delivery, age: float) -> None:
        self._count("overdue_warned")
        _LOGGER.warning(
            "handler %s has had message %s of queue %r for %.3g s, and the broker closes the channel of what is not "
            "settled for %.3g s: make it faster, split its work, or give the queue a longer consumer_timeout",
            self._definition.handler.name,
            *_names(delivery),
            age,
            self.timeout,
        )

    def _warn_of_waiting(self, count: int) -> None:
        self._count("overdue_warned", count)
        _LOGGER.warning(
            "%d messages of queue %r have waited for a handler for %.0f %% of the broker's consumer timeout of %.3g s: use a "
            "smaller prefetch, or more concurrency; they go back to the queue before the timeout",
            count,
            self._definition.queue.name,
            100 * WARN_AT,
            self.timeout,
        )

    def _act(self, delivery: Delivery, due: Stage, age: float) -> None:
        if due is Stage.GIVE_BACK:
            if delivery.nack(requeue=True):
                self._count("overdue")
                self._count("requeued")
            return
        self._count("overdue")
        forget_unreadable(delivery)
        name = self._definition.handler.name
        _LOGGER.error(
            "handler %s has had message %s of queue %r for %.3g s of the broker's consumer timeout of %.3g s; %s",
            name,
            *_names(delivery),
            age,
            self.timeout,
            _DUE[due].format(place=self._place.queue.name),
        )
        if due is Stage.PARK:
            told = f"handler {name} did not settle it within {age:.3g} s; the broker's consumer timeout is {self.timeout:g} s"
            self._parking.park(delivery, Failure("overdue", "", told), self._place)
        elif due is Stage.REQUEUE and delivery.reject(requeue=True):
            self._count("requeued")


def _names(delivery: Delivery) -> tuple[Any, str]:
    forget_unreadable(delivery)
    return delivery.message_id or "without id", delivery.queue
