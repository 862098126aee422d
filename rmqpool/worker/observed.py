"""Handling with middleware around it. Consumers without middleware do not come through here."""

from __future__ import annotations

from typing import Any

from rmqpool.message import Delivery
from rmqpool.middleware import HandlingChain, States
from rmqpool.worker.failure import as_raised
from rmqpool.worker.handlers import Arguments
from rmqpool.worker.handling import Handling
from rmqpool.worker.inbox_guard import NOT_DONE
from rmqpool.worker.verdicts import Skip

__all__ = ["ObservedHandling"]


class ObservedHandling(Handling):
    """As :class:`Handling`, with the hooks of a chain before, after and on error."""

    def __init__(self, *arguments: Any, chain: HandlingChain) -> None:
        super().__init__(*arguments)
        self._chain = chain

    def run(self, delivery: Delivery) -> None:
        """Handle with a plain function, on the calling thread."""
        if not self._may_begin(delivery):
            return
        states: States = []
        try:
            self._chain.before(delivery, states)
            arguments = self._decoded(delivery, states)
            if arguments is None:
                return
            result = self._call(delivery, arguments)
            if result is NOT_DONE:
                self._chain.failed(delivery, states, Skip("known to the inbox, or postponed by it"))
                return
            self._chain.after(delivery, states, result)
        except BaseException as error:  # noqa: BLE001 - see Handling
            self._chain.failed(delivery, states, as_raised(error))
            self._raised(delivery, error)
        else:
            self._returned(delivery, result)

    async def run_async(self, delivery: Delivery) -> None:
        """Handle with a coroutine function, on its event loop."""
        if not self._may_begin(delivery):
            return
        states: States = []
        try:
            self._chain.before(delivery, states)
            arguments = self._decoded(delivery, states)
            if arguments is None:
                return
            result = await self._call_async(delivery, arguments)
            if result is NOT_DONE:
                self._chain.failed(delivery, states, Skip("known to the inbox, or postponed by it"))
                return
            self._chain.after(delivery, states, result)
        except BaseException as error:  # noqa: BLE001 - see Handling
            self._chain.failed(delivery, states, error)
            self._ended_by(delivery, error)
        else:
            self._returned(delivery, result)

    def _decoded(self, delivery: Delivery, states: States) -> Arguments | None:
        try:
            return self._decode(delivery)
        except BaseException as error:  # noqa: BLE001 - a body type's own validators run here
            self._chain.failed(delivery, states, error)
            self._not_decoded(delivery, error)
            return None

    def _call(self, delivery: Delivery, arguments: Arguments) -> Any:
        positional, named = arguments
        if self._inbox_guard is None:
            return self._function(*positional, **named)
        return self._inbox_guard.call(delivery, positional, named)

    async def _call_async(self, delivery: Delivery, arguments: Arguments) -> Any:
        positional, named = arguments
        if self._inbox_guard is None:
            return await self._function(*positional, **named)
        return await self._inbox_guard.call_async(delivery, positional, named)
