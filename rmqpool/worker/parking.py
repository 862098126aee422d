"""Parking: the failed message's copy is published and confirmed, and only then is the delivery acknowledged.

When the copy cannot be made safe, the broker's own dead-lettering is the fall-back; where that is not known to work, the
message goes back to its queue after a pause. It is never acknowledged, and it never goes round in a hot loop.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rmqpool.core.disposition import Action, after_failed_parking
from rmqpool.errors import NotSentError, RmqpoolError, UnknownOutcomeError, UnroutableError
from rmqpool.future import PublishFuture
from rmqpool.message import Confirmation, Delivery
from rmqpool.pool import ConnectionPool
from rmqpool.publisher import Publisher
from rmqpool.topology import Queue
from rmqpool.worker.failure import Failure
from rmqpool.worker.later import Later
from rmqpool.worker.parked import parked_message, worker_identity
from rmqpool.worker.stats import Counters

__all__ = ["Parking", "ParkingPlace"]

_LOGGER = logging.getLogger("rmqpool")
PARKING_TIMEOUT = 15.0  # seconds that a confirm may take before the fall-back
_DECLARE_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class ParkingPlace:
    """Where one consumer parks. ``redeclare``: declare the queue again when it is gone. ``broker_dead_letters``: the
    consumed queue dead-letters to a queue that was declared. ``is_current``: the delivery can still be settled.
    """

    queue: Queue
    redeclare: bool
    broker_dead_letters: bool
    counters: Counters
    is_current: Callable[[Delivery], bool]


class Parking:
    """Parks deliveries of one worker, on its background thread. ``park`` and ``wait_idle`` are thread-safe."""

    def __init__(self, pool: ConnectionPool, later: Later, worker: str) -> None:
        self._pool = pool
        self._publisher = Publisher(pool, timeout=PARKING_TIMEOUT)
        self._later = later
        self._worker = worker_identity(worker)
        self._changed = threading.Condition()
        self._open = 0
        self._failures = 0  # in a row
        self._closed = False

    def park(self, delivery: Delivery, failure: Failure, place: ParkingPlace) -> None:
        """Begin to park; returns at once. The delivery is settled when the copy is safe, or by the fall-back."""
        with self._changed:
            if self._closed:
                return  # its channel is closing: the message goes back to its queue
            self._open += 1
        self._later.call(lambda: self._guarded(_Case(delivery, failure, place)))

    def wait_idle(self, timeout: float) -> bool:
        """Wait until nothing is being parked; False if something still is after ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open == 0, timeout)

    def close(self) -> None:
        """Park nothing more; what is on its way is neither waited for nor acknowledged."""
        with self._changed:
            self._closed = True

    # On the background thread

    def _guarded(self, case: _Case) -> None:
        try:
            self._publish(case)
        except RmqpoolError as error:
            self._fall_back(case, error)
        except BaseException as error:
            _LOGGER.exception("message %s of queue %r could not be parked", *case.names())
            self._fall_back(case, RmqpoolError(f"{type(error).__name__} while parking"))

    def _publish(self, case: _Case) -> None:
        if not case.place.is_current(case.delivery):  # it comes again: a second copy would be parked then
            case.place.counters.add("stale")
            self._done()
            return
        message = parked_message(
            case.delivery,
            case.failure,
            case.place.queue.name,
            worker=self._worker,
            user=self._pool.settings.user,
            frame_max=self._pool.settings.frame_max,
            now=datetime.now(UTC),
        )
        future = self._publisher.submit_message(message)
        future.add_done_callback(lambda done: self._on_outcome(case, done))

    def _on_outcome(self, case: _Case, future: PublishFuture) -> None:
        """On the publish connection's I/O thread."""
        outcome = future.outcome(0)
        if not isinstance(outcome, Confirmation):
            self._later.call(lambda: self._after_refusal(case, outcome))
            return
        self._failures = 0
        if case.delivery.ack():
            case.place.counters.add("parked")
        self._done()

    def _after_refusal(self, case: _Case, error: RmqpoolError) -> None:
        if isinstance(error, UnroutableError) and case.place.redeclare and not case.declared_again:
            case.declared_again = True
            try:
                self._pool.declare_once([case.place.queue], _DECLARE_TIMEOUT)
            except RmqpoolError as problem:
                self._fall_back(case, problem)
                return
            self._guarded(case)
            return
        self._fall_back(case, error)

    def _fall_back(self, case: _Case, error: RmqpoolError) -> None:
        self._failures += 1
        disposition = after_failed_parking(
            may_be_written=isinstance(error, NotSentError | UnknownOutcomeError),
            broker_dead_letters=case.place.broker_dead_letters,
            failures=self._failures,
        )
        case.place.counters.add("parking_failed")
        dead_letter = disposition.action is Action.DEAD_LETTER
        _LOGGER.error(
            "message %s of queue %r could not be parked in %r, and %s: %s",
            *case.names(),
            case.place.queue.name,
            "is left to the broker's dead-lettering" if dead_letter else f"goes back in {disposition.delay:g} s",
            error,
        )
        if dead_letter:
            self._settle(case, requeue=False)
        else:
            self._later.call(lambda: self._settle(case, requeue=True), disposition.delay)

    def _settle(self, case: _Case, *, requeue: bool) -> None:
        if case.delivery.reject(requeue=requeue):
            case.place.counters.add("requeued" if requeue else "dead_lettered")
        self._done()

    def _done(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify_all()


@dataclass(slots=True, eq=False)
class _Case:
    """One message being parked."""

    delivery: Delivery
    failure: Failure
    place: ParkingPlace
    declared_again: bool = False

    def names(self) -> tuple[str, str]:
        return self.delivery.message_id or "without id", self.delivery.queue
