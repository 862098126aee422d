"""Handling with middleware around it. Consumers without middleware do not come through here."""

from __future__ import annotations

from typing import Any

from rmqpool.message import Delivery
from rmqpool.middleware import HandlingChain, States
from rmqpool.worker.failure import as_raised
from rmqpool.worker.handlers import Arguments
from rmqpool.worker.handling import Handling
from rmqpool.worker.inbox_guard import NOT_DONE
from rmqpool.worker.never_run import finished
from rmqpool.worker.verdicts import Postpone, Skip

__all__ = ["ObservedHandling", "failed"]


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
                self._chain.failed(delivery, states, _not_done(delivery))
                return
            self._chain.after(delivery, states, result)
        except BaseException as error:  # noqa: BLE001 - see Handling
            self._raised(delivery, failed(self._chain, delivery, states, error))
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
                self._chain.failed(delivery, states, _not_done(delivery))
                return
            self._chain.after(delivery, states, result)
        except BaseException as error:  # noqa: BLE001 - see Handling
            self._ended_by(delivery, failed(self._chain, delivery, states, error))
        else:
            self._returned(delivery, result)

    def _decoded(self, delivery: Delivery, states: States) -> Arguments | None:
        try:
            return self._decode(delivery)
        except BaseException as error:  # noqa: BLE001 - a body type's own validators run here
            told = failed(self._chain, delivery, states, error)
            if told is error:
                self._not_decoded(delivery, error)
            else:
                self._raised(delivery, told)
            return None

    def _call(self, delivery: Delivery, arguments: Arguments) -> Any:
        positional, named = arguments
        if self._inbox_guard is None:
            return finished(self._function(*positional, **named))
        return self._inbox_guard.call(delivery, positional, named)

    async def _call_async(self, delivery: Delivery, arguments: Arguments) -> Any:
        positional, named = arguments
        if self._inbox_guard is None:
            return finished(await self._function(*positional, **named))
        return await self._inbox_guard.call_async(delivery, positional, named)


def failed(chain: HandlingChain, delivery: Delivery, states: States, error: BaseException) -> BaseException:
    """Tell the hooks; returns ``error``, or what one of them puts in its place."""
    shown = as_raised(error)
    told = chain.failed(delivery, states, shown)
    return error if told is shown else told


def _not_done(delivery: Delivery) -> BaseException:
    """What the inbox made of it, as hooks are told: it acknowledged what it knew, and nothing else."""
    return Skip("known to the inbox") if delivery.settled else Postpone("the inbox cannot be reached")
