"""Handling a batch: each message is decoded and settled by itself, as if it had been alone; the handler is called once.

What cannot be decoded is parked, what is stale is left out, and the handler gets the others.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeGuard

from rmqpool.amqp.deliveries import forget_unreadable
from rmqpool.core.disposition import Disposition, Ended
from rmqpool.errors import ConfigurationError, InboxUnavailableError
from rmqpool.message import Delivery
from rmqpool.worker.batch_handlers import BatchShape
from rmqpool.worker.batch_inbox import BatchInboxGuard, Turn
from rmqpool.worker.batch_verdicts import BatchError, named_in
from rmqpool.worker.failure import Failure
from rmqpool.worker.handlers import Arguments
from rmqpool.worker.handling import Handling
from rmqpool.worker.later import Later
from rmqpool.worker.never_run import finished
from rmqpool.worker.parking import Parking, ParkingPlace
from rmqpool.worker.registration import ConsumerDefinition
from rmqpool.worker.stats import Counters
from rmqpool.worker.verdicts import Postpone, Skip

__all__ = ["BatchHandling"]

_LOGGER = logging.getLogger("rmqpool")


class BatchHandling(Handling):
    """The handlings of one consumer of batches. ``run_batch`` and ``run_batch_async`` raise nothing, as Handling's do."""

    def __init__(
        self,
        definition: ConsumerDefinition,
        counters: Counters,
        parking: Parking,
        place: ParkingPlace,
        later: Later,
        is_cancelling: Callable[[], bool],
        again: Callable[[Delivery], None],
        shape: BatchShape,
    ) -> None:
        super().__init__(definition, counters, parking, place, later, is_cancelling, again)
        self._shape = shape
        self._batch_inbox = None
        if definition.inbox is not None:
            self._batch_inbox = BatchInboxGuard(definition, counters, later, again)
        self._told = threading.local()  # in the midst of a batch that failed as a whole

    def run_batch(self, batch: Sequence[Delivery]) -> None:
        """Handle with a plain function, on the calling thread."""
        bodies = self._decoded(batch)
        if self._batch_inbox is not None:
            self._run_turns(self._batch_inbox, bodies)
        elif bodies:
            try:
                positional, named = self._arguments_of(bodies)
                finished(self._function(*positional, **named))
            except BaseException as error:  # noqa: BLE001 - see Handling
                self._batch_raised(list(bodies), error)
            else:
                self._batch_returned(bodies)

    async def run_batch_async(self, batch: Sequence[Delivery]) -> None:
        """Handle with a coroutine function, on its event loop."""
        bodies = self._decoded(batch)
        try:
            if self._batch_inbox is not None:
                await self._run_turns_async(self._batch_inbox, bodies)
            elif bodies:
                positional, named = self._arguments_of(bodies)
                finished(await self._function(*positional, **named))
                self._batch_returned(bodies)
        except BaseException as error:  # noqa: BLE001 - see Handling
            if self._is_cancelled(error):
                self._batch_cancelled(bodies)
            else:
                self._batch_raised(list(bodies), error)

    # Behind an inbox: turns, because a transaction that was rolled back did nothing for anybody

    def _run_turns(self, inbox: BatchInboxGuard, bodies: dict[Delivery, Any]) -> None:
        while bodies:
            turn = Turn(bodies)
            try:
                with inbox.transaction(turn) as (transaction, fresh):
                    if turn.sort(fresh):
                        positional, named = self._arguments_of(turn.new)
                        finished(self._function(*positional, **inbox.with_transaction(transaction, named)))
            except InboxUnavailableError as error:
                self._postponed(inbox, bodies, error)
                return
            except BaseException as error:  # noqa: BLE001 - see Handling
                bodies = self._turn_raised(inbox, turn, error)
                if not turn.is_sorted and len(bodies) > 1:
                    for delivery, body in bodies.items():
                        self._run_turns(inbox, {delivery: body})
                    return
            else:
                bodies = self._turn_returned(inbox, turn)

    async def _run_turns_async(self, inbox: BatchInboxGuard, bodies: dict[Delivery, Any]) -> None:
        while bodies:
            turn = Turn(bodies)
            try:
                async with inbox.transaction_async(turn) as (transaction, fresh):
                    if turn.sort(fresh):
                        positional, named = self._arguments_of(turn.new)
                        finished(await self._function(*positional, **inbox.with_transaction(transaction, named)))
            except InboxUnavailableError as error:
                self._postponed(inbox, bodies, error)
                return
            except BaseException as error:
                if self._is_cancelled(error):
                    raise
                bodies = self._turn_raised(inbox, turn, error)
                if not turn.is_sorted and len(bodies) > 1:
                    for delivery, body in bodies.items():
                        await self._run_turns_async(inbox, {delivery: body})
                    return
            else:
                bodies = self._turn_returned(inbox, turn)

    def _turn_returned(self, inbox: BatchInboxGuard, turn: Turn) -> dict[Delivery, Any]:
        self._known(inbox, turn.known)
        self._known(inbox, turn.twins)
        self._batch_returned(turn.new)
        return {}

    def _turn_raised(self, inbox: BatchInboxGuard, turn: Turn, error: BaseException) -> dict[Delivery, Any]:
        """What is left to do for this batch: the handler is called again with it."""
        if not turn.is_sorted and len(turn.bodies) > 1:
            return turn.bodies  # one id that Postgres does not take: each has a transaction of its own then
        self._known(inbox, turn.known)
        left = {delivery: body for delivery, body in turn.bodies.items() if delivery not in turn.known}
        if not _is_batch_error(error):
            self._batch_raised(list(left), error)
            return {}
        try:
            named = named_in(error, list(turn.new))
        except ConfigurationError as mistake:
            self._batch_raised(list(left), mistake)
            return {}
        for delivery, failure in named.items():
            self._raised(delivery, failure)
        return {delivery: body for delivery, body in left.items() if delivery not in named}

    def _known(self, inbox: BatchInboxGuard, known: Collection[Delivery]) -> None:
        self._not_done(known, Skip("known to the inbox"))
        inbox.ended(known)

    def _postponed(self, inbox: BatchInboxGuard, bodies: dict[Delivery, Any], error: InboxUnavailableError) -> None:
        self._not_done(bodies, Postpone("the inbox cannot be reached"))
        inbox.postpone_many(tuple(bodies), error)

    # Each message by itself

    def _decoded(self, batch: Sequence[Delivery]) -> dict[Delivery, Any]:
        bodies: dict[Delivery, Any] = {}
        for delivery in batch:
            arguments = self._begin(delivery)
            if arguments is not None:
                bodies[delivery] = arguments[0][0]
        return bodies

    def _arguments_of(self, bodies: dict[Delivery, Any]) -> Arguments:
        return self._shape.arguments(list(bodies.values()), list(bodies))

    def _batch_returned(self, deliveries: Sequence[Delivery] | dict[Delivery, Any]) -> None:
        for delivery in deliveries:
            self._handled(delivery)

    def _handled(self, delivery: Delivery) -> None:
        """What a handler of batches returns is no answer to anybody: whoever asked hears that it was handled."""
        self._returned(delivery, None)

    def _not_done(self, deliveries: Collection[Delivery], verdict: BaseException) -> None:
        """The handler did nothing for these: the inbox knows them (Skip), or postponed them. For those who override it."""

    def _is_cancelled(self, error: BaseException) -> bool:
        return isinstance(error, asyncio.CancelledError) and self._is_cancelling()

    def _batch_cancelled(self, deliveries: Collection[Delivery]) -> None:
        for delivery in deliveries:
            forget_unreadable(delivery)
            self._carry_out(delivery, self._decide(Ended.CANCELLED, delivery), None)

    def _batch_raised(self, deliveries: Sequence[Delivery], error: BaseException) -> None:
        if _is_batch_error(error):
            try:
                named = named_in(error, deliveries)
            except ConfigurationError as mistake:
                self._batch_raised(deliveries, mistake)
                return
            for delivery in deliveries:
                if delivery in named:
                    self._raised(delivery, named[delivery])
                else:
                    self._handled(delivery)
            return
        try:
            for delivery in deliveries:
                self._raised(delivery, error)
                self._told.already = True
        finally:
            self._told.already = False
        if len(deliveries) > 1:
            _LOGGER.error("so %s failed on all %d messages of that batch", self._handler.name, len(deliveries))

    def _log_failure(self, delivery: Delivery, failure: Failure, disposition: Disposition) -> None:
        """One traceback for a batch that failed as a whole, not one for each message."""
        if not getattr(self._told, "already", False):
            super()._log_failure(delivery, failure, disposition)


def _is_batch_error(error: BaseException) -> TypeGuard[BatchError]:
    return issubclass(type(error), BatchError)
