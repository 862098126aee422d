"""Handling batches with middleware around each message. Consumers without middleware do not come through here."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from rmqpool.message import Delivery
from rmqpool.middleware import HandlingChain, States
from rmqpool.worker.batch_handling import BatchHandling
from rmqpool.worker.handlers import Arguments
from rmqpool.worker.observed import failed

__all__ = ["ObservedBatchHandling"]


class ObservedBatchHandling(BatchHandling):
    """As :class:`BatchHandling`; the hooks of a chain are called for each message, as if it had been alone.

    A hook that raises before the handler takes its message out of the batch. What the handler returns is no result of any
    message: ``after_handle`` gets None.
    """

    def __init__(self, *arguments: Any) -> None:
        *others, chain = arguments
        super().__init__(*others)
        self._chain: HandlingChain = chain
        self._states: dict[Delivery, States] = {}  # of what is in a handler's hand

    def _begin(self, delivery: Delivery) -> Arguments | None:
        if not self._may_begin(delivery):
            return None
        states: States = []
        try:
            self._chain.before(delivery, states)
        except BaseException as error:  # noqa: BLE001 - see Handling
            super()._raised(delivery, failed(self._chain, delivery, states, error))
            return None
        try:
            arguments = self._decode(delivery)
        except BaseException as error:  # noqa: BLE001 - a body type's own validators run here
            told = failed(self._chain, delivery, states, error)
            if told is error:
                self._not_decoded(delivery, error)
            else:
                super()._raised(delivery, told)
            return None
        self._states[delivery] = states
        return arguments

    def _handled(self, delivery: Delivery) -> None:
        states = self._states.pop(delivery, [])
        try:
            self._chain.after(delivery, states, None)
        except BaseException as error:  # noqa: BLE001 - see Handling
            super()._raised(delivery, failed(self._chain, delivery, states, error))
        else:
            super()._handled(delivery)

    def _raised(self, delivery: Delivery, error: BaseException) -> None:
        super()._raised(delivery, failed(self._chain, delivery, self._states.pop(delivery, []), error))

    def _batch_cancelled(self, deliveries: Collection[Delivery]) -> None:
        for delivery in deliveries:
            self._chain.failed(delivery, self._states.pop(delivery, []), asyncio.CancelledError())
        super()._batch_cancelled(deliveries)

    def _not_done(self, deliveries: Collection[Delivery], verdict: BaseException) -> None:
        for delivery in deliveries:
            self._chain.failed(delivery, self._states.pop(delivery, []), verdict)
