"""What a handler of batches takes: a list of bodies or of deliveries, found out once from its signature."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from rmqpool.core.prefetch import AdaptivePrefetch
from rmqpool.errors import ConfigurationError
from rmqpool.message import Delivery
from rmqpool.worker.handlers import (
    VARIABLE,
    Arguments,
    Handler,
    annotation_of,
    check_callable,
    decoder,
    name_of,
    parameters_of,
)
from rmqpool.worker.run_options import seconds_of

__all__ = ["BATCH_TIMEOUT", "BatchShape", "check_batch_fits", "check_batch_options", "inspect_batch_handler"]

BATCH_TIMEOUT = 0.2  # seconds
_LONGEST = 600.0  # seconds; well below the broker's consumer timeout of 30 minutes
_EMPTY = inspect.Parameter.empty
_LISTS = (list, Sequence)


@dataclass(frozen=True, slots=True)
class BatchShape:
    """Batches of at most ``size`` messages, at most ``timeout`` seconds after the first one. ``arguments`` turns bodies and
    their deliveries, which are as many, into a call's arguments.
    """

    size: int
    timeout: float
    arguments: Callable[[list[Any], list[Delivery]], Arguments]


def check_batch_options(batch: object, batch_timeout: float | None, most: int) -> float:
    """The timeout in seconds. Raises ConfigurationError that says what to write instead."""
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= most:
        raise ConfigurationError(
            f"batch is {batch!r}; give a whole number from 1 to {most}: the broker hands over no more before some are settled"
        )
    timeout = BATCH_TIMEOUT if batch_timeout is None else seconds_of("batch_timeout", batch_timeout)
    if timeout > _LONGEST:
        raise ConfigurationError(f"batch_timeout is {batch_timeout!r}; give seconds from 0 to {_LONGEST:g}")
    return timeout


def check_batch_fits(queue: str, batch: BatchShape | None, prefetch: int | AdaptivePrefetch | None) -> None:
    """Raises ConfigurationError for batches that could never be full."""
    if batch is None or prefetch is None:
        return
    if isinstance(prefetch, AdaptivePrefetch):
        raise ConfigurationError(
            f"the consumer of queue {queue!r} has batches and an adaptive prefetch, which could become smaller than a batch of "
            f"{batch.size} messages: leave one out; without a prefetch there is room for two batches of each handler"
        )
    if prefetch < batch.size:
        raise ConfigurationError(
            f"batches of queue {queue!r} have {batch.size} messages, and its prefetch is {prefetch}: the broker would never "
            f"hand over enough for one; give a prefetch of at least {batch.size}, a smaller batch, or no prefetch"
        )


def inspect_batch_handler(
    function: Callable[..., Any], accept: Collection[str], size: int, timeout: float
) -> tuple[Handler, BatchShape]:
    """Find out what ``function`` takes: a list of bodies, and of deliveries if it wants them; or of deliveries only.

    The Handler's ``arguments`` gives one message's item of the list. ``accept`` names content types in full. Raises
    ConfigurationError, naming the function and what is wrong.
    """
    name = name_of(function)
    called = check_callable(function)
    first, deliveries, transaction = parameters_of(
        function,
        name,
        _is_deliveries,
        f"takes no messages: its first parameter must be the bodies, such as {_example(name)}",
        f"a handler of batches takes the bodies and, if it wants, the deliveries, as in {_example(name)}",
    )
    item_type = _item_type(annotation_of(function, first, name), first.name, name)
    if item_type is Delivery and deliveries is not None:
        raise ConfigurationError(
            f"handler {name} asks for the deliveries twice: give the first parameter a list of a body type"
        )
    handler = Handler(
        function,
        name,
        inspect.iscoroutinefunction(called),
        deliveries is not None or item_type is Delivery,
        transaction,
        _item_of(item_type, accept, name),
    )
    return handler, BatchShape(size, timeout, _arguments(deliveries))


def _item_of(item_type: Any, accept: Collection[str], name: str) -> Callable[[Delivery], Arguments]:
    if item_type is Delivery:
        return lambda received: ((received,), {})
    decode = decoder(item_type, accept, name)
    return lambda received: ((decode(received),), {})


def _arguments(deliveries: inspect.Parameter | None) -> Callable[[list[Any], list[Delivery]], Arguments]:
    if deliveries is None:
        return lambda bodies, received: ((bodies,), {})
    if deliveries.kind is inspect.Parameter.POSITIONAL_ONLY:
        return lambda bodies, received: ((bodies, received), {})
    keyword = deliveries.name
    return lambda bodies, received: ((bodies,), {keyword: received})


def _is_deliveries(function: Callable[..., Any], parameter: inspect.Parameter, name: str) -> bool:
    if parameter.kind in VARIABLE:
        return False
    annotation = annotation_of(function, parameter, name)
    if typing.get_origin(annotation) in _LISTS and typing.get_args(annotation) == (Delivery,):
        return True
    return parameter.name == "deliveries" and annotation in (Any, object, list, _EMPTY)


def _item_type(annotation: Any, parameter: str, name: str) -> Any:
    """What the list holds: Any for a list without a type, and for no annotation."""
    if annotation in (Any, object, list, _EMPTY):
        return Any
    if typing.get_origin(annotation) in _LISTS:
        return typing.get_args(annotation)[0]
    raise ConfigurationError(
        f"handler {name} gets batches, and its parameter {parameter!r} is typed {_told(annotation)}: it must be a list, as in "
        f"{_example(name)}"
    )


def _told(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else repr(annotation)


def _example(name: str) -> str:
    return f"def {name.rpartition('.')[2]}(bodies: list[dict], deliveries: list[Delivery])"
