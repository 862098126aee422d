"""Puts a consumer's handling and its executor together: plain, in batches, or in order by key.

A plain consumer gets the executor itself: nothing stands between it and its messages.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from rmqpool.message import Delivery
from rmqpool.middleware import HandlingChain
from rmqpool.worker.async_executor import AsyncExecutor, LoopThread
from rmqpool.worker.batch_handling import BatchHandling
from rmqpool.worker.batching import BatchingExecutor
from rmqpool.worker.executors import Executor
from rmqpool.worker.handling import Handling
from rmqpool.worker.later import Later
from rmqpool.worker.observed import ObservedHandling
from rmqpool.worker.observed_batches import ObservedBatchHandling
from rmqpool.worker.ordered import OrderedExecutor
from rmqpool.worker.parking import Parking, ParkingPlace
from rmqpool.worker.registration import ConsumerDefinition
from rmqpool.worker.stats import Counters
from rmqpool.worker.thread_executor import ThreadExecutor

__all__ = ["assemble"]

Item = TypeVar("Item")


def assemble(
    definition: ConsumerDefinition,
    name: str,
    counters: Counters,
    parking: Parking,
    place: ParkingPlace,
    later: Later,
    loop: LoopThread,
) -> Executor[Delivery]:
    """The executor for a consumer's deliveries. ``name`` begins the names of its threads."""

    def make(run: Callable[[Item], None], run_async: Callable[[Item], Coroutine[Any, Any, None]]) -> Executor[Item]:
        if definition.handler.is_async:
            return AsyncExecutor(loop.start(), definition.concurrency, run_async)
        return ThreadExecutor(name, definition.concurrency, run)

    chain = HandlingChain(definition.middleware)
    executor: Executor[Delivery]
    common = (
        definition,
        counters,
        parking,
        place,
        later,
        lambda: executor.cancelling,
        lambda delivery: executor.submit_again(delivery),
    )
    if definition.batch is not None:
        shape = definition.batch
        batches = ObservedBatchHandling(*common, shape, chain) if chain else BatchHandling(*common, shape)
        executor = BatchingExecutor(name, shape.size, shape.timeout, batches.run_batch, batches.run_batch_async, make)
    elif definition.key is not None:
        ordered: OrderedExecutor
        handling = _handling(
            chain, *common, lambda delivery: ordered.hold(delivery), lambda delivery: ordered.release(delivery)
        )
        ordered = executor = OrderedExecutor(
            name, definition.key, handling.refuse, handling.run, handling.run_async, make
        )
    else:
        handling = _handling(chain, *common)
        executor = make(handling.run, handling.run_async)
    return executor


def _handling(chain: HandlingChain, *arguments: Any) -> Handling:
    """Middleware costs nothing where there is none."""
    return ObservedHandling(*arguments, chain=chain) if chain else Handling(*arguments)
