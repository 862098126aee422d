"""Handling one delivery: decode, call the handler, do what the verdict says. Every handling goes through here.

A delivery whose channel is gone is not begun: the broker delivers it again, and the handler would run twice. One whose
properties cannot be read is parked without them, its body as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeGuard

from rmqpool.amqp.deliveries import forget_unreadable, has_reply_to
from rmqpool.core.disposition import Action, Disposition, Ended, decide
from rmqpool.errors import DecodeError
from rmqpool.message import Delivery
from rmqpool.worker.failure import ChildError, Failure, describe, reason_of, unanswerable
from rmqpool.worker.handlers import Arguments
from rmqpool.worker.inbox_guard import NOT_DONE, InboxGuard
from rmqpool.worker.later import Later
from rmqpool.worker.never_run import finished
from rmqpool.worker.parking import Parking, ParkingPlace
from rmqpool.worker.registration import ConsumerDefinition
from rmqpool.worker.retrying import Retrying
from rmqpool.worker.stats import Counters
from rmqpool.worker.verdicts import Postpone, Reject, Retry, Skip

__all__ = ["Handling"]

_LOGGER = logging.getLogger("rmqpool")


class Handling:
    """The handlings of one consumer. ``run`` and ``run_async`` raise nothing, whatever the handler raises: SystemExit,
    KeyboardInterrupt and GeneratorExit out of a handler are failures of its message, not of the worker.
    """

    def __init__(
        self,
        definition: ConsumerDefinition,
        counters: Counters,
        parking: Parking,
        place: ParkingPlace,
        later: Later,
        is_cancelling: Callable[[], bool],
        again: Callable[[Delivery], None],
        hold: Callable[[Delivery], None] | None = None,
        release: Callable[[Delivery], None] | None = None,
    ) -> None:
        self._definition = definition
        self._handler = definition.handler
        self._function = definition.handler.function
        self._arguments = definition.handler.arguments
        self._count = counters.add
        self._acknowledges = definition.ack == "auto"
        self._answers = definition.reply == "always"
        self._counters = counters
        self._parking = parking
        self._place = place
        self._is_current = place.is_current
        self._later = later
        self._is_cancelling = is_cancelling
        self._inbox_guard = (
            InboxGuard(definition, counters, later, again, hold) if definition.inbox is not None else None
        )
        self._retrying: Retrying | None = None
        if definition.retry is not None:
            self._retrying = Retrying(definition, definition.retry, parking, place, later, again, hold, release)
        self._again = again
        self._hold = hold
        self._warned = False

    def run(self, delivery: Delivery) -> None:
        """Handle with a plain function, on the calling thread."""
        arguments = self._begin(delivery)
        if arguments is None:
            return
        positional, named = arguments
        try:
            if self._inbox_guard is None:
                result = self._function(*positional, **named)
                if result is not None:  # hot path
                    finished(result)
            else:
                result = self._inbox_guard.call(delivery, positional, named)
                if result is NOT_DONE:
                    return
        except BaseException as error:  # noqa: BLE001 - see the class
            self._raised(delivery, error)
        else:
            self._returned(delivery, result)

    async def run_async(self, delivery: Delivery) -> None:
        """Handle with a coroutine function, on its event loop."""
        arguments = self._begin(delivery)
        if arguments is None:
            return
        positional, named = arguments
        try:
            if self._inbox_guard is None:
                result = await self._function(*positional, **named)
                if result is not None:  # hot path
                    finished(result)
            else:
                result = await self._inbox_guard.call_async(delivery, positional, named)
                if result is NOT_DONE:
                    return
        except BaseException as error:  # noqa: BLE001 - see the class
            self._ended_by(delivery, error)
        else:
            self._returned(delivery, result)

    def _ended_by(self, delivery: Delivery, error: BaseException) -> None:
        """As :meth:`_raised`; but a coroutine that the worker itself cancelled did not fail."""
        if issubclass(type(error), asyncio.CancelledError) and self._is_cancelling():
            forget_unreadable(delivery)
            self._carry_out(delivery, self._decide(Ended.CANCELLED, delivery), None)
        else:
            self._raised(delivery, error)

    def _begin(self, delivery: Delivery) -> Arguments | None:
        """The handler's arguments; None if the handler is not to be called."""
        if not self._may_begin(delivery):
            return None
        try:
            return self._decode(delivery)
        except BaseException as error:  # noqa: BLE001 - a body type's own validators run here
            self._not_decoded(delivery, error)
        return None

    def _may_begin(self, delivery: Delivery) -> bool:
        """False if somebody else has it, or if its time has not come."""
        if not self._is_current(delivery):
            if not delivery.settled:  # given back while it waited: counted then
                self._count("stale")
            return False
        delivery.begun = True
        try:
            return self._retrying is None or not self._retrying.is_early(delivery)
        except DecodeError as error:  # its headers cannot be read
            self._not_decoded(delivery, error)
            return False

    def _decode(self, delivery: Delivery) -> Arguments:
        if self._inbox_guard is not None and not delivery.message_id:
            raise DecodeError(
                "the inbox knows messages by their message_id, and this one has none", reason="no-message-id"
            )
        return self._arguments(delivery)

    def _not_decoded(self, delivery: Delivery, error: BaseException) -> None:
        if not isinstance(error, DecodeError):
            self._undecodable(delivery, describe("decode:error", error))
        elif error.reason == "no-message-id":
            self._undecodable(delivery, Failure(error.reason))
        else:
            self._undecodable(delivery, describe(f"decode:{error.reason}", error, with_traceback=False))

    def refuse(self, delivery: Delivery, error: BaseException) -> None:
        """Park a delivery whose key could not be told, because of ``error``."""
        if not self._is_current(delivery):
            self._count("stale")
        elif isinstance(error, DecodeError):
            self._undecodable(delivery, describe(f"decode:{error.reason}", error, with_traceback=False))
        else:
            self._undecodable(delivery, describe("key:error", error))

    def _undecodable(self, delivery: Delivery, failure: Failure) -> None:
        forget_unreadable(delivery)
        self._count("undecodable")
        disposition, name = self._decide(Ended.UNDECODABLE, delivery), self._handler.name
        what = self._what_follows(delivery, disposition)
        _LOGGER.error("%s cannot be handled by %s; %s: %s", _named(delivery), name, what, failure)
        self._carry_out(delivery, disposition, failure)

    def _returned(self, delivery: Delivery, result: Any) -> None:
        self._count("handled")
        if self._answers and has_reply_to(delivery) and self._answered(delivery, result):
            return
        if delivery.settled:
            return
        if self._acknowledges:
            delivery.ack()
        elif self._is_current(delivery):
            self._promise_broken(delivery)

    def _answered(self, delivery: Delivery, result: Any) -> bool:
        """Send what the handler returned; True if the delivery is settled with that, or was."""
        try:
            reply = self._parking.answering.reply(delivery, result)
        except BaseException as error:  # noqa: BLE001 - the user's own values are encoded here
            self._unanswerable(delivery, error)
            return True
        if self._acknowledges and not delivery.settled:
            self._parking.answer(delivery, reply, self._place)
            return True
        self._parking.answering.send(reply)
        return False

    def _unanswerable(self, delivery: Delivery, error: BaseException) -> None:
        """The handler is done, and what it returned cannot be sent: the same would come of another attempt."""
        self._count("failed")
        failure = unanswerable(error)
        disposition = self._decide(Ended.UNDECODABLE, delivery)
        self._log_failure(delivery, failure, disposition)
        self._carry_out(delivery, disposition, failure)

    def _promise_broken(self, delivery: Delivery) -> None:
        """ack='manual': perhaps it is settled later, by somebody else; if not, it goes back when the worker stops."""
        forget_unreadable(delivery)
        self._count("unsettled")
        if not self._warned:
            self._warned = True
            _LOGGER.warning(
                "handler %s returned without settling %s (ack='manual'): it stays unacknowledged and takes a place of "
                "the prefetch until it is settled, or the worker stops; further ones are only counted",
                self._handler.name,
                _named(delivery),
            )

    def _raised(self, delivery: Delivery, error: BaseException) -> None:
        forget_unreadable(delivery)
        if _is_retry(error):
            self._count("retried")
            failure = Failure(f"retry:{error.reason}" if error.reason else "retry")
            disposition = self._after_failure(Ended.RETRY, delivery, error, error.delay)
            if disposition.action is Action.PARK:
                self._log_failure(delivery, failure, disposition)
            self._carry_out(delivery, disposition, failure)
        elif _is_reject(error):
            self._count("rejected")
            reason = f"rejected:{error.reason}" if error.reason else "rejected"
            self._carry_out(delivery, self._decide(Ended.REJECTED, delivery), Failure(reason))
        elif issubclass(type(error), Skip):
            self._count("skipped")
            delivery.ack()
            if self._answers and has_reply_to(delivery):
                self._parking.answering.fail(delivery, Failure("skipped"))
        elif _is_postpone(error):
            self._postpone(delivery, error)
        elif type(error) is ChildError:
            self._ended_elsewhere(delivery, error)
        else:
            self._failed(delivery, Ended.FAILED, describe(reason_of(error), error), error)

    def _ended_elsewhere(self, delivery: Delivery, error: ChildError) -> None:
        """In a child process, which described what happened."""
        if error.ended is Ended.UNDECODABLE:
            self._undecodable(delivery, error.failure)
        elif error.ended is Ended.CANCELLED:
            self._carry_out(delivery, self._decide(Ended.CANCELLED, delivery), None)
        else:
            self._failed(delivery, error.ended, error.failure, error.stand_in())

    def _failed(self, delivery: Delivery, ended: Ended, failure: Failure, error: BaseException) -> None:
        self._count("failed")
        if failure.reason.startswith("time-limit"):
            self._count("timed_out")
        if ended is Ended.FAILED:
            disposition = self._after_failure(ended, delivery, error, None)
        else:
            disposition = self._decide(ended, delivery)
        self._log_failure(delivery, failure, disposition)
        self._carry_out(delivery, disposition, failure)

    def _after_failure(
        self, ended: Ended, delivery: Delivery, error: BaseException, asked: float | None
    ) -> Disposition:
        if self._retrying is None or delivery.settled:
            return self._decide(ended, delivery, asked)
        try:
            delay = self._retrying.delay(delivery, error, asked, is_verdict=ended is Ended.RETRY)
        except BaseException:
            _LOGGER.exception("the retry policy of handler %s failed: the message is parked", self._handler.name)
            delay = None
        return self._decide(ended, delivery, delay)

    def _what_follows(self, delivery: Delivery, disposition: Disposition) -> str:
        return {
            Action.PARK: f"it is parked in {self._place.queue.name!r}",
            Action.REQUEUE: f"it goes back to its queue in {disposition.delay:g} s",
            Action.RETRY: f"it is tried again in {disposition.delay:g} s",
        }.get(disposition.action, f"it was settled before ({delivery.settled})")

    def _log_failure(self, delivery: Delivery, failure: Failure, disposition: Disposition) -> None:
        what = self._what_follows(delivery, disposition)
        told = failure.traceback.rstrip() or str(failure)
        _LOGGER.error("handler %s failed on %s; %s\n%s", self._handler.name, _named(delivery), what, told)

    def _decide(self, ended: Ended, delivery: Delivery, delay: float | None = None) -> Disposition:
        return decide(
            ended,
            on_error=self._definition.on_error,
            settled=bool(delivery.settled),
            attempt=delivery.attempt,
            delay=delay,
            has_policy=self._retrying is not None,
        )

    def _carry_out(self, delivery: Delivery, disposition: Disposition, failure: Failure | None) -> None:
        action = disposition.action
        if action is Action.PARK:
            self._parking.park(delivery, failure or Failure("exception"), self._place)
        elif action is Action.RETRY and self._retrying is not None:
            self._retrying.retry(delivery, failure or Failure("retry"), disposition.delay)
        elif action is Action.REQUEUE and disposition.delay > 0:
            delivery.begun = False  # no handler has it while it waits
            self._later.call(lambda: self._requeue(delivery), disposition.delay)
        elif action is Action.REQUEUE:
            self._requeue(delivery)
        elif action is Action.GIVE_BACK and delivery.nack(requeue=True):
            self._count("requeued")

    def _postpone(self, delivery: Delivery, verdict: Postpone) -> None:
        if delivery.settled:
            return
        if verdict.keep:
            self._count("postponed")
            delivery.begun = False
            if self._hold is not None:
                self._hold(delivery)
            self._later.call(lambda: self._again(delivery), verdict.delay)
        else:
            self._carry_out(delivery, Disposition(Action.GIVE_BACK), None)

    def _requeue(self, delivery: Delivery) -> None:
        if delivery.reject(requeue=True):
            self._count("requeued")


def _is_retry(error: BaseException) -> TypeGuard[Retry]:
    return issubclass(type(error), Retry)  # isinstance would ask the exception itself, and that may raise


def _is_reject(error: BaseException) -> TypeGuard[Reject]:
    return issubclass(type(error), Reject)


def _is_postpone(error: BaseException) -> TypeGuard[Postpone]:
    return issubclass(type(error), Postpone)


def _named(delivery: Delivery) -> str:
    return f"message {delivery.message_id or 'without id'} of queue {delivery.queue!r} (attempt {delivery.attempt})"
