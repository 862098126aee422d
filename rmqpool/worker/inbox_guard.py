"""A handler behind an inbox: called in the transaction that marks its message, and not at all for one that is marked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

from rmqpool.core.backoff import Backoff
from rmqpool.core.ports import AsyncInboxPort, InboxPort
from rmqpool.errors import InboxUnavailableError
from rmqpool.message import Delivery
from rmqpool.worker.later import Later
from rmqpool.worker.never_run import finished
from rmqpool.worker.registration import ConsumerDefinition
from rmqpool.worker.stats import Counters

__all__ = ["NOT_DONE", "InboxGuard"]

_LOGGER = logging.getLogger("rmqpool")
_PAUSES = Backoff(0.1, 5.0)
NOT_DONE = object()  # instead of a result: nothing more is to be done for the message


class InboxGuard:
    """Of one consumer. A message whose transaction cannot be had is kept, unacknowledged, and handled after a pause.

    It does not go back to its queue: that would count as an attempt, and the message is not to blame. The prefetch bounds
    how many are kept. ``again`` hands a delivery to the handlers once more, and ``hold`` is told before that it will be.
    """

    def __init__(
        self,
        definition: ConsumerDefinition,
        counters: Counters,
        later: Later,
        again: Callable[[Delivery], None],
        hold: Callable[[Delivery], None] | None = None,
    ) -> None:
        self._definition = definition
        self._function = definition.handler.function
        self._transaction_as = definition.handler.transaction_as
        self._inbox: Any = definition.inbox
        self._consumer = definition.inbox.consumer if definition.inbox is not None else None
        self._count = counters.add
        self._later = later
        self._again = again
        self._hold = hold
        self._failures = 0  # in a row; a race loses a count, no more

    def call(self, delivery: Delivery, positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """What the handler returned; its transaction is committed then, and the message can be acknowledged.

        NOT_DONE if there is nothing more to do: it was acknowledged as known, or is postponed. Raises what the handler
        raises; its transaction is rolled back then.
        """
        result = None
        try:
            with cast("InboxPort", self._inbox).transaction(self._name, str(delivery.message_id)) as transaction:
                if transaction is not None:
                    result = finished(self._function(*positional, **self._with(transaction, named)))
        except InboxUnavailableError as error:
            self._postpone((delivery,), error)
            return NOT_DONE
        return self._ended(delivery, result, known=transaction is None)

    async def call_async(self, delivery: Delivery, positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """As :meth:`call`, awaited."""
        result = None
        inbox = cast("AsyncInboxPort", self._inbox)
        try:
            async with inbox.transaction(self._name, str(delivery.message_id)) as transaction:
                if transaction is not None:
                    result = finished(await self._function(*positional, **self._with(transaction, named)))
        except InboxUnavailableError as error:
            self._postpone((delivery,), error)
            return NOT_DONE
        return self._ended(delivery, result, known=transaction is None)

    @property
    def _name(self) -> str:
        return self._consumer or self._definition.queue.name

    def _with(self, transaction: Any, named: dict[str, Any]) -> dict[str, Any]:
        return named if self._transaction_as is None else {**named, self._transaction_as: transaction}

    def _postpone(self, deliveries: Sequence[Delivery], error: InboxUnavailableError) -> None:
        self._count("postponed", len(deliveries))
        for delivery in deliveries:
            delivery.begun = False  # no handler has it while it waits
        failures = self._failures = self._failures + 1  # another thread may set it to 0 at any moment
        if failures == 1:
            _LOGGER.warning(
                "messages of queue %r are kept back until the inbox works again: %s", self._definition.queue.name, error
            )
        pause = _PAUSES.ceiling(min(failures, 64))
        if self._hold is not None:
            for delivery in deliveries:
                self._hold(delivery)
        self._later.call(lambda: self._hand_over(deliveries), pause)

    def _hand_over(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._again(delivery)

    def _works_again(self) -> None:
        if self._failures:
            self._failures = 0
            _LOGGER.info("the inbox of queue %r works again", self._definition.queue.name)

    def _ended(self, delivery: Delivery, result: Any, *, known: bool) -> Any:
        self._works_again()
        if known:
            self._count("duplicates")
            delivery.ack()
            return NOT_DONE
        return result
