"""Moving a message elsewhere: its copy is published and confirmed, and only then is the delivery acknowledged.

When the copy cannot be made safe, the broker's own dead-lettering is the fall-back where that is meant and known to work;
otherwise the message goes back to its queue after a pause. It is never acknowledged, and never goes round in a hot loop.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rmqpool.core.disposition import Action, after_failed_parking
from rmqpool.errors import NotSentError, PublishPreconditionError, RmqpoolError, UnknownOutcomeError, UnroutableError
from rmqpool.future import PublishFuture
from rmqpool.message import Confirmation, Delivery, Message
from rmqpool.pool import ConnectionPool
from rmqpool.publisher import Publisher
from rmqpool.topology import Queue
from rmqpool.worker.later import Later
from rmqpool.worker.stats import Counters

__all__ = ["Move", "Moving"]

_LOGGER = logging.getLogger("rmqpool")
CONFIRM_TIMEOUT: Final = 15.0  # seconds that a confirm may take before the fall-back
_DECLARE_TIMEOUT: Final = 5.0


@dataclass(slots=True, eq=False)
class Move:
    """One message on its way to the queue ``target``. ``make`` makes the copy when its turn has come.

    ``redeclare``: declare this queue again when it is gone. ``broker_dead_letters``: the consumed queue dead-letters to
    a queue that was declared, and this message may go there. ``hold``: that is not known of it, so it may drop what
    comes back too often. ``counter`` and ``failed_counter`` name figures. ``after`` is called once it is elsewhere for
    good, on any thread. ``refused`` is called instead of the fall-back if the broker will never take this copy.
    """

    delivery: Delivery
    target: str
    make: Callable[[], Message]
    counters: Counters
    is_current: Callable[[Delivery], bool]
    redeclare: Queue | None
    broker_dead_letters: bool
    counter: str
    failed_counter: str
    after: Callable[[], None] | None = None
    hold: bool = False
    refused: Callable[[RmqpoolError], None] | None = None
    declared_again: bool = False

    def names(self) -> tuple[str, str]:
        return self.delivery.message_id or "without id", self.delivery.queue


class Moving:
    """Moves deliveries of one worker, on its background thread. ``begin`` and ``wait_idle`` are thread-safe."""

    def __init__(self, pool: ConnectionPool, later: Later) -> None:
        self._pool = pool
        self._publisher = Publisher(pool, timeout=CONFIRM_TIMEOUT)
        self._later = later
        self._changed = threading.Condition()
        self._moving: set[Delivery] = set()
        self._failures = 0  # in a row
        self._closed = False

    def begin(self, move: Move) -> None:
        """Begin; returns at once. The delivery is settled when the copy is safe, or by the fall-back.

        Nothing happens if it is being moved already: a handler may fail while its overdue message is being parked.
        """
        with self._changed:
            if self._closed:
                return  # its channel is closing: the message goes back to its queue
            if move.delivery in self._moving:
                return
            self._moving.add(move.delivery)
        self._later.call(lambda: self._guarded(move))

    def wait_idle(self, timeout: float) -> bool:
        """Wait until nothing is being moved; False if something still is after ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._moving, timeout)

    def close(self) -> None:
        """Move nothing more; what is on its way is neither waited for nor acknowledged."""
        with self._changed:
            self._closed = True

    # On the background thread

    def _guarded(self, move: Move) -> None:
        try:
            self._publish(move)
        except RmqpoolError as error:
            self._fall_back(move, error)
        except BaseException as error:
            _LOGGER.exception("message %s of queue %r could not be copied", *move.names())
            self._fall_back(move, RmqpoolError(f"{type(error).__name__} while its copy was made"))

    def _publish(self, move: Move) -> None:
        if not move.is_current(move.delivery):  # it comes again: a second copy would be made then
            move.counters.add("stale")
            self._done(move)
            return
        future = self._publisher.submit_message(move.make())
        future.add_done_callback(lambda done: self._on_outcome(move, done))

    def _on_outcome(self, move: Move, future: PublishFuture) -> None:
        """On the publish connection's I/O thread."""
        outcome = future.outcome(0)
        if not isinstance(outcome, Confirmation):
            self._later.call(lambda: self._after_refusal(move, outcome))
            return
        self._failures = 0
        if move.delivery.ack():
            move.counters.add(move.counter)
            self._tell(move)
        self._done(move)

    def _after_refusal(self, move: Move, error: RmqpoolError) -> None:
        if isinstance(error, UnroutableError) and move.redeclare is not None and not move.declared_again:
            move.declared_again = True
            try:
                self._pool.declare_once([move.redeclare], _DECLARE_TIMEOUT)
            except RmqpoolError as problem:
                self._fall_back(move, problem)
                return
            self._guarded(move)
            return
        self._fall_back(move, error)

    def _fall_back(self, move: Move, error: RmqpoolError) -> None:
        if move.refused is not None and isinstance(error, PublishPreconditionError):
            move.counters.add(move.failed_counter)
            self._done(move)
            move.refused(error)
            return
        self._failures += 1
        disposition = after_failed_parking(
            may_be_written=isinstance(error, NotSentError | UnknownOutcomeError),
            broker_dead_letters=move.broker_dead_letters,
            failures=self._failures,
            hold=move.hold and not self._later.hurried,
        )
        move.counters.add(move.failed_counter)
        dead_letter, again = disposition.action is Action.DEAD_LETTER, disposition.action is Action.AGAIN
        pause = f"{'is tried again' if again else 'goes back'} in {disposition.delay:g} s"
        _LOGGER.error(
            "message %s of queue %r could not be moved to %r, and %s: %s",
            *move.names(),
            move.target,
            "is left to the broker's dead-lettering" if dead_letter else pause,
            error,
        )
        if dead_letter:
            self._settle(move, requeue=False)
        else:
            self._later.call(lambda: self._after_pause(move, again), disposition.delay)

    def _after_pause(self, move: Move, again: bool) -> None:
        if again and not self._later.hurried:
            move.declared_again = False
            self._guarded(move)
        else:
            self._settle(move, requeue=True)

    def _settle(self, move: Move, *, requeue: bool) -> None:
        if move.delivery.reject(requeue=requeue):
            move.counters.add("requeued" if requeue else "dead_lettered")
            if not requeue:
                self._tell(move)
        self._done(move)

    def _tell(self, move: Move) -> None:
        if move.after is not None:
            try:
                move.after()
            except Exception:  # nobody may be kept from hearing that it is done
                _LOGGER.exception("what follows the move of message %s of queue %r failed", *move.names())

    def _done(self, move: Move) -> None:
        with self._changed:
            self._moving.discard(move.delivery)
            self._changed.notify_all()
