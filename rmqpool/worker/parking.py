"""Where a consumer's failed messages go: its dead-letter queue, or a queue in which they wait for the next attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypedDict

from rmqpool.amqp.deliveries import has_reply_to
from rmqpool.message import Delivery, Message
from rmqpool.pool import ConnectionPool
from rmqpool.topology import Queue
from rmqpool.worker.answering import Answering
from rmqpool.worker.failure import Failure, describe
from rmqpool.worker.later import Later
from rmqpool.worker.moving import Move, Moving
from rmqpool.worker.parked import delayed_message, parked_message, worker_identity
from rmqpool.worker.stats import Counters

__all__ = ["Parking", "ParkingPlace"]


@dataclass(frozen=True, slots=True)
class ParkingPlace:
    """Where one consumer parks. ``redeclare``: declare the queue again when it is gone. ``broker_dead_letters``: the
    consumed queue dead-letters to a queue that was declared. ``is_current``: the delivery can still be settled.
    ``tells``: whoever asked for a reply hears that the message was parked.
    """

    queue: Queue
    redeclare: bool
    broker_dead_letters: bool
    counters: Counters
    is_current: Callable[[Delivery], bool]
    tells: bool = True


class Parking:
    """Parks and delays deliveries of one worker, on its background thread. Thread-safe."""

    def __init__(self, pool: ConnectionPool, later: Later, worker: str) -> None:
        self._pool = pool
        self._moving = Moving(pool, later)
        self.answering = Answering(pool, later)
        self._worker = worker_identity(worker)
        self.wait_idle = self._moving.wait_idle
        self.close = self._moving.close

    def park(self, delivery: Delivery, failure: Failure, place: ParkingPlace) -> None:
        """Begin to park; returns at once. The delivery is settled when the copy is safe, or by the fall-back.

        Whoever waits for a reply is told the failure then: no further attempt will bring one.
        """

        def make() -> Message:
            return parked_message(delivery, failure, place.queue.name, **self._circumstances())

        after = partial(self.answering.fail, delivery, failure) if place.tells and has_reply_to(delivery) else None
        self._begin(delivery, place, place.queue, make, place.broker_dead_letters, "parked", after)

    def delay(self, delivery: Delivery, failure: Failure | None, place: ParkingPlace, wait: Queue, left: float) -> None:
        """Begin to move it to the queue ``wait``; ``left`` seconds of its delay remain after that.

        Returns at once. If the copy cannot be made safe, the message goes back to its own queue after a pause.
        """

        def make() -> Message:
            return delayed_message(delivery, failure, wait.name, left=left, **self._circumstances())

        self._begin(delivery, place, wait, make, False, "delayed")

    def answer(self, delivery: Delivery, reply: Message, place: ParkingPlace) -> None:
        """Begin to send ``reply``; returns at once. The delivery is acknowledged when it is confirmed.

        If the broker cannot take it now, the message goes back to its own queue after a pause; if it never will (406: the
        reply is larger than it takes), the message is parked: another handling would return the same.
        """
        move = Move(
            delivery,
            reply.routing_key,
            lambda: reply,
            place.counters,
            place.is_current,
            None,
            False,
            "answered",
            "answering_failed",
            hold=not place.broker_dead_letters,
            refused=lambda error: self.park(delivery, describe("reply:refused", error, with_traceback=False), place),
        )
        self._moving.begin(move)

    def _begin(
        self,
        delivery: Delivery,
        place: ParkingPlace,
        target: Queue,
        make: Callable[[], Message],
        broker_dead_letters: bool,
        counter: str,
        after: Callable[[], None] | None = None,
    ) -> None:
        move = Move(
            delivery,
            target.name,
            make,
            place.counters,
            place.is_current,
            target if place.redeclare else None,
            broker_dead_letters,
            counter,
            "parking_failed" if counter == "parked" else "delaying_failed",
            after,
            hold=not place.broker_dead_letters,
        )
        self._moving.begin(move)

    def _circumstances(self) -> _Circumstances:
        settings = self._pool.settings
        return {
            "worker": self._worker,
            "user": settings.user,
            "frame_max": settings.frame_max,
            "now": datetime.now(UTC),
        }


class _Circumstances(TypedDict):
    worker: str
    user: str
    frame_max: int
    now: datetime
